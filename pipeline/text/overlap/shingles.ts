/**
 * How much texts have in common: the Jaccard index of their shingles, runs of five words; and MinHash, whose bands find pairs that probably
 * have much in common without comparing all (Broder, 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).
 * Of pairs with an index of j, 1 − (1 − j^5)^20 share a band: 99.96% at 0.8.
 *
 * @module
 */

import { randomKeys } from "../../random.ts";
import { type Hashes, hashRuns, join, noHashes, spread } from "./word_hashes.ts";

/** Words in a shingle. */
export const SHINGLE = 5;
/** Jaccard index from which on texts are near-duplicates. */
export const NEAR = 0.8;

const [BANDS, ROWS] = [20, 5];
const HASHES = BANDS * ROWS;
const KEYS = new Int32Array(
  randomKeys(0, "minhash", new BigUint64Array(HASHES).map((_, i) => BigInt(i))).buffer,
);
const [FACTORS, ADDENDS] = [
  KEYS.filter((_, i) => i % 2 === 0).map((key) => key | 1),
  KEYS.filter((_, i) => i % 2),
];

const shingles = noHashes(); // of one call after another
const least = new Int32Array(HASHES);

/** Hashes the bands of the shingles of a text, given its words; none where it has fewer words than a shingle. */
export function hashBands(words: Hashes, bands: Hashes = noHashes()): Hashes {
  const { count, low } = hashRuns(words, SHINGLE, shingles);
  Object.assign(bands, {
    count: count === 0 ? 0 : BANDS,
    high: new Int32Array(BANDS),
    low: new Int32Array(BANDS),
  });
  for (let i = 0; i < HASHES; i++) {
    const factor = FACTORS[i], addend = ADDENDS[i];
    let lowest = 0x7fffffff;
    for (let at = 0; at < count; at++) {
      const hash = (Math.imul(low[at], factor) + addend) | 0;
      if (hash < lowest) lowest = hash;
    }
    least[i] = lowest;
  }
  for (let band = 0; band < bands.count; band++) {
    let upper = band, lower = ~band;
    for (let i = band * ROWS; i < (band + 1) * ROWS; i++) {
      upper = join(upper, spread(least[i]));
      lower = join(lower, spread(~least[i]));
    }
    bands.high[band] = spread(upper);
    bands.low[band] = spread(lower);
  }
  return bands;
}

/** Gives the set of the shingles of a text, given its words: 53 bits of the hash of each, in order. */
export function shingleSet(words: Hashes): Float64Array {
  const { count, high, low } = hashRuns(words, SHINGLE, shingles);
  const all = Float64Array.from({ length: count }, (_, i) => (high[i] >>> 0) * 2 ** 21 + (low[i] >>> 11))
    .sort();
  return all.filter((shingle, i) => shingle !== all[i - 1]);
}

/** Gives the Jaccard index of two sets: the share that both have of what either has; 0 where both are empty. */
export function jaccard(one: Float64Array, other: Float64Array): number {
  let shared = 0;
  for (let i = 0, j = 0; i < one.length && j < other.length;) {
    if (one[i] === other[j]) shared++;
    const step = one[i] - other[j];
    if (step <= 0) i++;
    if (step >= 0) j++;
  }
  return shared / Math.max(1, one.length + other.length - shared);
}
