/**
 * Tokenizers in the Hugging Face format: trained (byte-level BPE) or loaded. The only file that
 * imports the native library, which needs `--allow-ffi`: it is imported when a tokenizer is first
 * used.
 *
 * @module
 */

import type * as Native from "tokenizers";
import * as v from "valibot";
import BYTE_LEVEL from "../../fixtures/byte_level_bpe.json" with { type: "json" };
import { ensure, InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { TOKENIZER_FILE } from "../graph/node.ts";
import { exists, sha256 } from "../graph/files.ts";
import { canonical, readJsonIfThere, readVerified } from "../graph/schema.ts";
import { byteSymbols, learnMerges, WordCounts } from "./bpe.ts";
import type { Document } from "./readers.ts";
import { abortingSetting, abortOfText, hasPatterns } from "./tokenizer_format.ts";
import {
  cutsAtWords,
  cutText,
  encodeJoined,
  type Format,
  partingToken,
  WordEncoder,
} from "./words.ts";

/** A tokenizer. */
export interface Tokenizer {
  /** Number of ids: the largest id plus one. */
  readonly vocabulary: number;
  /** Id of the token that closes every document. */
  readonly eos: number;
  /** SHA-256 of `json`, the tokenizer's identity. */
  readonly sha256: string;
  /** Text of `tokenizer.json`. */
  readonly json: string;
  /**
   * Encodes texts, on all cores unless one is asked for, without special tokens: u32 ids of each.
   */
  encode(texts: string[], onOneCore?: boolean): Promise<Uint32Array[]>;
  /** Decodes ids to text; special tokens are shown. */
  decode(ids: ArrayLike<number>): Promise<string>;
  /**
   * Cuts a text into pieces of at least so many UTF-16 units, unless it spells a special token;
   * their ids, one after another, are those of the text. A piece goes on to the end of its word.
   * Absent where no place to cut is known.
   */
  cut?(text: string, least: number): Iterable<string>;
}

const CONFIG = v.object({ chat_template: v.optional(v.unknown()) });
/** Name of the file next to a tokenizer that says how it is used, in the Hugging Face format. */
export const TOKENIZER_CONFIG = "tokenizer_config.json";

/**
 * Reads the chat template, in Jinja, that lies in a folder; undefined where there is none, or one
 * that is no text.
 */
export async function readChatTemplate(folder: string): Promise<string | undefined> {
  const config = await readJsonIfThere(
    `${folder}/${TOKENIZER_CONFIG}`,
    CONFIG,
    "a tokenizer's settings",
  );
  return typeof config?.chat_template === "string" ? config.chat_template : undefined;
}

const PLAIN = { addSpecialTokens: false }; // options of the library's calls

/** Settings of {@link trainTokenizer}. */
export interface TrainTokenizerOptions {
  /** Number of ids wanted, V: EOS, the 256 bytes and V − 257 merges. */
  vocabularySize: number;
  /** Characters of text to train on, at most. */
  sample: number;
  /** Takes what is worth knowing. */
  onWarning?: (message: string) => void;
  /** Ends the training. */
  signal?: AbortSignal;
}

/** The token that closes documents in the tokenizers trained here. */
export const EOS_TOKEN = "<|endoftext|>";

const SPECIAL = 1 + 256; // and the bytes
const EOS_NAMES = [
  EOS_TOKEN,
  "</s>",
  "<eos>",
  "<|end_of_text|>",
  "<|eos|>",
  "[EOS]",
  "<|im_end|>",
  "[SEP]",
];

/**
 * Most UTF-16 units of a word that is trained on, as the time for a word grows with its length
 * times the number of merges.
 */
const LONGEST_WORD = 10_000;

/**
 * Trains a byte-level BPE tokenizer of exactly `vocabularySize` ids on the first `sample`
 * characters of the documents.
 *
 * Merges are greedy. So the first V − 257 on top of all 256 bytes are the tokenizer of size V,
 * however many there could be. Throws `InputError` where the text supports fewer merges, with both
 * numbers, or where the size is impossible.
 */
export async function trainTokenizer(
  documents: AsyncIterable<Document>,
  { vocabularySize, sample, onWarning, signal }: TrainTokenizerOptions,
): Promise<Tokenizer> {
  const least =
    `its size must be at least ${SPECIAL} (EOS and the 256 bytes): it is ${vocabularySize}`;
  const isPossible = Number.isSafeInteger(vocabularySize) && vocabularySize >= SPECIAL;
  ensure(isPossible, `Cannot train a tokenizer as ${least}`);
  const words = new WordCounts();
  let [characters, cut] = [0, 0];
  for await (const { text } of documents) {
    const part = text.slice(0, sample - characters);
    characters += part.length;
    cut += words.add(`${part}\n`, LONGEST_WORD);
    if (characters >= sample) break;
  }
  const some = "there must be some text: the training documents hold none";
  ensure(characters > 0, `Cannot train a tokenizer as ${some}`);
  if (cut > 0) {
    onWarning?.(
      `the tokenizer is trained on the first ${LONGEST_WORD} characters of words: ` +
        `${cut} characters of longer ones are left out`,
    );
  }
  const merges = await learnMerges(words.counts, vocabularySize - SPECIAL, signal);
  const supported = SPECIAL + merges.length;
  const enough = `the text must support them: it supports ${supported}`;
  ensure(
    supported >= vocabularySize,
    `Cannot train a tokenizer of ${vocabularySize} ids as ${enough}`,
    {
      remedy: say`set ${setting("vocabularySize")} to ${supported} or less, or give more text`,
    },
  );
  return await openTokenizer(byteLevelJson(merges), EOS_TOKEN);
}

/** A text that a tokenizer cannot encode. */
export class TextRefusedError extends InputError {}

/**
 * The `tokenizer.json` of a byte-level BPE: EOS is id 0, the bytes are ids 1 to 256, merges follow.
 */
function byteLevelJson(merges: string[][]): string {
  const tokens = [EOS_TOKEN, ...byteSymbols(), ...merges.map((pair) => pair.join(""))];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return JSON.stringify({ ...BYTE_LEVEL, model: { ...BYTE_LEVEL.model, vocab, merges } });
}

/**
 * Loads the tokenizer in a folder of a run, with the EOS of the run's settings. Throws as
 * {@linkcode loadTokenizer} does.
 */
export const tokenizerIn = (folder: string, { eos }: { eos: string }): Promise<Tokenizer> =>
  loadTokenizer(`${folder}/${TOKENIZER_FILE}`, { eos });

/**
 * Loads any Hugging Face `tokenizer.json`. `eos` names the end-of-document token where the file has
 * no usual one; "" names none.
 *
 * Throws `InputError` where the file is missing, is not a tokenizer or has no such token, or is not
 * as it was made.
 */
export async function loadTokenizer(
  named: string,
  { eos }: { eos?: string } = {},
): Promise<Tokenizer> {
  const path = await findTokenizerFile(named);
  let json: string;
  try {
    json = new TextDecoder("utf-8", { fatal: true }).decode(await readVerified(path));
  } catch (error) {
    const fact = error instanceof Deno.errors.NotFound
      ? "there is none"
      : error instanceof Deno.errors.IsADirectory && "it is a folder";
    if (fact) throw unloadable(path, "must be a file", fact);
    throw error instanceof TypeError
      ? unloadable(path, "must be JSON in UTF-8", "it is not")
      : error;
  }
  return await openTokenizer(json, eos, path);
}

/** Names the tokenizer's file: the one that is named, or that of the model in a folder. */
export async function findTokenizerFile(named: string): Promise<string> {
  const file = `${named}/${TOKENIZER_FILE}`;
  return await exists(file) ? file : named;
}

function unloadable(where: string, rule: string, fact: string, remedy?: Text): InputError {
  return new InputError(`Cannot load tokenizer "${where}" as it ${rule}: ${fact}`, {
    where,
    remedy,
  });
}

async function loadNative(json: string, where: string): Promise<Native.Tokenizer> {
  const library = await import("tokenizers");
  let tokenizer: Native.Tokenizer;
  try {
    tokenizer = library.Tokenizer.fromString(json);
  } catch (error) {
    const reason = (error as Error).message.split("\n")[0];
    throw unloadable(where, "must be in the Hugging Face format", reason);
  }
  tokenizer.disableTruncation();
  tokenizer.disablePadding();
  return tokenizer;
}

/** Makes what encodes texts by a tokenizer of the library, on all cores or on one. */
function makeEncoder(tokenizer: Native.Tokenizer, format: Format, where: string) {
  const checksTexts = hasPatterns({ ...format });
  const encodeInTurn = async (texts: string[]) => {
    // A batch would go to threads of the library, one for every core.
    const encoded: Native.Encoding[] = [];
    for (const text of texts) encoded.push(await tokenizer.encode(text, null, PLAIN));
    return encoded;
  };
  return async (texts: string[], onOneCore = false) => {
    const fact = checksTexts
      ? texts.map(abortOfText).find((fact) => fact !== undefined)
      : undefined;
    if (fact !== undefined) {
      const refusal = `Cannot encode text as the tokenizer's patterns must get through it: ${fact}`;
      throw new TextRefusedError(refusal, {
        where,
        remedy: "cut the text there, or take another tokenizer",
      });
    }
    const encoding = onOneCore ? encodeInTurn(texts) : tokenizer.encodeBatch(texts, PLAIN);
    const encoded = await encoding.catch((error) => {
      const reason = String(error.message).split("\n")[0];
      const refusal = `Cannot encode text as the tokenizer "${where}" must know it: ${reason}`;
      throw new InputError(refusal, { where, cause: error });
    });
    const ids = encoded.map((encoding) => encoding.getIds());
    await collect(texts);
    return ids;
  };
}

/**
 * Opens the tokenizer of a `tokenizer.json`; `eos` is the token that closes documents, or its id.
 */
export async function openTokenizer(
  json: string,
  eos?: string | number,
  path = "tokenizer.json",
): Promise<Tokenizer> {
  const read = parsed(json);
  const fact = abortingSetting(read);
  if (fact !== undefined) throw unloadable(path, "must be one that the library can use", fact);
  let tokenizer = await loadNative(json, path);
  const named = typeof eos === "number" ? tokenizer.idToToken(eos) : eos;
  const names = named ? [named] : EOS_NAMES;
  const name = names.find((name) => tokenizer.tokenToId(name) !== null);
  if (name === undefined) {
    const fact = `it has none of ${names.join(", ")}`;
    throw unloadable(
      path,
      "must have an end-of-document token",
      fact,
      say`name it with ${setting("eos")}`,
    );
  }
  let vocabulary = 0;
  for (const id of Object.values(tokenizer.getVocab(true))) {
    vocabulary = Math.max(vocabulary, id + 1);
  }
  // Text that spells a special token must not become one: such a token would end a document in its
  // middle. It is cut there, so the token must be known as it is written, and not found in what a
  // normalizer makes of other text.
  const format = read as Format; // or else it was not loaded
  const { normalizer, added_tokens: added = [] } = format;
  const marked = added.filter(({ special }) => special).map(({ content }) => content);
  const special = [...new Set([name, ...marked])].filter((token) => [...token].length > 1);
  const isRewritten = (token: typeof added[number]) =>
    token.normalized && special.includes(token.content);
  if (normalizer && added.some(isRewritten)) {
    const asWritten = added.map((token) =>
      isRewritten(token) ? { ...token, normalized: false } : token
    );
    tokenizer = await loadNative(JSON.stringify({ ...format, added_tokens: asWritten }), path);
  }
  const encodeBatch = makeEncoder(tokenizer, format, path);
  const token = partingToken(format);
  const encodeWords = token === undefined
    ? encodeBatch
    : encodeJoined(encodeBatch, { token, id: tokenizer.tokenToId(token)! });
  const words = cutsAtWords(format) ? new WordEncoder(encodeWords) : undefined;
  return {
    vocabulary,
    eos: tokenizer.tokenToId(name)!,
    sha256: sha256(json),
    json,
    async encode(texts, onOneCore) {
      const parts = texts.map((text) => splitSpecial(text, special));
      if (words) return await words.encode(parts, onOneCore);
      const encoded = await encodeBatch(parts.flat(), onOneCore);
      let next = 0;
      return parts.map((pieces) => new Uint32Array(pieces.flatMap(() => encoded[next++])));
    },
    decode: async (ids) => ids.length === 0 ? "" : await tokenizer.decode(Array.from(ids), false),
    cut: words && function* (text, least) {
      for (const part of splitSpecial(text, special)) yield* cutText(part, least);
    },
  };
}

/** Characters whose encodings the library may hold; a text counts as some more. */
const COLLECT_CHARACTERS = 1 << 20;
const CHARACTERS_OF_A_TEXT = 16;
let uncollected = 0;

/**
 * Frees what the library holds of texts that it encoded, from time to time: V8 does not see that
 * memory, about 100 bytes per token and some more per text. So garbage is collected, and there are
 * no peaks when V8 is late.
 */
async function collect(texts: readonly string[]): Promise<void> {
  uncollected += texts.reduce((sum, { length }) => sum + length + CHARACTERS_OF_A_TEXT, 0);
  if (uncollected < COLLECT_CHARACTERS) return;
  uncollected = 0;
  (await collector())();
}

/**
 * Gives the function that collects garbage now. A process has it as `gc()` where it was started
 * with V8's `--expose-gc`. That flag makes V8 compile everything anew at every start, so it is set
 * here, when it is needed.
 */
export async function collector(): Promise<() => void> {
  const { gc } = globalThis as { gc?: () => void };
  if (gc) return gc;
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([
    import("node:v8"),
    import("node:vm"),
  ]);
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc"); // a new context has what the flags say now
}

/** Parses JSON; undefined where it is none. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // the library says why
  }
}

/**
 * Returns whether two `tokenizer.json` give the same ids for every text: another program may write
 * the same tokenizer with other spaces, other spellings of merges, and settings for its own calls.
 */
export function sameTokenizer(first: string, second: string): boolean {
  const meaning = (json: string) => {
    const { model, added_tokens, normalizer, pre_tokenizer } = JSON.parse(json);
    const merges = model?.merges?.map((merge: string | string[]) =>
      typeof merge === "string" ? merge : merge.join(" ")
    );
    return canonical({ added_tokens, normalizer, pre_tokenizer, model: { ...model, merges } });
  };
  return first === second || meaning(first) === meaning(second);
}

/**
 * Cuts a text inside every special token that it spells, so that the token's parts are encoded as
 * plain text.
 */
function splitSpecial(text: string, special: string[]): string[] {
  if (!special.some((token) => text.includes(token))) return [text];
  const cuts = new Set<number>();
  for (const token of special) {
    // Never cut within a surrogate pair.
    const first = String.fromCodePoint(token.codePointAt(0)!).length;
    for (let at = text.indexOf(token); at !== -1; at = text.indexOf(token, at + 1)) {
      cuts.add(at + first);
    }
  }
  const places = [0, ...[...cuts].sort((a, b) => a - b), text.length];
  return places.slice(1).map((end, i) => text.slice(places[i], end)).filter((piece) =>
    piece.length > 0
  );
}
