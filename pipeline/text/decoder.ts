/**
 * Decodes tokens. Those of byte-level tokenizers are decoded from a table of their bytes, several
 * times as fast as by the library.
 *
 * @module
 */

import { readVerified } from "../graph/schema.ts";
import { byteSymbols } from "./bpe.ts";
import { loadTokenizer } from "./tokenizer.ts";

/** Gives the text of some tokens. */
export type Decode = (ids: ArrayLike<number>) => string | Promise<string>;

interface Format {
  decoder?: { type?: string } | null;
  model: { vocab: Record<string, number> };
  added_tokens?: { id: number; content: string }[];
}

/**
 * Opens what decodes the tokens of the tokenizer in a file. Throws as {@linkcode loadTokenizer}
 * does; the library is loaded only where a tokenizer is not byte-level.
 */
export async function openDecoder(path: string, eos?: string): Promise<Decode> {
  const tokenBytes = await readTokenBytes(path);
  if (!tokenBytes) return (await loadTokenizer(path, { eos })).decode;
  const starts = new Uint32Array(tokenBytes.length + 1);
  for (const [id, { length }] of tokenBytes.entries()) starts[id + 1] = starts[id] + length;
  const bytes = new Uint8Array(starts[tokenBytes.length]);
  for (const [id, bytesOfToken] of tokenBytes.entries()) bytes.set(bytesOfToken, starts[id]);
  const longest = tokenBytes.reduce((most, { length }) => Math.max(most, length), 0);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let text = new Uint8Array(2 ** 16);
  return (ids) => {
    if (text.length < ids.length * longest) text = new Uint8Array(2 * ids.length * longest);
    let end = 0;
    for (let i = 0; i < ids.length; i++) {
      for (let at = starts[ids[i]]; at < starts[ids[i] + 1]; at++) text[end++] = bytes[at];
    }
    return decoder.decode(text.subarray(0, end));
  };
}

/**
 * Reads the text of every token of the byte-level tokenizer in a file: undefined of a token that
 * begins or ends inside a character. Returns undefined where the tokenizer is of another kind.
 */
export async function readTokenTexts(path: string): Promise<(string | undefined)[] | undefined> {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return (await readTokenBytes(path))?.map((bytes) => {
    try {
      return strict.decode(bytes);
    } catch {
      return undefined;
    }
  });
}

/** Reads the bytes of every token; undefined where the tokenizer is not byte-level. */
async function readTokenBytes(path: string): Promise<Uint8Array[] | undefined> {
  const format: Format = JSON.parse(new TextDecoder().decode(await readVerified(path)));
  if (format.decoder?.type !== "ByteLevel") return undefined;
  const { model: { vocab }, added_tokens: added = [] } = format;
  const vocabulary = 1 +
    [...Object.values(vocab), ...added.map(({ id }) => id)].reduce((a, b) => Math.max(a, b));
  const symbols = new Map(byteSymbols().map((symbol, byte) => [symbol, byte]));
  const utf8 = new TextEncoder();
  const tokenBytes = new Array<Uint8Array>(vocabulary).fill(new Uint8Array());
  for (const [token, id] of Object.entries(vocab)) {
    tokenBytes[id] = Uint8Array.from(
      [...token].flatMap((symbol) => symbols.get(symbol) ?? [...utf8.encode(symbol)]),
    );
  }
  for (const { id, content } of added) tokenBytes[id] = utf8.encode(content);
  return tokenBytes;
}
