/**
 * Tables of hashes on disk. Rows are in buckets by the upper bits of their hashes, so that equal hashes of all tables are found some buckets
 * at a time: memory holds these alone.
 *
 * A file has the end of each bucket, in rows, and then the rows: a hash in two halves and a value; all are u32, little endian.
 *
 * @module
 */

import { readAt } from "../../rows/ipc/messages.ts";
import { type Hashes, hashKey } from "./word_hashes.ts";

/** Buckets of a table, by the upper ten bits of a hash: for 1 TB of text, five million bands in each. */
const BUCKETS = 1024;
/** Rows that are joined at once: so many buckets, at least one. */
const MOST_ROWS = 2 ** 20;

/** Hashes of a table, which have one value. */
export type Entry = readonly [Hashes, value: number];

/** Gives the bytes of a table. Rows of a bucket keep their order. */
export function tableBytes(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const ends = new Uint32Array(BUCKETS), bucketIn = (half: number) => half >>> 22;
  for (const [hashes] of entries) {
    for (let i = 0; i < hashes.length; i += 2) ends[bucketIn(hashes[i])]++;
  }
  let rows = 0;
  for (const [bucket, count] of ends.entries()) [ends[bucket], rows] = [rows, rows + count]; // now where each begins
  const table = new Uint32Array(BUCKETS + 3 * rows);
  for (const [hashes, value] of entries) {
    for (let i = 0; i < hashes.length; i += 2) {
      const at = BUCKETS + 3 * ends[bucketIn(hashes[i])]++;
      table[at] = hashes[i];
      table[at + 1] = hashes[i + 1];
      table[at + 2] = value;
    }
  }
  table.set(ends);
  return new Uint8Array(table.buffer);
}

/** Tables of one kind, and what is done with their rows. */
export interface Joined {
  /** Their files, and what is added to the values of each. */
  tables: { path: string; first: number }[];
  /** Gets what is kept of a hash, and the value of a row with it, which it keeps by adding it there. */
  onRow(kept: number[], value: number): unknown;
}

/** Joins tables by their hashes: goes through the rows of the first kind, then through those of others with a hash of which something is kept. */
export async function joinTables(kinds: readonly Joined[], signal?: AbortSignal): Promise<void> {
  const all = kinds.flatMap((kind) => kind.tables.map((table) => ({ ...table, kind })));
  const rows = all.reduce((sum, { path }) => sum + Deno.statSync(path).size / 12, 0);
  const step = Math.max(1, Math.floor(BUCKETS * MOST_ROWS / rows));
  const seen = new Uint8Array(MOST_ROWS); // by the lower bits of a hash: for most rows of other kinds a look is enough
  for (let from = 0; from < BUCKETS; from += step) {
    await new Promise((resolve) => setTimeout(resolve)); // so that the signal is heard
    signal?.throwIfAborted();
    const known = new Map<number, number[]>(), fresh: number[] = []; // what is kept, and a list for the first row of a hash
    seen.fill(0);
    for (const { path, first, kind } of all) {
      const rows = readRows(path, from, from + step);
      for (let at = 0; at < rows.length; at += 3) {
        const place = rows[at + 1] % MOST_ROWS;
        if (kind !== kinds[0] && seen[place] === 0) continue;
        const key = hashKey(rows[at], rows[at + 1]),
          kept = known.get(key) ?? (kind === kinds[0] ? fresh : undefined);
        if (!kept) continue;
        kind.onRow(kept, rows[at + 2] + first);
        if (fresh.length === 0) continue;
        known.set(key, [fresh.pop()!]); // smaller than a list that grew
        seen[place] = 1;
      }
    }
  }
}

/** Reads the rows of some buckets of a table. */
function readRows(path: string, from: number, to: number): Uint32Array {
  using file = Deno.openSync(path); // a promise costs ten times as much as the answer
  const read = (at: number, count: number) => new Uint32Array(readAt(file, 4 * at, 4 * count).buffer);
  const ends = read(0, Math.min(to, BUCKETS)), begin = from === 0 ? 0 : ends[from - 1];
  return read(BUCKETS + 3 * begin, 3 * (ends.at(-1)! - begin));
}
