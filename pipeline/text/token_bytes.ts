/**
 * How many bytes of text each token of a vocabulary stands for. Perplexities of different
 * vocabularies cannot be compared; bits per byte can.
 *
 * @module
 */

import * as v from "valibot";
import { conform, tokenIds } from "../graph/schema.ts";

const FORMAT = v.object({
  decoder: v.optional(v.nullable(v.looseObject({ type: v.string() }))),
  model: v.looseObject({ vocab: v.optional(v.unknown()) }),
  added_tokens: v.optional(
    v.array(v.looseObject({ id: v.number(), content: v.string(), special: v.boolean() })),
  ),
});

const UTF8 = new TextEncoder();
/** A byte that a SentencePiece vocabulary spells, such as <0x0A>. */
const SPELT_BYTE = /^<0x[0-9A-F]{2}>$/;
/** Stands for a space in a SentencePiece vocabulary. */
const SPACE = "\u2581";

/**
 * Counts the bytes of every token `[vocabulary]` from the text of a `tokenizer.json`: UTF-8 for
 * SentencePiece vocabularies, a byte per symbol for byte-level ones. Special tokens, such as the
 * end of a document, stand for no text. Returns undefined where the vocabulary is of another kind.
 */
export function countTokenBytes(json: string, vocabulary: number): Uint16Array | undefined {
  const { decoder, model, added_tokens: added = [] } = conform(FORMAT, JSON.parse(json));
  const decoders = JSON.stringify(decoder ?? null);
  const isByteLevel = decoders.includes('"ByteLevel"');
  const isSentencePiece = decoders.includes(`"${SPACE}"`) || decoders.includes('"Metaspace"');
  if (!isByteLevel && !isSentencePiece) return undefined;
  const entries = Array.isArray(model.vocab)
    ? model.vocab.map(([token]: [string], id: number): [string, number] => [token, id])
    : Object.entries(conform(tokenIds, model.vocab));
  const bytes = new Uint16Array(vocabulary);
  for (const [token, id] of entries) {
    if (isByteLevel) bytes[id] = token.length;
    else if (SPELT_BYTE.test(token)) bytes[id] = 1;
    else bytes[id] = UTF8.encode(token.replaceAll(SPACE, " ")).length;
  }
  for (const { id, content, special } of added) {
    bytes[id] = special ? 0 : UTF8.encode(content).length;
  }
  return bytes;
}
