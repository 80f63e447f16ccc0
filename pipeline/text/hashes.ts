/**
 * Hashes texts, their words and runs of words, so that texts are compared without a tokenizer.
 *
 * A word is a run of letters, digits and marks, in lower case; where a script does not part words,
 * a character is one. Of a word there are two hashes of its characters, FNV-1a and a rotating one;
 * of a run two polynomials of these (Karp and Rabin, 1987). All have their bits spread by the last
 * steps of MurmurHash3 (Appleby, 2011).
 *
 * Texts are as near as the Jaccard index of their shingles, runs of five words. MinHash finds pairs
 * that probably have much in common without comparing all (Broder, 1997; Leskovec, Rajaraman and
 * Ullman, "Mining of Massive Datasets", section 3.4): of those with an index of j, 1 − (1 − j^5)^20
 * share a band, 99.96% at 0.8.
 *
 * @module
 */

import { indexOfText } from "../random.ts";

/** Hashes in order, of 64 bits: their upper halves, and their lower ones. */
type Hashes = readonly Int32Array[];

const INNER = /[\p{L}\p{N}\p{M}\p{Cs}]/u; // Cs: halves of characters beyond 16 bits
const UNPARTED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}]/u;
/** Words in a shingle, and in a run that leaks from one text into another. */
export const [SHINGLE, PASSAGE] = [5, 13] as const;
const SEED = 0x2545f491;
const FACTORS = [0x01000193, 0x9e3779b1];

/**
 * Gives each UTF-16 unit in lower case; less than 0 where it is a word alone, 0 where it is in
 * none.
 */
const makeUnits = () =>
  Int32Array.from({ length: 2 ** 16 }, (_, code) => {
    const unit = String.fromCharCode(code);
    return INNER.test(unit) ? unit.toLowerCase().charCodeAt(0) * (UNPARTED.test(unit) ? -1 : 1) : 0;
  });
let units: Int32Array | undefined; // made when they are first needed

