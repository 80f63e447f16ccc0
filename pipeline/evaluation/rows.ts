/**
 * Reads held-out sequences, pass after pass, in blocks that are the same in every pass.
 *
 * @module
 */

import type { Span } from "../model/span.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { type Columns, fromBatch, type RecordBatch } from "../rows/arrow.ts";
import { regroup, takeColumns } from "../rows/columns.ts";

/** Sequences that are scored together; where the input has no documents, every sequence is one. */
export interface Block extends Required<Pick<Columns, "rows" | "tokens" | "length" | "document" | "source">> {
  /** S. */
  sequenceLength: number;
  /** Position of the first token that counts; all count where it is absent. */
  begin?: Uint32Array;
}

/** What is known of sequences: their tokenizer, V and S. */
export type Sequences = Pick<Lineage, "tokenizer" | "vocabulary"> & { sequenceLength: number };

/** Which rows count, by their number in the stream. */
export type Keep = (row: number) => boolean;

const TOKENS_PER_BLOCK = 131_072;
const ROWS_PER_BLOCK = 1024;

/** Gives the number of sequences in a block, where they have so many tokens. */
export function rowsPerBlock(sequenceLength: number): number {
  return Math.max(1, Math.min(ROWS_PER_BLOCK, Math.floor(TOKENS_PER_BLOCK / sequenceLength)));
}

/**
 * Cuts those rows of batches that `keep` takes into blocks of one size, however the batches come. Throws an
 * `InputError` where rows have no tokens, or are others than `sequences` says.
 */
export async function* blocks(
  batches: ReadableStream<RecordBatch>,
  { tokenizer, vocabulary, sequenceLength }: Sequences,
  keep: Keep = () => true,
): AsyncGenerator<Block> {
  let before = 0;
  const kept = async function* (): AsyncGenerator<Columns> {
    for await (const batch of batches) {
      checkLineage(batch, { tokenizer, vocabulary, sequenceLength }, "the partitioner");
      const columns = fromBatch(batch, undefined, ["tokens"]);
      const { rows, sequence, document = sequence, source = Array(rows).fill("") } = columns;
      const { tokens, length, begin } = columns;
      const taken = Array.from({ length: rows }, (_, row) => row).filter((row) => keep(before + row));
      before += rows;
      const all = { rows, sequence, document, source, tokens, length, ...begin && { begin } };
      if (taken.length > 0) yield taken.length === rows ? all : takeColumns(all, taken);
    }
  };
  for await (
    const { rows, tokens, length, document, source, begin } of regroup(kept(), rowsPerBlock(sequenceLength))
  ) {
    yield { rows, tokens: tokens!, sequenceLength, length, document: document!, source: source!, begin };
  }
}

/** Gives what of each row counts in a loss. */
export const countedSpans = ({ length, begin }: Pick<Block, "length" | "begin">): Uint32Array | Span[] =>
  begin ? Array.from(length, (end, row) => ({ begin: Math.min(begin[row], end), end })) : length;

/** Joins what the blocks of a pass gave. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
