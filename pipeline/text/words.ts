/**
 * Encodes each word once. Texts are cut at places that no token can cross, and the ids of each
 * piece are kept. Text repeats its words, so nearly every piece is looked up instead of encoded. A
 * cut is made only where the tokenizer itself is certain to make one, so the ids are those of the
 * whole text.
 *
 * @module
 */

/** Encodes texts, each on its own, without special tokens; on one core where that is asked for. */
type EncodeBatch = (texts: string[], onOneCore?: boolean) => Promise<ArrayLike<number>[]>;

/**
 * The settings in a `tokenizer.json` that say whether its texts can be cut, and which tokens it
 * looks for in them.
 */
export interface Format {
  normalizer?: { type: string } | null;
  pre_tokenizer?: { type: string; add_prefix_space?: boolean; use_regex?: boolean } | null;
  model?: { type?: string; dropout?: number | null };
  added_tokens?: {
    content: string;
    special?: boolean;
    normalized?: boolean;
    lstrip?: boolean;
    rstrip?: boolean;
    single_word?: boolean;
  }[];
}

/**
 * Returns whether texts can be cut for this `tokenizer.json`. It must be byte-level BPE with
 * GPT-2's pattern; it must not rewrite text except by NFC; and its added tokens must be special
 * ones (which the caller keeps out of the texts) or runs of white space.
 */
export function cutsAtWords(format: Format): boolean {
  const { normalizer, pre_tokenizer: cutter, model, added_tokens: added = [] } = format;
  return (!normalizer || normalizer.type === "NFC") &&
    cutter?.type === "ByteLevel" && cutter.add_prefix_space === false &&
    cutter.use_regex !== false &&
    model?.type === "BPE" && !model.dropout &&
    added.every(({ content, special, lstrip, rstrip, single_word }) =>
      (special || /^[ \t\r\n]+$/.test(content)) && !lstrip && !rstrip && !single_word
    );
}

const OTHER = 0; // white space or not: no cut next to it
const FOREIGN = 1; // beyond ASCII, but for white space: a letter, a digit or a sign
const LETTER = 2;
const DIGIT = 3;
const SIGN = 4;
const APOSTROPHE = 5; // begins contractions: 's, 're
const SPACE = 6;
const KINDS = 7;

const KIND = new Uint8Array(1 << 16).fill(FOREIGN); // kind of every UTF-16 unit
for (let code = 0; code < 128; code++) {
  const character = String.fromCharCode(code);
  if (/[A-Za-z]/.test(character)) KIND[code] = LETTER;
  else if (/[0-9]/.test(character)) KIND[code] = DIGIT;
  else if (/[\t\n\v\f\r ]/.test(character)) KIND[code] = SPACE;
  else if (character === "'") KIND[code] = APOSTROPHE;
  else KIND[code] = code > 0x20 && code < 0x7f ? SIGN : OTHER;
}
for (const code of [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000]) KIND[code] = OTHER;
KIND.fill(OTHER, 0x2000, 0x200b);

/**
 * Whether a text is cut between two kinds, at `first * KINDS + second`. White space joins what
 * follows.
 */
const CUT = Uint8Array.from({ length: KINDS * KINDS }, (_, at) => {
  const [first, second] = [Math.floor(at / KINDS), at % KINDS];
  if (first === second || first === OTHER || second === OTHER || first === SPACE) return 0;
  if (second === SPACE) return 1;
  if (first === FOREIGN || second === FOREIGN || first === APOSTROPHE) return 0;
  return first === SIGN && second === APOSTROPHE ? 0 : 1;
});

/**
 * Cuts a text into pieces of at least so many UTF-16 units, at places that no token can cross; a
 * piece goes on to the end of its word. The tokenizer must be one that {@linkcode cutsAtWords}.
 */
export function* cutText(text: string, least: number): Generator<string> {
  let start = 0;
  for (let i = least; i < text.length; i++) {
    if (!CUT[KIND[text.charCodeAt(i - 1)] * KINDS + KIND[text.charCodeAt(i)]]) continue;
    yield text.slice(start, i);
    start = i;
    i += least - 1;
  }
  if (start < text.length) yield text.slice(start);
}

/**
 * Finds a token that can part words in one text, so that each is encoded as it would be alone: a
 * special one, which the library cuts out of texts, and which does not begin within itself.
 * Undefined where there is none. Words must not hold it.
 */
export function partingToken({ added_tokens: added = [] }: Format): string | undefined {
  const ends = (token: string) =>
    Array.from({ length: token.length - 1 }, (_, at) => token.slice(at + 1));
  return added.find(({ content: token, special }) =>
    special && token.length > 1 && !ends(token).some((end) => token.startsWith(end))
  )?.content;
}

// Characters of a text of words: long enough that a call for it costs little.
const JOINED = 1 << 11;

/**
 * Gives what encodes words in few long texts, with a token between every two. For the library a
 * text costs far more than a word. `part` is a token as {@linkcode partingToken} finds it, and its
 * id.
 */
export function encodeJoined(
  encodeBatch: EncodeBatch,
  part: { token: string; id: number },
): EncodeBatch {
  return async (words, onOneCore) => {
    const texts: string[][] = [];
    let characters = JOINED;
    for (const word of words) {
      if (characters >= JOINED) {
        texts.push([]);
        characters = 0;
      }
      texts.at(-1)!.push(word);
      characters += word.length + part.token.length;
    }
    const encoded = await encodeBatch(texts.map((words) => words.join(part.token)), onOneCore);
    const parts = encoded.flatMap((ids) => cutAt(ids, part.id));
    if (parts.length === words.length) return parts;
    // Another added token overlaps it, so it was not found everywhere.
    return await encodeBatch(words, onOneCore);
  };
}

