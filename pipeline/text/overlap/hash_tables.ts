/**
 * Tables of hashes on disk. Each block of text has its own, with its rows in buckets by the upper bits of their hashes, so equal hashes of
 * all blocks are found a bucket at a time: memory holds a few buckets.
 *
 * A file has the number of rows of each bucket and then the rows: a hash in two halves and a value, all u32, little endian.
 *
 * @module
 */

import { readAt } from "../../rows/ipc/messages.ts";
import { type Hashes, hashKey } from "./word_hashes.ts";

/** Buckets of a table, by the upper ten bits of a hash: for 1 TB of text, five million bands in each. */
const BUCKETS = 1024;
/** Rows that are joined at once: so many buckets, at least one. */
const MOST_ROWS = 2 ** 20;
/** A value is paired with at most so many before it: a thousand documents that are alike make no million pairs. */
const MOST_BEFORE = 100;

const bucketIn = (high: number) => high >>> 22;

/** A table that is filled in memory. */
export class Table {
  #rows = new Uint32Array(3 * 1024);
  #size = 0;

  /** Adds hashes: the first with a value, and each next one with a value that is larger by `step`. */
  add({ high, low }: Hashes, value: number, step = 0): void {
    for (let i = 0; i < high.length; i++) {
      if (this.#size === this.#rows.length) {
        const rows = this.#rows;
        (this.#rows = new Uint32Array(2 * rows.length)).set(rows);
      }
      this.#rows[this.#size++] = high[i];
      this.#rows[this.#size++] = low[i];
      this.#rows[this.#size++] = value + i * step;
    }
  }

  /** Gives the bytes of its file. Rows of a bucket keep their order. */
  bytes(): Uint8Array<ArrayBuffer> {
    const rows = this.#rows, size = this.#size;
    const file = new Uint32Array(BUCKETS + size), next = new Uint32Array(BUCKETS);
    for (let i = 0; i < size; i += 3) file[bucketIn(rows[i])]++;
    for (let bucket = 0, at = BUCKETS; bucket < BUCKETS; at += 3 * file[bucket++]) next[bucket] = at;
    for (let i = 0; i < size; i += 3) {
      const bucket = bucketIn(rows[i]);
      file.set(rows.subarray(i, i + 3), next[bucket]);
      next[bucket] += 3;
    }
    return new Uint8Array(file.buffer);
  }
}

/** A table of a block. */
export interface BlockTable {
  /** Its file. */
  path: string;
  /** What is added to its values, which begin anew in every block. */
  first: number;
}

/** Calls for each row of some buckets, in order. */
function readBuckets(
  { path, first }: BlockTable,
  from: number,
  to: number,
  onRow: (hash: number, value: number) => void,
): void {
  using file = Deno.openSync(path); // a promise costs ten times as much as the answer
  const read = (at: number, count: number) => new Uint32Array(readAt(file, 4 * at, 4 * count).buffer);
  const counts = read(0, BUCKETS);
  const [before, own] = [counts.subarray(0, from), counts.subarray(from, to)].map((some) =>
    some.reduce((a, b) => a + b, 0)
  );
  const rows = read(BUCKETS + 3 * before, 3 * own);
  for (let at = 0; at < rows.length; at += 3) onRow(hashKey(rows[at], rows[at + 1]), rows[at + 2] + first);
}

/**
 * Finds equal hashes. Without `others`, `onShared` gets every value that comes after others of the same hash, and the last of these. With
 * `others`, it gets the first value of every hash there that is in the tables too, and the values of the tables.
 */
export async function joinTables(
  tables: readonly BlockTable[],
  others: readonly BlockTable[] | undefined,
  onShared: (values: readonly number[], value: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const sizes = [...tables, ...others ?? []].map(({ path }) => Deno.statSync(path).size / 12);
  const rows = sizes.reduce((a, b) => a + b, 0), step = Math.max(1, Math.floor(BUCKETS * MOST_ROWS / rows));
  for (let from = 0; from < BUCKETS; from += step) {
    await new Promise((resolve) => setTimeout(resolve)); // so that the signal is heard
    signal?.throwIfAborted();
    const known = new Map<number, number[]>();
    for (const table of tables) {
      readBuckets(table, from, from + step, (hash, value) => {
        const values = known.get(hash);
        if (values && !others) onShared(values.slice(-MOST_BEFORE), value);
        if (values) values.push(value);
        else known.set(hash, [value]);
      });
    }
    for (const table of known.size > 0 && others || []) {
      readBuckets(table, from, from + step, (hash, value) => {
        const values = known.get(hash);
        if (!values) return;
        known.delete(hash);
        onShared(values, value);
      });
    }
  }
}
