/**
 * Tables of hashes on disk. Each block of text has its own, with its rows in buckets by the upper bits of their hashes, so equal hashes of
 * all blocks are found a bucket at a time: memory holds a bucket.
 *
 * A file has the number of rows of each bucket and then the rows: a hash in two halves and a value, all u32, little endian.
 *
 * @module
 */

/** Buckets of a table: for 1 TB of text, 20 million bands in each. */
export const BUCKETS = 256;

/** A table that is filled in memory. */
export class Table {
  #rows = new Uint32Array(3 * 1024);
  #size = 0;

  /** Adds a row. */
  add(high: number, low: number, value: number): void {
    if (this.#size === this.#rows.length) {
      const rows = this.#rows;
      (this.#rows = new Uint32Array(2 * rows.length)).set(rows);
    }
    this.#rows[this.#size++] = high;
    this.#rows[this.#size++] = low;
    this.#rows[this.#size++] = value;
  }

  /** Gives the bytes of its file. Rows of a bucket keep their order. */
  bytes(): Uint8Array<ArrayBuffer> {
    const rows = this.#rows, size = this.#size;
    const file = new Uint32Array(BUCKETS + size);
    for (let i = 0; i < size; i += 3) file[rows[i] >>> 24]++;
    const next = new Uint32Array(BUCKETS);
    for (let bucket = 0, at = BUCKETS; bucket < BUCKETS; at += 3 * file[bucket++]) next[bucket] = at;
    for (let i = 0; i < size; i += 3) {
      const at = next[rows[i] >>> 24];
      next[rows[i] >>> 24] = at + 3;
      for (let half = 0; half < 3; half++) file[at + half] = rows[i + half];
    }
    return new Uint8Array(file.buffer);
  }
}

/** Reads the rows of a bucket: hash, hash, value, hash, hash, value … The file must be whole. */
export function readBucket(path: string, bucket: number): Uint32Array {
  using file = Deno.openSync(path); // a promise costs ten times as much as the answer
  const read = (from: number, count: number) => {
    const numbers = new Uint32Array(count), bytes = new Uint8Array(numbers.buffer);
    file.seekSync(4 * from, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) at += file.readSync(bytes.subarray(at))!;
    return numbers;
  };
  const counts = read(0, BUCKETS);
  const before = counts.subarray(0, bucket).reduce((a, b) => a + b, 0);
  return read(BUCKETS + 3 * before, 3 * counts[bucket]);
}

/** Rows by their hashes: each knows the one before it that has the same. */
export class Chains {
  /** Values of rows. */
  readonly values: Float64Array;
  /** The row before that has the same hash; -1 where there is none. */
  readonly before: Int32Array;
  #count = 0;
  readonly #last: Int32Array; // by slot: the last row with a hash, plus one
  readonly #high: Int32Array;
  readonly #low: Int32Array;
  readonly #isFound: Uint8Array;

  /** Makes chains for at most so many rows. */
  constructor(rows: number) {
    this.values = new Float64Array(rows);
    [this.before, this.#high, this.#low] = [0, 1, 2].map(() => new Int32Array(rows));
    this.#isFound = new Uint8Array(rows);
    this.#last = new Int32Array(2 ** Math.ceil(Math.log2(2 * rows + 1)));
  }

  /** Adds a row, and returns its number. */
  add(high: number, low: number, value: number): number {
    const slot = this.#slot(high |= 0, low |= 0), row = this.#count++;
    this.before[row] = this.#last[slot] - 1;
    this.#last[slot] = row + 1;
    this.#high[row] = high;
    this.#low[row] = low;
    this.values[row] = value;
    return row;
  }

  /** Returns whether a hash is there. `onFound` gets the values of its rows when it is asked for the first time. */
  find(high: number, low: number, onFound: (value: number) => void): boolean {
    const last = this.#last[this.#slot(high | 0, low | 0)] - 1;
    if (last < 0) return false;
    if (!this.#isFound[last]) {
      for (let row = last; row >= 0; row = this.before[row]) onFound(this.values[row]);
    }
    this.#isFound[last] = 1;
    return true;
  }

  #slot(high: number, low: number): number {
    const mask = this.#last.length - 1;
    let slot = low & mask; // upper bits are the same in a bucket
    for (let row; (row = this.#last[slot] - 1) >= 0; slot = (slot + 1) & mask) {
      if (this.#low[row] === low && this.#high[row] === high) break;
    }
    return slot;
  }
}
