/**
 * Hashes the words of a text, and runs of them, so that texts are compared without a tokenizer.
 *
 * A word is a run of letters, digits and marks, in lower case; where a script does not part words, a character is one. Hashes have 64 bits
 * in two halves: FNV-1a and a rotating one over characters, both spread and joined over words by the steps of MurmurHash3 (Appleby, 2011).
 *
 * @module
 */

/** Hashes in order. */
export interface Hashes {
  /** Their upper 32 bits. */
  high: Int32Array;
  /** Their lower 32 bits. */
  low: Int32Array;
}

const UNITS = 2 ** 16;
const INNER = /[\p{L}\p{N}\p{M}\p{Cs}]/u; // Cs: halves of characters beyond 16 bits
const UNPARTED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}]/u;

/** The lower case of each UTF-16 unit that words are made of, 0 of others; and which units are words; made when they are first needed. */
let tables: { lower: Uint16Array; alone: Uint8Array } | undefined;

function makeTables() {
  const units = Array.from({ length: UNITS }, (_, code) => String.fromCharCode(code));
  const lowered = (unit: string) => INNER.test(unit) ? unit.toLowerCase().charCodeAt(0) : 0;
  return {
    lower: Uint16Array.from(units, lowered),
    alone: Uint8Array.from(units, (unit) => Number(UNPARTED.test(unit))),
  };
}

/** Spreads the bits of a hash. */
export function spread(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Joins a hash and a number whose bits are spread. */
export function join(hash: number, number: number): number {
  hash ^= number;
  return (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
}

/** Gives 53 bits of a hash as a number: all but the upper ten, and the lowest. */
export const hashKey = (high: number, low: number): number => (high & 0x3fffff) * 2 ** 31 + (low >>> 1);

/** Hashes the words of a text. */
export function hashWords(text: string): Hashes {
  const { lower, alone } = tables ??= makeTables();
  const end = text.length, highs = new Int32Array(end), lows = new Int32Array(end);
  let count = 0;
  for (let i = 0; i < end;) {
    let code = text.charCodeAt(i++), unit = lower[code];
    if (unit === 0) continue;
    let high = 0x2545f491, low = 0x2545f491;
    for (let isAlone = alone[code]; unit !== 0; i++) {
      high = Math.imul(high ^ unit, 0x01000193);
      low = Math.imul(((low << 5) | (low >>> 27)) ^ unit, 0x9e3779b1);
      if (isAlone || i === end) break;
      unit = lower[code = text.charCodeAt(i)];
      if (alone[code]) break; // a word of its own, which comes next
      isAlone = 0;
    }
    highs[count] = spread(high);
    lows[count++] = spread(low);
  }
  return { high: highs.subarray(0, count), low: lows.subarray(0, count) };
}

/** Hashes every run of `length` words, in order. */
export function hashRuns({ high, low }: Hashes, length: number): Hashes {
  const count = Math.max(0, high.length - length + 1);
  const runs: Hashes = { high: new Int32Array(count), low: new Int32Array(count) };
  for (let at = 0; at < count; at++) {
    let upper = length, lower = ~length;
    for (let i = at; i < at + length; i++) {
      upper = join(upper, high[i]);
      lower = join(lower, low[i]);
    }
    runs.high[at] = spread(upper);
    runs.low[at] = spread(lower);
  }
  return runs;
}