/** Cuts ids wherever one stands, which is left out. */
function cutAt(ids: ArrayLike<number>, cut: number): number[][] {
  const parts: number[][] = [[]];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === cut) parts.push([]);
    else parts.at(-1)!.push(ids[i]);
  }
  return parts;
}

const LONGEST = 64; // UTF-16 units; longer words hardly ever come twice and are not kept
const MOST_WORDS = 1 << 17;
const MOST_CHARACTERS = 1 << 20;

/**
 * Encodes texts through a table of words, which takes a few MiB. When it is full, the next call
 * begins a new one.
 */
export class WordEncoder {
  #table = new WordTable();
  #earlier: Promise<unknown> = Promise.resolve();

  constructor(private readonly encodeBatch: EncodeBatch) {}

  /**
   * Gives the ids of each text, one call after another. A text comes in pieces, each of which is
   * encoded on its own. Throws what `encodeBatch` throws.
   */
  encode(texts: string[][], onOneCore?: boolean): Promise<Uint32Array[]> {
    const encoded = this.#earlier.then(() => this.#encode(texts, onOneCore));
    // Ids of words in it are not known.
    this.#earlier = encoded.catch(() => this.#table = new WordTable());
    return encoded;
  }

  async #encode(texts: string[][], onOneCore?: boolean): Promise<Uint32Array[]> {
    if (this.#table.full) this.#table = new WordTable();
    const table = this.#table;
    const fresh: Fresh = { words: [], numbers: [] };
    const wordNumbers = texts.map((pieces) => pieces.flatMap((text) => table.find(text, fresh)));
    const encoded = fresh.words.length === 0 ? [] : await this.encodeBatch(fresh.words, onOneCore);
    fresh.numbers.forEach((number, i) => {
      if (number >= 0) table.ids[number] = encoded[i];
    });
    return wordNumbers.map((numbers) => joinIds(numbers, table.ids, encoded));
  }
}

/** Joins the ids of words; those of words that are not kept are in `others`. */
function joinIds(
  numbers: readonly number[],
  keptIds: readonly ArrayLike<number>[],
  freshIds: readonly ArrayLike<number>[],
): Uint32Array {
  const wordIds = (number: number) => number < 0 ? freshIds[~number] : keptIds[number];
  let total = 0;
  for (const number of numbers) total += wordIds(number).length;
  const joined = new Uint32Array(total);
  let at = 0;
  for (const number of numbers) {
    const ids = wordIds(number);
    for (let i = 0; i < ids.length; i++) joined[at++] = ids[i];
  }
  return joined;
}

/** Words that a call meets first, and their numbers in the table; -1 of a word that is not kept. */
interface Fresh {
  words: string[];
  numbers: number[];
}

/**
 * Numbers words in the order in which they come. They are found by hash, with linear probing, in
 * arrays that do not grow.
 */
class WordTable {
  /** Ids of words by number, as far as words were encoded. */
  readonly ids: ArrayLike<number>[] = [];
  readonly #slots = new Int32Array(2 * MOST_WORDS); // numbers of words, plus one
  readonly #hashes = new Int32Array(MOST_WORDS);
  /** Where the characters of each word begin; one more entry says where the last word ends. */
  readonly #ends = new Int32Array(MOST_WORDS + 1);
  readonly #characters = new Uint16Array(MOST_CHARACTERS);
  #count = 0;

  /** Whether some words may not be kept. */
  get full(): boolean {
    return this.#count === MOST_WORDS || this.#ends[this.#count] > MOST_CHARACTERS - LONGEST;
  }

  /**
   * Cuts a text into words and gives their numbers, in order: of a word that is not kept, -1 minus
   * its place in `fresh`.
   */
  find(text: string, fresh: Fresh): number[] {
    const numbers: number[] = [];
    let start = 0;
    let lastKind = OTHER;
    let hash = 0;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      const kind = KIND[code];
      if (CUT[lastKind * KINDS + kind]) {
        numbers.push(this.#findNumber(text, start, i, hash, fresh));
        start = i;
        hash = 0;
      }
      hash = Math.imul(hash ^ code, 0x01000193);
      lastKind = kind;
    }
    if (start < text.length) numbers.push(this.#findNumber(text, start, text.length, hash, fresh));
    return numbers;
  }

  #findNumber(text: string, start: number, end: number, hash: number, fresh: Fresh): number {
    const isKept = end - start <= LONGEST && !this.full;
    const mask = this.#slots.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (let number; (number = this.#slots[slot] - 1) >= 0; slot = (slot + 1) & mask) {
      if (this.#hashes[number] === hash && this.#equals(number, text, start, end)) return number;
    }
    const number = isKept ? this.#count : -1;
    fresh.numbers.push(number);
    const place = fresh.words.push(text.slice(start, end)) - 1;
    if (!isKept) return ~place;
    let at = this.#ends[number];
    for (let i = start; i < end; i++) this.#characters[at++] = text.charCodeAt(i);
    this.#hashes[number] = hash;
    this.#ends[++this.#count] = at;
    this.#slots[slot] = this.#count;
    return number;
  }

  #equals(number: number, text: string, start: number, end: number): boolean {
    const from = this.#ends[number];
    if (this.#ends[number + 1] - from !== end - start) return false;
    for (let i = start; i < end; i++) {
      if (this.#characters[from + i - start] !== text.charCodeAt(i)) return false;
    }
    return true;
  }
}
