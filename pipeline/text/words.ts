/**
 * Encodes each word once. Texts are cut at places that no token can cross, and the ids of each piece are
 * kept. Text repeats its words, so nearly every piece is looked up instead of encoded. A cut is made only
 * where the tokenizer itself is certain to make one, so the ids are those of the whole text.
 *
 * @module
 */

/** Encodes texts, each on its own, without special tokens; on one core where that is asked for. */
export type EncodeBatch = (texts: string[], onOneCore?: boolean) => Promise<ArrayLike<number>[]>;

/** The settings in a `tokenizer.json` that say whether its texts can be cut, and which tokens it looks for in them. */
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
 * Says whether texts can be cut for this `tokenizer.json`. It must be byte-level BPE with GPT-2's pattern; it
 * must not rewrite text except by NFC; and its added tokens must be special ones (which the caller keeps out
 * of the texts) or runs of white space.
 */
export function cutsAtWords(format: Format): boolean {
  const { normalizer, pre_tokenizer: cutter, model, added_tokens: added = [] } = format;
  return (!normalizer || normalizer.type === "NFC") &&
    cutter?.type === "ByteLevel" && cutter.add_prefix_space === false && cutter.use_regex !== false &&
    model?.type === "BPE" && !model.dropout &&
    added.every(({ content, special, lstrip, rstrip, single_word }) =>
      (special || /^[ \t\r\n]+$/.test(content)) && !lstrip && !rstrip && !single_word
    );
}

const OTHER = 0; // white space or not: no cut beside it
const FOREIGN = 1; // beyond ASCII, but for white space: a letter, a digit or a sign
const LETTER = 2;
const DIGIT = 3;
const SIGN = 4;
const APOSTROPHE = 5; // begins contractions: 's, 're
const SPACE = 6;
const KINDS = 7;

/** Kind of every UTF-16 unit. */
const KIND = new Uint8Array(1 << 16).fill(FOREIGN);
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
 * Whether a text is cut between two kinds, at `first * KINDS + second`. White space belongs to what follows
 * it.
 */
const CUT = Uint8Array.from({ length: KINDS * KINDS }, (_, at) => {
  const [first, second] = [Math.floor(at / KINDS), at % KINDS];
  if (first === second || first === OTHER || second === OTHER || first === SPACE) return 0;
  if (second === SPACE) return 1;
  if (first === FOREIGN || second === FOREIGN || first === APOSTROPHE) return 0;
  return first === SIGN && second === APOSTROPHE ? 0 : 1;
});

/**
 * Cuts a text into pieces of at least so many UTF-16 units, at places that no token can cross; a piece goes on
 * to the end of its word. The tokenizer must be one that {@linkcode cutsAtWords}.
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
 * Finds a token that can part words in one text, so that each is encoded as it would be alone: a special one,
 * which the library cuts out of texts, that no added token overlaps wherever it stands. Undefined where there
 * is none. Words must not hold it.
 */
export function partingToken({ added_tokens: added = [] }: Format): string | undefined {
  const tokens = added.map(({ content }) => content);
  const parts = (token: string) =>
    token.length > 1 && !tokens.some((other) => other !== token && overlaps(other, token)) &&
    !endsWithBegin(token, token);
  return added.find(({ content, special }) => special && parts(content))?.content;
}

/** Whether one token can hold some characters of another one that stands beside other text. */
function overlaps(one: string, other: string): boolean {
  return one.includes(other) || other.includes(one) || endsWithBegin(one, other) || endsWithBegin(other, one);
}

/** Whether one token ends with some, but not all, of what another begins with. */
function endsWithBegin(one: string, other: string): boolean {
  const most = Math.min(one.length, other.length) - 1;
  return Array.from({ length: most }, (_, at) => other.slice(0, at + 1)).some((begin) => one.endsWith(begin));
}

const JOINED = 1 << 11; // characters of a text of words: long enough that a call for it costs little

/**
 * Gives what encodes words in few long texts, with a token between every two. For the library a text costs
 * far more than a word. `part` is a token as {@linkcode partingToken} finds it, and its id.
 */
