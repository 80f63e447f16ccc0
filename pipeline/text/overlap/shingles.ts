/**
 * How much texts have in common: the Jaccard index of their shingles, runs of five words; and MinHash, whose bands find pairs that probably
 * have much in common without comparing all (Broder, 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).
 * Of pairs with an index of j, 1 − (1 − j^5)^20 share a band: 99.96% at 0.8.
 *
 * @module
 */

import { type Hashes, hashRuns, spread } from "./word_hashes.ts";

/** Words in a shingle. */
export const SHINGLE = 5;
/** Jaccard index from which on texts are near-duplicates. */
export const NEAR = 0.8;

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

/** Gives the Jaccard index of two sets of shingles: the share that both have of what either has; 0 where both are empty. */
export function jaccard(one: ReadonlySet<number>, other: ReadonlySet<number>): number {
  const shared = one.intersection(other).size;
  return shared / Math.max(1, one.size + other.size - shared);
}
