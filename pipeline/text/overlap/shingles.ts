/**
 * How much texts have in common: the Jaccard index of their shingles, runs of five words; and MinHash, whose bands find pairs that probably
 * have much in common without comparing all (Broder, 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).
 * Of pairs with an index of j, 1 − (1 − j^5)^20 share a band: 99.96% at 0.8.
 *
 * @module
 */

import { randomKeys } from "../../random.ts";
import { type Hashes, hashKey, hashRuns, join, spread } from "./word_hashes.ts";

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

/** Hashes the bands of the shingles of a text, given its words; none where it has fewer words than a shingle. */
export function hashBands(words: Hashes): Hashes {
  const { low } = hashRuns(words, SHINGLE), count = low.length === 0 ? 0 : BANDS;
  const least = FACTORS.map((factor, i) => {
    let lowest = 0x7fffffff;
    for (let at = 0; at < low.length; at++) {
      const hash = (Math.imul(low[at], factor) + ADDENDS[i]) | 0;
      if (hash < lowest) lowest = hash;
    }
    return lowest;
  });
  const bands: Hashes = { high: new Int32Array(count), low: new Int32Array(count) };
  for (let band = 0; band < count; band++) {
    let upper = band, lower = ~band;
    for (const hash of least.subarray(band * ROWS, (band + 1) * ROWS)) {
      upper = join(upper, spread(hash));
      lower = join(lower, spread(~hash));
    }
    bands.high[band] = spread(upper);
    bands.low[band] = spread(lower);
  }
  return bands;
}

/** Lists the shingles of a text, given its words: 53 bits of the hash of each. */
export function listShingles(words: Hashes): Float64Array<ArrayBuffer> {
  const { high, low } = hashRuns(words, SHINGLE);
  return Float64Array.from(high, (upper, i) => hashKey(upper, low[i]));
}

/** Gives the Jaccard index of two lists of shingles: the share that both have of what either has; 0 where both are empty. */
export function jaccard(...lists: [Float64Array, Float64Array]): number {
  const [one, other] = lists.map((list) => new Set(list)), shared = one.intersection(other).size;
  return shared / Math.max(1, one.size + other.size - shared);
}
