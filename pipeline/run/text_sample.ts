/**
 * Reads a sample of a text, to estimate its characters, tokens and sequences beforehand.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { exists } from "../graph/files.ts";
import { TOKENIZER } from "../graph/node.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readBlock, type RunText } from "../stages/text.ts";
import type { Block, Piece } from "../text/blocks.ts";
import type { Document } from "../text/readers.ts";
import { loadTokenizer, type Tokenizer, tokenizerIn, trainTokenizer } from "../text/tokenizer.ts";

/** Bytes of files that are read, at least, where there are as many. */
const READ_BYTES = 5e5;
/** Characters that are tokenized, about. */
const TOKENIZED = 250_000;
/** Characters of a document that are tokenized; a longer one counts by these. */
const LONGEST = 50_000;

/** Estimates of a whole text. */
interface TextSize extends Record<"documents" | "characters" | "tokens" | "sequences", number> {
  /** Documents that were tokenized to estimate it. */
  sampled: number;
}

/**
 * Estimates the size of a text by pieces that lie evenly among all. Tokens are those of the run's
 * tokenizer, or of one that is trained on half of the sample. Gives nothing where the sample holds
 * too little text for that.
 */
export async function sampleText(
  run: string,
  configuration: Configuration,
  text: RunText,
): Promise<TextSize | undefined> {
  const { blocks = [] } = text;
  const pieces = blocks.flatMap((block) => block.pieces.map((piece) => ({ block, piece })));
  // Of text that a run derives from, or that is handed over, no file is known.
  if (blocks.length === 0 || blocks.some(({ bytes }) => bytes === 0)) return undefined;
  const all = pieces.reduce((sum, { piece }) => sum + piece.bytes, 0);
  const documents: Document[] = [];
  let bytes = 0;
  for (const { block, piece } of spread(pieces)) {
    if (bytes >= READ_BYTES) break;
    const alone: Block = { ...block, pieces: [piece] };
    for await (const document of readBlock(alone, configuration, text)) documents.push(document);
    bytes += piece.bytes;
  }
  const characters = documents.reduce((sum, { text }) => sum + text.length, 0);
  const step = Math.max(1, Math.floor(characters / TOKENIZED));
  const chosen = documents.filter((_, i) => i % step === 0);
  const isWhole = step === 1 && bytes === all;
  const tokenizer = await openSampled(run, configuration, isWhole ? chosen : halfOf(chosen));
  if (tokenizer === undefined || chosen.length === 0) return undefined;
  const counted = await countTokens(configuration, chosen, tokenizer);
  const scale = all / bytes;
  const share = scale * documents.length / chosen.length;
  return {
    documents: scale * documents.length,
    characters: scale * characters,
    tokens: share * counted.tokens,
    sequences: share * counted.sequences,
    sampled: chosen.length,
  };
}

/** Orders pieces so that the first ones of any number lie evenly among all. */
function spread<Item extends { piece: Piece }>(items: readonly Item[]): Item[] {
  const golden = (Math.sqrt(5) - 1) / 2;
  return items.map((item, i) => ({ item, at: i * golden % 1 })).sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const halfOf = <Item>(items: readonly Item[]): Item[] => items.filter((_, i) => i % 2 === 0);

/** Opens the tokenizer of a run, or trains one; undefined where the text is too little for that. */
async function openSampled(
  run: string,
  { tokenizer, eos, vocabularySize }: Configuration,
  documents: readonly Document[],
): Promise<Tokenizer | undefined> {
  if (tokenizer !== "") return await loadTokenizer(tokenizer, { eos });
  const folder = `${run}/${TOKENIZER}`;
  if (await exists(folder)) return await tokenizerIn(folder, { eos });
  const options = { vocabularySize, sample: TOKENIZED };
  return await trainTokenizer(ReadableStream.from(documents), options).catch((error) => {
    if (error instanceof InputError) return undefined;
    throw error;
  });
}

async function countTokens(
  { sequenceLength, packing }: Configuration,
  documents: readonly Document[],
  tokenizer: Tokenizer,
): Promise<{ tokens: number; sequences: number }> {
  const encoded = await tokenizer.encode(documents.map(({ text }) => text.slice(0, LONGEST)));
  let tokens = 0;
  let sequences = 0;
  for (const [i, ids] of encoded.entries()) {
    const { text, tokens: tokenized } = documents[i];
    const length = tokenized?.length ??
      ids.length * text.length / Math.max(1, Math.min(text.length, LONGEST));
    const whole = Math.round(length) + 1; // with the token that ends it
    tokens += whole;
    sequences += packing === "document"
      ? Math.ceil((whole - Number(whole % sequenceLength === 1)) / sequenceLength)
      : whole / sequenceLength;
  }
  return { tokens, sequences };
}
