/**
 * Hashes texts, their words and runs of words, so that texts are compared without a tokenizer.
 *
 * A word is a run of letters, digits and marks, in lower case; where a script does not part words, a character is one. Of a word there are
 * two hashes of its characters, FNV-1a and a rotating one; of a run two polynomials of these (Karp and Rabin, 1987). All have their bits
 * spread by the last steps of MurmurHash3 (Appleby, 2011).
 *
 * Texts are as near as the Jaccard index of their shingles, runs of five words. MinHash finds pairs that probably have much in common without
 * comparing all (Broder, 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4): of those with an index of j,
 * 1 − (1 − j^5)^20 share a band, 99.96% at 0.8.
 *
 * Tables of hashes lie on disk. Rows are in buckets by the upper bits of their hashes, so that equal hashes of all tables are found some
 * buckets at a time: memory holds these alone. A file has the end of each bucket, in rows, and then the rows: a hash in two halves and a
 * value; all are u32, little endian.
 *
 * @module
 */

import { indexOfText } from "../random.ts";
import { readAt } from "../rows/ipc/messages.ts";

/** Hashes in order `[2 n]`: of each its two halves, 32 bits each. */
export type Hashes = Int32Array<ArrayBuffer>;

const UNITS = 2 ** 16;
const INNER = /[\p{L}\p{N}\p{M}\p{Cs}]/u; // Cs: halves of characters beyond 16 bits
const UNPARTED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}]/u;
/** Words in a shingle, and in a run that leaks from one text into another. */
export const [SHINGLE, PASSAGE] = [5, 13] as const;
const SEED = 0x2545f491;
const FACTORS = [0x01000193, 0x9e3779b1];

/** Each UTF-16 unit in lower case; less than 0 where it is a word alone, 0 where it is in none. Made when it is first needed. */
let units: Int32Array | undefined;

const makeUnits = () =>
  Int32Array.from({ length: UNITS }, (_, code) => {
    const unit = String.fromCharCode(code);
    return INNER.test(unit) ? unit.toLowerCase().charCodeAt(0) * (UNPARTED.test(unit) ? -1 : 1) : 0;
  });

/** Spreads the bits of a hash. */
export function spread(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Gives 53 bits of a hash as a number: all but the upper ten, and the lowest. */
export const hashKey = (high: number, low: number): number => (high & 0x3fffff) * 2 ** 31 + (low >>> 1);

/** Hashes the words of a text; `starts` takes the places where they begin. */
export function hashWords(text: string, starts?: number[]): Hashes {
  units ??= makeUnits();
  const end = text.length, words: Hashes = new Int32Array(2 * end);
  let size = 0;
  for (let at = 0; at < end;) {
    let unit = units[text.charCodeAt(at++)];
    if (unit === 0) continue;
    starts?.push(at - 1);
    const isAlone = unit < 0;
    let high = SEED, low = SEED;
    do {
      high = Math.imul(high ^ unit, FACTORS[0]);
      low = Math.imul(((low << 5) | (low >>> 27)) ^ unit, FACTORS[1]);
    } while (!isAlone && at < end && (unit = units[text.charCodeAt(at)]) > 0 && at++ < end);
    words[size++] = spread(high);
    words[size++] = spread(low);
  }
  return words.subarray(0, size);
}

/** Hashes every run of `length` words, in order. */
export function hashRuns(words: Hashes, length: number): Hashes {
  const before = 2 * (length - 1), runs: Hashes = new Int32Array(Math.max(0, words.length - before));
  for (const half of runs.length > 0 ? [0, 1] : []) {
    const factor = FACTORS[half];
    let power = 1, sum = 0; // the factor to the power of `length`; the polynomial of the last `length` words
    for (let i = 0; i < length; i++) power = Math.imul(power, factor);
    for (let at = half; at < words.length; at += 2) {
      sum = (Math.imul(sum, factor) + words[at]) | 0;
      if (at >= before + 2) sum = (sum - Math.imul(power, words[at - before - 2])) | 0;
      if (at >= before) runs[at - before] = spread(sum);
    }
  }
  return runs;
}

/** Lists the runs of `length` words, unless given the shingles, in order: 53 bits of the hash of each. */
export function listRuns(words: Hashes, length: number = SHINGLE): Float64Array<ArrayBuffer> {
  const runs = hashRuns(words, length);
  return Float64Array.from({ length: runs.length / 2 }, (_, i) => hashKey(runs[2 * i], runs[2 * i + 1]));
}

const [BANDS, ROWS] = [20, 5];

/** Hashes the bands of the shingles of a text, given its words; none where it has fewer words than a shingle. */
export function hashBands(words: Hashes): Hashes {
  const shingles = hashRuns(words, SHINGLE), least: Hashes = new Int32Array(2 * BANDS * ROWS);
  if (shingles.length === 0) return shingles;
  for (let i = 0; i < least.length; i += 2) {
    const factor = spread(i + 1) | 1, addend = spread(i + 2);
    let lowest = 0x7fffffff;
    for (let at = 0; at < shingles.length; at += 2) {
      const hash = (Math.imul(shingles[at], factor) + addend) | 0;
      if (hash < lowest) lowest = hash;
    }
    least[i] = spread(lowest);
    least[i + 1] = spread(~lowest);
  }
  return hashRuns(least, ROWS).filter((_, i) => i % (2 * ROWS) < 2); // a band is every fifth run of five
}

/** What is hashed of a document, by kind: its whole text, bands of its shingles, its runs of so many words. */
export const KINDS = {
  text: (_: Hashes, text: string): Hashes => new Int32Array(BigUint64Array.of(indexOfText(text)).buffer),
  bands: hashBands,
  13: (words: Hashes): Hashes => hashRuns(words, PASSAGE),
  8: (words: Hashes): Hashes => hashRuns(words, 8),
};
/** Name of a kind of hashes. */
export type Kind = keyof typeof KINDS;

/** Gives the Jaccard index of two sets of shingles: the share that both have of what either has; 0 where both are empty. */
export function jaccard(one: ReadonlySet<number>, other: ReadonlySet<number>): number {
  const shared = one.intersection(other).size;
  return shared / Math.max(1, one.size + other.size - shared);
}

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