export function encodeJoined(encodeBatch: EncodeBatch, part: { token: string; id: number }): EncodeBatch {
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
    const found = encoded.flatMap((ids) => cutAt(ids, part.id));
    if (found.length === words.length) return found;
    return await encodeBatch(words, onOneCore); // the library found the token elsewhere, or not everywhere
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
const MOST_IDS = 1 << 20;

/**
 * Encodes texts through a table of words, which takes a few MiB. When it is full, the next call begins a new
 * one, which takes over what it is asked for again.
 */
export class WordEncoder {
  readonly #encodeBatch: EncodeBatch;
  #table = new WordTable();
  #earlier: Promise<unknown> = Promise.resolve();

  constructor(encodeBatch: EncodeBatch) {
    this.#encodeBatch = encodeBatch;
  }

  /**
   * Gives the ids of each text. A text comes in pieces, each of which is encoded on its own. Throws what
   * `encodeBatch` throws, even in an earlier call that was still running.
   */
  async encode(texts: string[][], onOneCore?: boolean): Promise<Uint32Array[]> {
    if (this.#table.full) this.#table = new WordTable(this.#table);
    const table = this.#table;
    const words = texts.map((pieces) => table.find(pieces));
    const { numbers, fresh } = table.takeFresh();
    const learned = fresh.length === 0 ? undefined : this.#encodeBatch(fresh, onOneCore)
      .then((encoded) => encoded.forEach((ids, i) => table.learn(numbers[i], ids)));
    // The ids of a word that an earlier call met first are known once that call has ended.
    const all = this.#earlier = Promise.all([this.#earlier, learned]).then(() => {});
    try {
      await all;
    } catch (error) {
      if (this.#table === table) [this.#table, this.#earlier] = [new WordTable(), Promise.resolve()];
      throw error;
    }
    return words.map((numbers) => table.idsOf(numbers));
  }
}

// Fields of a word's record.
const HASH = 0;
const START = 1; // where its characters are; a word that is not kept has none
const END = 2;
const FIRST_ID = 3;
const LAST_ID = 4; // exclusive; 0 where its ids are not known yet
const FIELDS = 5;

/**
 * Numbers words in the order in which they come and keeps their ids. Words are found by hash, with linear
 * probing.
 */
class WordTable {
  #older?: WordTable; // the one before, whose words are known as well
  #count = 0;
  #slots = new Int32Array(1 << 15).fill(-1); // numbers of words
  #records = new Int32Array(FIELDS << 13);
  #characters = new Uint16Array(1 << 16);
  #charactersEnd = 0;
  #ids = new Uint32Array(1 << 15);
  #idsEnd = 0;
  #fresh: string[] = [];
  #freshNumbers: number[] = [];
  #found = new Int32Array(1 << 12);
  #foundEnd = 0;

  /** Begins a table; what an older one knows need not be learned again. */
  constructor(older?: WordTable) {
    this.#older = older;
    if (older) older.#older = undefined;
  }

  /** Whether the table is full, so that a new one is due. */
  get full(): boolean {
    return this.#count > MOST_WORDS || this.#idsEnd > MOST_IDS;
  }

  /** Cuts the pieces of a text into words and gives their numbers, in order. */
  find(pieces: string[]): Int32Array {
    this.#foundEnd = 0;
    for (const text of pieces) {
      let start = 0;
      let before = OTHER;
      let hash = 0;
      for (let i = 0; i < text.length; i++) {
        const code = text.charCodeAt(i);
        const kind = KIND[code];
        if (CUT[before * KINDS + kind]) {
          this.#push(this.#numberOf(text, start, i, hash));
          start = i;
          hash = 0;
        }
        hash = Math.imul(hash ^ code, 0x01000193);
        before = kind;
      }
      if (start < text.length) this.#push(this.#numberOf(text, start, text.length, hash));
    }
    return this.#found.slice(0, this.#foundEnd);
  }

  /** Lists the words that were met since the last call and are not known, with their numbers. */
  takeFresh(): { numbers: number[]; fresh: string[] } {
    const [numbers, fresh] = [this.#freshNumbers, this.#fresh];
    [this.#freshNumbers, this.#fresh] = [[], []];
    return { numbers, fresh };
  }

  /** Notes the ids of a word. */
  learn(number: number, ids: ArrayLike<number>): void {
    this.#ids = withRoom(this.#ids, this.#idsEnd + ids.length);
    const record = number * FIELDS;
    this.#records[record + FIRST_ID] = this.#idsEnd;
    for (let i = 0; i < ids.length; i++) this.#ids[this.#idsEnd++] = ids[i];
    this.#records[record + LAST_ID] = this.#idsEnd;
  }

  /** Joins the ids of words whose ids are all known. */
  idsOf(numbers: Int32Array): Uint32Array {
    const [records, known] = [this.#records, this.#ids];
    let total = 0;
    for (let i = 0; i < numbers.length; i++) {
      const record = numbers[i] * FIELDS;
      total += records[record + LAST_ID] - records[record + FIRST_ID];
    }
    const ids = new Uint32Array(total);
    let at = 0;
    for (let i = 0; i < numbers.length; i++) {
      const record = numbers[i] * FIELDS;
      const end = records[record + LAST_ID];
      for (let id = records[record + FIRST_ID]; id < end; id++) ids[at++] = known[id];
    }
    return ids;
  }

  #push(number: number): void {
    this.#found = withRoom(this.#found, this.#foundEnd + 1);
    this.#found[this.#foundEnd++] = number;
  }

  #numberOf(text: string, start: number, end: number, hash: number): number {
    if (end - start > LONGEST) return this.#learnLater(this.#add(), text, start, end);
    const slot = this.#slotOf(text, start, end, hash);
    if (this.#slots[slot] >= 0) return this.#slots[slot];
    const number = this.#slots[slot] = this.#add();
    const known = this.#older?.knownIds(text, start, end, hash);
    if (known) this.learn(number, known);
    else this.#learnLater(number, text, start, end);
    const record = number * FIELDS;
    this.#characters = withRoom(this.#characters, this.#charactersEnd + end - start);
    this.#records[record + HASH] = hash;
    this.#records[record + START] = this.#charactersEnd;
    for (let i = start; i < end; i++) this.#characters[this.#charactersEnd++] = text.charCodeAt(i);
    this.#records[record + END] = this.#charactersEnd;
    if (2 * this.#count > this.#slots.length) this.#rehash();
    return number;
  }

  /** Gives the ids of a word, undefined where they are not known. */
  knownIds(text: string, start: number, end: number, hash: number): Uint32Array | undefined {
    const record = this.#slots[this.#slotOf(text, start, end, hash)] * FIELDS;
    if (record < 0 || this.#records[record + LAST_ID] === 0) return undefined;
    return this.#ids.subarray(this.#records[record + FIRST_ID], this.#records[record + LAST_ID]);
  }

  /** Finds the slot that holds the number of a word, or is free for it. */
  #slotOf(text: string, start: number, end: number, hash: number): number {
    const mask = this.#slots.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (let number; (number = this.#slots[slot]) >= 0; slot = (slot + 1) & mask) {
      if (this.#records[number * FIELDS + HASH] === hash && this.#equals(number, text, start, end)) break;
    }
    return slot;
  }

  #equals(number: number, text: string, start: number, end: number): boolean {
    const from = this.#records[number * FIELDS + START];
    if (this.#records[number * FIELDS + END] - from !== end - start) return false;
    for (let i = start; i < end; i++) {
      if (this.#characters[from + i - start] !== text.charCodeAt(i)) return false;
    }
    return true;
  }

  #add(): number {
    this.#records = withRoom(this.#records, (this.#count + 1) * FIELDS);
    return this.#count++;
  }

  #learnLater(number: number, text: string, start: number, end: number): number {
    this.#fresh.push(text.slice(start, end));
    this.#freshNumbers.push(number);
    return number;
  }

  /** Doubles the slots. */
  #rehash(): void {
    const mask = 2 * this.#slots.length - 1;
    this.#slots = new Int32Array(mask + 1).fill(-1);
    for (let number = 0; number < this.#count; number++) {
      const record = number * FIELDS;
      if (this.#records[record + END] === 0) continue; // not kept
      const hash = this.#records[record + HASH];
      let slot = (hash ^ (hash >>> 15)) & mask;
      while (this.#slots[slot] >= 0) slot = (slot + 1) & mask;
      this.#slots[slot] = number;
    }
  }
}

/** Gives an array of at least `length` with the same values: the array itself, or a copy twice as long. */
function withRoom<T extends Int32Array | Uint32Array | Uint16Array>(array: T, length: number): T {
  if (length <= array.length) return array;
  const longer = new (array.constructor as new (length: number) => T)(Math.max(length, 2 * array.length));
  longer.set(array);
  return longer;
}
