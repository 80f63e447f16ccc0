/**
 * What texts have in common, found by their hashes: candidates for near-duplicates, and passages, runs of words that stand in two texts.
 *
 * @module
 */

import { BUCKETS, Chains, readBucket } from "./hash_tables.ts";
import { type Hashes, hashRuns, hashWords, noHashes } from "./word_hashes.ts";

/** Words in a run that leaks from one text into another. */
export const PASSAGE = 13;
/** With so many documents before it that share a band each one is compared, and with the first: a thousand that are alike make no million pairs. */
const MOST_BEFORE = 100;

/** A table of a block. */
export interface BlockTable {
  /** Its file. */
  path: string;
  /** What is added to its values, which begin anew in every block. */
  first: number;
}

/** Counts the words from `from` to `to` that are in runs of `length` words, which begin where there is a mark. */
export function coveredWords(marks: Uint8Array, from: number, to: number, length: number): number {
  let covered = 0, until = from;
  for (let at = from; at < to; at++) {
    if (marks[at]) until = at + length;
    if (at < until) covered++;
  }
  return covered;
}

/** Texts whose passages of some words are looked for in others. Memory holds some 40 bytes for each of their words. */
export class Passages {
  readonly #chains: Chains;
  readonly #marks: Uint8Array;
  readonly #ends: number[] = [];
  readonly #runs = noHashes();

  /** Takes the texts, and the number of words. */
  constructor(texts: readonly string[], readonly length: number) {
    const words = texts.map((text) => hashWords(text));
    const total = words.reduce((sum, { count }) => sum + count, 0);
    this.#chains = new Chains(total);
    this.#marks = new Uint8Array(total);
    for (const own of words) {
      const { count, high, low } = hashRuns(own, length, this.#runs), first = this.#ends.at(-1) ?? 0;
      for (let i = 0; i < count; i++) this.#chains.add(high[i], low[i], first + i);
      this.#ends.push(first + own.count);
    }
  }

  /** Marks what stands in a text, given its words, and reports whether anything does. */
  find(words: Hashes): boolean {
    const { count, high, low } = hashRuns(words, this.length, this.#runs);
    let has = false;
    for (let i = 0; i < count; i++) {
      if (this.#chains.find(high[i], low[i], (place) => void (this.#marks[place] = 1))) has = true;
    }
    return has;
  }

  /** Counts the texts and their words; of both, those that are in passages which were found. */
  counts(): { texts: number; found: number; words: number; covered: number } {
    const covered = this.#ends.map((end, i) =>
      coveredWords(this.#marks, this.#ends[i - 1] ?? 0, end, this.length)
    );
    return {
      ...{ texts: covered.length, found: covered.filter((words) => words > 0).length },
      ...{ words: this.#marks.length, covered: covered.reduce((a, b) => a + b, 0) },
    };
  }
}

/** Goes through the buckets; between some the process sees whether it is to end. */
async function* buckets(signal?: AbortSignal): AsyncGenerator<number> {
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    if (bucket % 8 === 0) await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    yield bucket;
  }
}

/** Puts a bucket of all tables into chains, and calls for each row. */
function readChains(
  tables: readonly BlockTable[],
  bucket: number,
  onRow: (chains: Chains, row: number) => void = () => {},
): Chains {
  const blocks = tables.map(({ path }) => readBucket(path, bucket));
  const chains = new Chains(blocks.reduce((sum, { length }) => sum + length / 3, 0));
  for (const [i, rows] of blocks.entries()) {
    for (let at = 0; at < rows.length; at += 3) {
      onRow(chains, chains.add(rows[at], rows[at + 1], rows[at + 2] + tables[i].first));
    }
  }
  return chains;
}

/** Finds the pairs of documents that share a hash, in order, the lower number first: that is the upper half of the number of a pair. */
export async function findCandidates(
  tables: readonly BlockTable[],
  signal?: AbortSignal,
): Promise<BigUint64Array> {
  let pairs = new BigUint64Array(1024), count = 0;
  const sort = () => {
    const own = pairs.subarray(0, count).sort();
    count = 0;
    for (const pair of own) if (count === 0 || pair !== pairs[count - 1]) pairs[count++] = pair;
  };
  const add = (one: number, other: number) => {
    if (count === pairs.length) sort();
    if (2 * count > pairs.length) {
      const all = pairs;
      (pairs = new BigUint64Array(2 * all.length)).set(all);
    }
    pairs[count++] = BigInt(Math.min(one, other)) << 32n | BigInt(Math.max(one, other));
  };
  for await (const bucket of buckets(signal)) {
    const firsts: number[] = [];
    readChains(tables, bucket, ({ before, values }, row) => {
      let other = before[row], left = MOST_BEFORE;
      for (; other >= 0 && left > 0; other = before[other], left--) add(values[other], values[row]);
      firsts[row] = before[row] < 0 ? row : firsts[before[row]];
      if (other >= 0) add(values[firsts[row]], values[row]);
    });
  }
  sort();
  return pairs.slice(0, count);
}

/**
 * Finds runs of words in some tables that stand in others too. `onShared` gets the place of each, and that of the first one like it in the
 * others, which come in the order of blocks.
 */
export async function findShared(
  tables: readonly BlockTable[],
  others: readonly BlockTable[],
  onShared: (place: number, other: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for await (const bucket of buckets(signal)) {
    const chains = readChains(tables, bucket);
    for (const { path, first } of chains.values.length > 0 ? others : []) {
      const rows = readBucket(path, bucket);
      for (let at = 0; at < rows.length; at += 3) {
        chains.find(rows[at], rows[at + 1], (place) => onShared(place, rows[at + 2] + first));
      }
    }
  }
}