/** Spreads the bits of a hash. */
function spread(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Returns 53 bits of a hash as a number: all but the upper ten and the lowest. */
export const hashKey = (high: number, low: number): number =>
  (high & 0x3fffff) * 2 ** 31 + (low >>> 1);

/** Hashes the words of a text; `starts` takes the places where they begin. */
export function hashWords(text: string, starts?: number[]): Hashes {
  units ??= makeUnits();
  const end = text.length;
  const highs = new Int32Array(end);
  const lows = new Int32Array(end);
  let size = 0;
  for (let at = 0; at < end;) {
    let unit = units[text.charCodeAt(at++)];
    if (unit === 0) continue;
    starts?.push(at - 1);
    const isAlone = unit < 0;
    let high = SEED;
    let low = SEED;
    do {
      high = Math.imul(high ^ unit, FACTORS[0]);
      low = Math.imul(((low << 5) | (low >>> 27)) ^ unit, FACTORS[1]);
    } while (!isAlone && at < end && (unit = units[text.charCodeAt(at)]) > 0 && at++ < end);
    highs[size] = spread(high);
    lows[size++] = spread(low);
  }
  return [highs.subarray(0, size), lows.subarray(0, size)];
}

/** Hashes every run of `length` words, in order. */
export const hashRuns = (words: Hashes, length: number): Hashes =>
  words.map((hashes, half) => {
    const factor = FACTORS[half];
    const overlap = length - 1;
    const runs = new Int32Array(Math.max(0, hashes.length - overlap));
    let power = 1;
    let sum = 0; // the factor to the power of `length`; the polynomial of the last `length` words
    for (let i = 0; i < length; i++) power = Math.imul(power, factor);
    for (let at = 0; at < hashes.length; at++) {
      sum = (Math.imul(sum, factor) + hashes[at]) | 0;
      if (at > overlap) sum = (sum - Math.imul(power, hashes[at - length])) | 0;
      if (at >= overlap) runs[at - overlap] = spread(sum);
    }
    return runs;
  });

/** Lists the runs of `length` words in order: 53 bits of the hash of each. */
export function listRuns(words: Hashes, length: number): Float64Array<ArrayBuffer> {
  const [highs, lows] = hashRuns(words, length);
  return Float64Array.from(highs, (high, i) => hashKey(high, lows[i]));
}

/** A set of hashes of 32 bits that takes some others for its own: few, if most bits are 0. */
export class HashFilter {
  readonly #bits: Int32Array;
  readonly #shift: number;

  /** @param bits The logarithm of its size, from 5 to 32. */
  constructor(bits: number) {
    this.#bits = new Int32Array(2 ** (bits - 5));
    this.#shift = 32 - bits;
  }

  add(hash: number): void {
    const place = hash >>> this.#shift;
    this.#bits[place >>> 5] |= 1 << (place & 31);
  }

  has(hash: number): boolean {
    const place = hash >>> this.#shift;
    return (this.#bits[place >>> 5] & (1 << (place & 31))) !== 0;
  }
}

/** Stands for a token that begins or ends inside a character. */
const PARTIAL = -(2 ** 16);

/** Counts runs of words of texts that are there as tokens, without a step through their text. */
export class TokenHasher {
  /** Units of the text of each token, one token after another, and where each begins. */
  readonly #units: Int32Array;
  readonly #starts: Uint32Array;
  /** Whether a token ends what was before it and begins a word, and the hash of that so far. */
  readonly #begins: Uint8Array;
  readonly #begun: Int32Array;
  readonly #mostWords: number; // that a token ends
  #words = new Int32Array(2 ** 12); // upper halves of hashes

  /** @param texts The text of each token; undefined where that is a part of a character. */
  constructor(texts: readonly (string | undefined)[]) {
    const unitsByCode = units ??= makeUnits();
    const tokens = texts.map((text) =>
      text === undefined
        ? [PARTIAL]
        : Array.from({ length: text.length }, (_, i) => unitsByCode[text.charCodeAt(i)])
    );
    this.#units = Int32Array.from(tokens.flat());
    this.#starts = new Uint32Array(texts.length + 1);
    this.#begins = new Uint8Array(texts.length);
    this.#begun = new Int32Array(texts.length);
    for (const [id, tokenUnits] of tokens.entries()) {
      this.#starts[id + 1] = this.#starts[id] + tokenUnits.length;
      const start = tokenUnits.findIndex((unit) => unit !== 0);
      const word = tokenUnits.slice(start);
      if (start < 1 || word.some((unit) => unit <= 0)) continue;
      this.#begins[id] = 1;
      this.#begun[id] = word.reduce((hash, unit) => Math.imul(hash ^ unit, FACTORS[0]), SEED);
    }
    const ended = tokens.map((tokenUnits) =>
      1 + tokenUnits.filter((unit, i) => unit < 0 || unit > 0 && tokenUnits[i + 1] <= 0).length
    );
    this.#mostWords = ended.reduce((most, count) => Math.max(most, count), 1);
  }

  /**
   * Counts the runs of `length` words of which `filter` has the upper half of the hash. Returns
   * undefined where a token is a part of a character.
   */
  countRuns(tokens: Uint16Array | Uint32Array, length: number, filter: HashFilter) {
    const count = this.#hashWords(tokens);
    if (count === undefined) return undefined;
    const words = this.#words;
    let hits = 0;
    for (let end = length; end <= count; end++) {
      let sum = 0;
      for (let at = end - length; at < end; at++) {
        sum = (Math.imul(sum, FACTORS[0]) + words[at]) | 0;
      }
      if (filter.has(spread(sum))) hits++;
    }
    return hits;
  }

  /** Hashes the words as `hashWords` does, and returns their number. */
  #hashWords(tokens: Uint16Array | Uint32Array): number | undefined {
    const most = tokens.length * this.#mostWords + 1;
    if (this.#words.length < most) this.#words = new Int32Array(2 * most);
    const words = this.#words;
    const units = this.#units;
    const starts = this.#starts;
    const begins = this.#begins;
    const begun = this.#begun;
    let size = 0;
    let hash = SEED;
    let isInside = false; // a word
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      if (begins[token] === 1) {
        if (isInside) words[size++] = spread(hash);
        hash = begun[token];
        isInside = true;
        continue;
      }
      const end = starts[token + 1];
      for (let at = starts[token]; at < end; at++) {
        const unit = units[at];
        if (unit > 0) {
          hash = Math.imul(hash ^ unit, FACTORS[0]);
          isInside = true;
          continue;
        }
        if (unit === PARTIAL) return undefined;
        if (isInside) words[size++] = spread(hash);
        if (unit < 0) words[size++] = spread(Math.imul(SEED ^ unit, FACTORS[0]));
        hash = SEED;
        isInside = false;
      }
    }
    if (isInside) words[size++] = spread(hash);
    return size;
  }
}

const [BANDS, ROWS] = [20, 5];

/**
 * Hashes the bands of the shingles of a text, given its words; none where it has fewer words than a
 * shingle.
 */
function hashBands(words: Hashes): Hashes {
  const [shingles] = hashRuns(words, SHINGLE);
  if (shingles.length === 0) return [shingles, shingles];
  const highs = new Int32Array(BANDS * ROWS);
  const lows = new Int32Array(BANDS * ROWS);
  for (let i = 0; i < highs.length; i++) {
    const factor = spread(2 * i + 1) | 1;
    const addend = spread(2 * i + 2);
    let lowest = 0x7fffffff;
    for (let at = 0; at < shingles.length; at++) {
      const hash = (Math.imul(shingles[at], factor) + addend) | 0;
      if (hash < lowest) lowest = hash;
    }
    highs[i] = spread(lowest);
    lows[i] = spread(~lowest);
  }
  return hashRuns([highs, lows], ROWS).map((half) => half.filter((_, i) => i % ROWS === 0));
}

/**
 * What is hashed of a document, by kind: its whole text, bands of its shingles, its runs of so many
 * words.
 */
export const KINDS = {
  text: (_: Hashes, text: string): Hashes => {
    const halves = new Int32Array(BigUint64Array.of(indexOfText(text)).buffer);
    return [halves.subarray(0, 1), halves.subarray(1)];
  },
  bands: hashBands,
  13: (words: Hashes): Hashes => hashRuns(words, PASSAGE),
  8: (words: Hashes): Hashes => hashRuns(words, 8),
};
/** Name of a kind of hashes. */
export type Kind = keyof typeof KINDS;

/**
 * Gives the Jaccard index of two sets of shingles: the share that both have of what either has; 0
 * where both are empty.
 */
export function jaccard(first: ReadonlySet<number>, second: ReadonlySet<number>): number {
  const shared = first.intersection(second).size;
  return shared / Math.max(1, first.size + second.size - shared);
}
