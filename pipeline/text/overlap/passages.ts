/**
 * Passages: runs of words that stand in two texts.
 *
 * @module
 */

import { type Hashes, hashKey, hashRuns, hashWords } from "./word_hashes.ts";

/** Words in a run that leaks from one text into another. */
export const PASSAGE = 13;

/** Counts the words from `from` to `to` that are in runs of `length` words, which begin where there is a mark. */
export function coveredWords(marks: ArrayLike<number>, from: number, to: number, length: number): number {
  let covered = 0, until = from;
  for (let at = from; at < to; at++) {
    if (marks[at]) until = at + length;
    if (at < until) covered++;
  }
  return covered;
}

/** Texts whose passages of some words are looked for in others. Memory holds some 100 bytes for each of their words. */
export class Passages {
  readonly #places = new Map<number, number[]>(); // of a run: those that are not marked yet
  readonly #marks: Uint8Array;
  readonly #ends: number[] = [];

  /** Takes the texts, and the number of words. */
  constructor(texts: readonly string[], readonly length: number) {
    let end = 0;
    for (const text of texts) {
      const words = hashWords(text), { high, low } = hashRuns(words, length);
      for (let i = 0; i < high.length; i++) {
        const key = hashKey(high[i], low[i]), places = this.#places.get(key) ?? [];
        places.push(end + i);
        this.#places.set(key, places);
      }
      this.#ends.push(end += words.high.length);
    }
    this.#marks = new Uint8Array(end);
  }

  /** Marks what stands in a text, given its words, and reports whether anything does. */
  find(words: Hashes): boolean {
    const { high, low } = hashRuns(words, this.length);
    let has = false;
    for (let i = 0; i < high.length; i++) {
      const places = this.#places.get(hashKey(high[i], low[i]));
      if (places) has = true;
      while (places?.length) this.#marks[places.pop()!] = 1;
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
