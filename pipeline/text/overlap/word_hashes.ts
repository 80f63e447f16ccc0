/**
 * Hashes the words of a text, and runs of them, so that texts are compared without a tokenizer.
 *
 * A word is a run of letters, digits and marks, in lower case; where a script does not part words, a character is one. Hashes have 64 bits
 * in two halves: FNV-1a and a rotating one over characters, both spread and joined over words by the steps of MurmurHash3 (Appleby, 2011).
 *
 * @module
 */

/** Hashes in order, `count` of them: their upper and their lower halves. The arrays may be longer. */
export interface Hashes {
  count: number;
  high: Int32Array;
  low: Int32Array;
}

const [APART, INSIDE, ALONE] = [0, 1, 2];
const UNITS = 2 ** 16;
const INNER = /[\p{L}\p{N}\p{M}]/u;
const UNPARTED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}]/u;

/** What each UTF-16 unit is to a word, and its lower case; made when they are first needed. */
let tables: { kind: Uint8Array; lower: Uint16Array } | undefined;

function makeTables() {
  const units = Array.from({ length: UNITS }, (_, code) => String.fromCharCode(code));
  const kind = Uint8Array.from(
    units,
    (unit) => UNPARTED.test(unit) ? ALONE : INNER.test(unit) ? INSIDE : APART,
  );
  kind.fill(INSIDE, 0xd800, 0xe000); // halves of characters beyond 16 bits
  return { kind, lower: Uint16Array.from(units, (unit) => unit.toLowerCase().charCodeAt(0)) };
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

/** Makes an empty list of hashes. */
export const noHashes = (): Hashes => ({ count: 0, high: new Int32Array(0), low: new Int32Array(0) });

/** Makes room for `count` hashes in all; those that are there stay. */
function makeRoom(hashes: Hashes, count: number): void {
  for (const half of ["high", "low"] as const) {
    const old = hashes[half];
    if (old.length < count) (hashes[half] = new Int32Array(2 * count)).set(old);
  }
}

/** Hashes the words of a text, in the arrays of `words`, where those of an earlier text are given up. */
export function hashWords(text: string, words: Hashes = noHashes()): Hashes {
  const { kind, lower } = tables ??= makeTables();
  words.count = 0;
  let high = 0, low = 0, isOpen = false, before = APART;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0, is = kind[code];
    if (isOpen && (is !== INSIDE || before === ALONE)) {
      if (words.count === words.high.length) makeRoom(words, words.count + 512);
      words.high[words.count] = spread(high);
      words.low[words.count++] = spread(low);
      isOpen = false;
    }
    before = is;
    if (is === APART) continue;
    if (!isOpen) high = low = 0x2545f491;
    high = Math.imul(high ^ lower[code], 0x01000193);
    low = Math.imul(((low << 5) | (low >>> 27)) ^ lower[code], 0x9e3779b1);
    isOpen = true;
  }
  return words;
}

/** Hashes every run of `length` words, in order, in the arrays of `runs`. */
export function hashRuns({ count, high, low }: Hashes, length: number, runs: Hashes = noHashes()): Hashes {
  runs.count = Math.max(0, count - length + 1);
  makeRoom(runs, runs.count);
  for (let at = 0; at < runs.count; at++) {
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
