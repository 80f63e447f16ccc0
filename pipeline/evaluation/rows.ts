/**
 * Reads held-out sequences, pass after pass, in blocks that are the same in every pass.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { checkTokens, type Columns, fromBatch, originOf, type RecordBatch } from "../rows/arrow.ts";
import { regroup, takeColumns } from "../rows/columns.ts";

/** Sequences that are scored together; where the input has no documents, every sequence is one. */
export interface Block extends Required<Pick<Columns, "rows" | "tokens" | "length" | "document" | "source">> {
  /** S. */
  sequenceLength: number;
}

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
 * `InputError` where rows have no tokens, are of another tokenizer than `lineage` names, or differ in length, and
 * where a token id is not below the vocabulary.
 */
export async function* blocks(
  batches: ReadableStream<RecordBatch>,
  lineage: Pick<Lineage, "tokenizer" | "vocabulary">,
  keep: Keep = () => true,
): AsyncGenerator<Block> {
  const source = checked(batches, lineage, keep);
  try {
    const { value: first, done } = await source.next();
    if (done) return;
    const sequenceLength = first.tokens!.length / first.rows;
    const all = async function* () {
      yield first;
      yield* source;
    };
    for await (
      const { rows, tokens, length, document, source } of regroup(all(), rowsPerBlock(sequenceLength))
    ) {
      yield { rows, tokens: tokens!, sequenceLength, length, document: document!, source: source! };
    }
  } finally {
    await source.return(undefined);
  }
}

/** Yields the columns of batches that have rows, with every column that a block needs. */
async function* checked(
  batches: ReadableStream<RecordBatch>,
  { tokenizer, vocabulary }: Pick<Lineage, "tokenizer" | "vocabulary">,
  keep: Keep,
): AsyncGenerator<Columns> {
  let sequenceLength: number | undefined;
  let before = 0;
  for await (const batch of batches) {
    const where = originOf(batch);
    checkLineage(batch, { tokenizer, vocabulary }, "the partitioner");
    const { rows, sequence, document = sequence, source, tokens, length } = fromBatch(batch, where, [
      "tokens",
    ]);
    if (rows === 0) continue;
    sequenceLength ??= tokens!.length / rows;
    if (tokens!.length !== rows * sequenceLength) {
      throw new InputError(
        `Cannot evaluate ${where} as all sequences must have ${sequenceLength} tokens: these have ${
          tokens!.length / rows
        }`,
      );
    }
    const columns = { rows, sequence, document, source: source ?? Array(rows).fill(""), tokens, length };
    checkTokens(columns, vocabulary!, where);
    const kept = Array.from({ length: rows }, (_, row) => row).filter((row) => keep(before + row));
    before += rows;
    if (kept.length > 0) yield kept.length === rows ? columns : takeColumns(columns, kept);
  }
}

/** Joins what the blocks of a pass gave. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
