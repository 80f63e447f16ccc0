/**
 * Reads held-out sequences, pass after pass, in blocks that are the same in every pass, and scores them by models. Models that are
 * compared must fit one another.
 *
 * @module
 */

import type { Checkpoint } from "../checkpoints/hugging_face_config.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Span } from "../model/span.ts";
import { type Columns, fromBatch, type RecordBatch } from "../rows/arrow.ts";
import { joinArrays } from "../rows/bytes.ts";
import { regroup, sliceColumns } from "../rows/columns.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { scoring } from "../serving/forms.ts";
import type { Mixture } from "../serving/mixture.ts";
import { checkShape, type ModelName, modelTitle } from "../serving/models.ts";
import { hasOwnShape } from "./baselines.ts";

/** Sequences that are scored together; where the input has no documents, every sequence is one. */
export interface Block extends Required<Pick<Columns, "rows" | "tokens" | "length" | "document" | "source">> {
  /** S. */
  sequenceLength: number;
  /** Position of the first token that counts; all count where it is absent. */
  begin?: Uint32Array;
}

/** What is known of sequences: their tokenizer, V and S. */
export type Sequences = Pick<Lineage, "tokenizer" | "vocabulary"> & { sequenceLength: number };

/** Rows by their number in the stream: those from the first number on, up to the second. */
export type Range = readonly [begin: number, end: number];

const TOKENS_PER_BLOCK = 131_072;
const ROWS_PER_BLOCK = 1024;

/** Gives the number of sequences in a block, where they have so many tokens. */
export const rowsPerBlock = (sequenceLength: number): number =>
  Math.max(1, Math.min(ROWS_PER_BLOCK, Math.floor(TOKENS_PER_BLOCK / sequenceLength)));

/**
 * Cuts the rows of a range into blocks of one size, however their batches come. Throws an `InputError` where rows have no tokens, or are
 * others than `sequences` says.
 */
export async function* blocks(
  batches: ReadableStream<RecordBatch>,
  { tokenizer, vocabulary, sequenceLength }: Sequences,
  range: Range = [0, Infinity],
): AsyncGenerator<Block> {
  let before = 0;
  const inRange = async function* (): AsyncGenerator<Columns> {
    for await (const batch of batches) {
      checkLineage(batch, { tokenizer, vocabulary, sequenceLength }, "the partitioner");
      const { rows, sequence, document = sequence, source = Array(rows).fill(""), ...own } = fromBatch(
        batch,
        undefined,
        ["tokens"],
      );
      const { tokens, length, begin } = own;
      const [from, to] = range.map((row) => Math.min(rows, Math.max(0, row - before)));
      before += rows;
      const all = { rows, sequence, document, source, tokens, length, ...begin && { begin } };
      if (from < to) yield sliceColumns(all, from, to);
    }
  };
  const regrouped = regroup(inRange(), rowsPerBlock(sequenceLength));
  for await (const { rows, tokens, length, document, source, begin } of regrouped) {
    yield { rows, tokens: tokens!, sequenceLength, length, document: document!, source: source!, begin };
  }
}

/** What one model gives for all sequences, whichever process asks it. */
export interface ModelScores extends Pick<Checkpoint, "config" | "notes"> {
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** What passes over sequences share. */
export interface PassOptions {
  /** The opened mixture; with room for one model, one is held at a time. */
  mixture: Mixture;
  /** Opens the held-out batches from the start: once for the partitioner and once per model. */
  open: () => ReadableStream<RecordBatch>;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What {@linkcode scoreModel} takes. */
export interface ScoreOptions extends PassOptions {
  /** The rows that are scored. Default: all. */
  range?: Range;
  /** Called with the sequences of each block. */
  onRows?: (rows: number) => void;
  /** Called with the log-probabilities of all tokens, block by block. */
  onTokens?: (logProbability: Float32Array) => void;
}

/** Scores every sequence with one model of a mixture. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, range, onRows, onTokens }: ScoreOptions,
  sequences: Sequences,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  using lease = await mixture.lease(model, scoring({ length: sequences.sequenceLength }), signal);
  const { scorer, config, notes } = lease.value;
  const scores: Float32Array[] = [];
  for await (const { rows, tokens, sequenceLength, length, begin } of blocks(open(), sequences, range)) {
    signal?.throwIfAborted();
    const counted: Uint32Array | Span[] = begin
      ? Array.from(length, (end, row) => ({ begin: Math.min(begin[row], end), end }))
      : length;
    const byToken = onTokens && await scorer.scoreTokens(tokens, sequenceLength, counted, signal);
    if (byToken) onTokens(byToken.logProbability);
    scores.push(byToken?.nll ?? await scorer.score(tokens, sequenceLength, counted, signal)); // the same bits
    onRows?.(rows);
  }
  return { config, notes, nll: joinArrays(Float32Array, scores) };
}

/** Checks the shape of a model. Throws an `InputError` where it does not fit the models before it. */
export type Check = (model: ModelName, loaded: Pick<Checkpoint, "config" | "notes">) => void;

/**
 * Makes the function that checks models one after another. Those that were trained with the run must have one
 * shape, except baselines that may have their own. Models of other trainers must be able to read the text.
 */
export function shapeChecker(text: Partial<ModelConfig>, whose: string): Check {
  let first: { shape: ModelConfig; whose: string } | undefined;
  return (model, loaded) => {
    const name = modelTitle(model);
    if (loaded.notes.adopted !== undefined) return checkShape(loaded, text, name, { whose });
    const textAlone = hasOwnShape(model);
    if (!textAlone) first ??= { shape: loaded.config, whose: name };
    if (first) checkShape(loaded, first.shape, name, { whose: first.whose, textAlone });
  };
}
