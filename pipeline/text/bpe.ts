/**
 * Trains byte-level BPE as the tokenizers library does, with its rules for equals: of pairs of one
 * count the one of earlier tokens comes first. Sennrich, Haddow, Birch, "Neural Machine Translation
 * of Rare Words with Subword Units", ACL 2016; words are cut as GPT-2 cuts them.
 *
 * @module
 */

import { head } from "./fields.ts";
import { Heap } from "./heap.ts";

/**
 * Words: contractions, letters, digits or signs after a space or none, and white space, whose last
 * character goes to the next word.
 */
const WORD = new RegExp(
  [
    String.raw`'(?:[stmd]|re|ve|ll)`,
    String.raw` ?\p{L}+`,
    String.raw` ?\p{N}+`,
    String.raw` ?[^\p{White_Space}\p{L}\p{N}]+`,
    String.raw`\p{White_Space}+(?!\P{White_Space})`,
    String.raw`\p{White_Space}+`,
  ].join("|"),
  "gu",
);
const BYTES = 256;

/**
 * The 256 byte-level symbols in byte order: printable bytes stand for themselves, the others for
 * U+0100 onwards.
 */
export function byteSymbols(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
    (byte >= 0xae && byte <= 0xff);
  let next = 0;
  return Array.from(
    { length: BYTES },
    (_, byte) => String.fromCharCode(printable(byte) ? byte : 256 + next++),
  );
}

/** Counts the words of texts. */
export class WordCounts {
  readonly counts = new Map<string, number>();

  /**
   * Adds a text, line by line, and gives the UTF-16 units beyond the first `longest` of words,
   * which are left out.
   */
  add(text: string, longest: number): number {
    let cut = 0;
    for (const line of text.split(/(?<=\n)/)) {
      for (const [whole] of line.matchAll(WORD)) {
        const most = longest + Number(/^ \S/.test(whole)); // and the space before it
        const word = whole.length > most ? head(whole, most) : whole;
        cut += whole.length - word.length;
        this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
      }
    }
    return cut;
  }
}

/** A pair of tokens that is to be merged, as it was counted, and words that have it. */
interface Pair {
  left: number;
  right: number;
  count: number;
  words: number[];
}

/** Whether a pair is merged before another. */
const isFirst = (a: Pair, b: Pair): boolean =>
  a.count !== b.count ? a.count > b.count : a.left !== b.left ? a.left < b.left : a.right < b.right;

/**
 * Learns the merges of words, at most so many, as pairs of tokens. Others have their turn now and
 * then.
 */
export async function learnMerges(
  words: ReadonlyMap<string, number>,
  most: number,
  signal?: AbortSignal,
): Promise<[left: string, right: string][]> {
  const learner = new Learner(words);
  const merges: [string, string][] = [];
  for (let since = performance.now(); merges.length < most;) {
    if (performance.now() - since > TURN_MS) {
      await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
      since = performance.now();
    }
    const pair = learner.next();
    if (!pair) break;
    merges.push(pair);
  }
  return merges;
}

const TURN_MS = 20;

class Learner {
  readonly #tokens = byteSymbols().sort();
  readonly #ids = new Map(this.#tokens.map((token, id) => [token, id]));
  readonly #words: number[][];
  readonly #frequencies: number[];
  readonly #counts = new Map<number, number>(); // of pairs, by keys
  readonly #queue = new Heap(isFirst);

  constructor(words: ReadonlyMap<string, number>) {
    const ofByte = byteSymbols().map((symbol) => this.#ids.get(symbol)!);
    const utf8 = new TextEncoder();
    this.#words = Array.from(
      words.keys(),
      (word) => Array.from(utf8.encode(word), (byte) => ofByte[byte]),
    );
    this.#frequencies = [...words.values()];
    const met = new Map<number, number[]>();
    for (const [word, ids] of this.#words.entries()) {
      for (let i = 1; i < ids.length; i++) this.#change(met, ids[i - 1], ids[i], word, 1);
    }
    this.#enqueue(met);
  }

  /** Merges the next pair wherever it stands. */
  next(): [string, string] | undefined {
    let pair = this.#queue.pop();
    for (
      let count;
      pair && pair.count !== (count = this.#counts.get(pairKey(pair.left, pair.right))!);
    ) {
      this.#queue.push({ ...pair, count });
      pair = this.#queue.pop();
    }
    if (!pair || pair.count < 1) return undefined;
    const { left, right, words } = pair;
    const merged = [this.#tokens[left], this.#tokens[right]] as const;
    const token = merged.join("");
    const id = this.#ids.getOrInsertComputed(token, () => this.#tokens.push(token) - 1);
    const met = new Map<number, number[]>();
    for (const word of words) this.#merge(word, left, right, id, met);
    this.#enqueue(met);
    return [...merged];
  }

  #merge(word: number, left: number, right: number, id: number, met: Map<number, number[]>): void {
    const ids = this.#words[word];
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const isPair = ids[i] === left && ids[i + 1] === right && i + 1 < ids.length;
      if (isPair) {
        if (length > 0) {
          this.#change(met, ids[length - 1], left, word, -1);
          this.#change(met, ids[length - 1], id, word, 1);
        }
        i++;
        if (i + 1 < ids.length) {
          this.#change(met, right, ids[i + 1], word, -1);
          this.#change(met, id, ids[i + 1], word, 1);
        }
      }
      ids[length++] = isPair ? id : ids[i];
    }
    ids.length = length;
  }

  #change(met: Map<number, number[]>, left: number, right: number, word: number, by: 1 | -1): void {
    const key = pairKey(left, right);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + by * this.#frequencies[word]);
    if (by < 0) return;
    const words = met.get(key);
    if (!words) met.set(key, [word]);
    else if (words.at(-1) !== word) words.push(word);
  }

  #enqueue(met: Map<number, number[]>): void {
    for (const [key, words] of met) {
      const count = this.#counts.get(key)!;
      if (count > 0) {
        this.#queue.push({ left: Math.floor(key / MOST), right: key % MOST, count, words });
      }
    }
  }
}

const MOST = 2 ** 21; // tokens
const pairKey = (left: number, right: number): number => left * MOST + right;
