/**
 * Reads held-out sequences, pass after pass, in blocks that are the same in every pass.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { checkTokens, type Columns, fromBatch, originOf, type RecordBatch } from "../rows/arrow.ts";
import { regroup } from "../rows/columns.ts";

/** Sequences that are scored together; where the input has no documents, every sequence is one. */
export interface Block extends Required<Pick<Columns, "rows" | "tokens" | "length" | "document" | "source">> {
  /** S. */
  sequenceLength: number;
}

const TOKENS_PER_BLOCK = 131_072;
const ROWS_PER_BLOCK = 1024;

/**
 * Cuts batches into blocks of one size, however the batches come. Throws an `InputError` where rows have no
 * tokens, are of another tokenizer than `lineage` says, or differ in length, and where a token id is not
 * below the vocabulary.
 */
export async function* blocks(
  batches: ReadableStream<RecordBatch>,
  lineage: Pick<Lineage, "tokenizer" | "vocabulary">,
): AsyncGenerator<Block> {
  const source = checked(batches, lineage);
  try {
    const { value: first, done } = await source.next();
    if (done) return;
    const sequenceLength = first.tokens!.length / first.rows;
    const size = Math.max(1, Math.min(ROWS_PER_BLOCK, Math.floor(TOKENS_PER_BLOCK / sequenceLength)));
    const all = async function* () {
      yield first;
      yield* source;
    };
    for await (const { rows, tokens, length, document, source } of regroup(all(), size)) {
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
): AsyncGenerator<Columns> {
  let sequenceLength: number | undefined;
  for await (const batch of batches) {
    const where = originOf(batch);
    checkLineage(batch, { tokenizer, vocabulary }, "the partitioner");
    const { rows, sequence, document = sequence, source, tokens, length } = fromBatch(batch, where);
    if (tokens === undefined) {
      throw new InputError(`Cannot evaluate ${where} as it must have a column "tokens": it has none`);
    }
    if (rows === 0) continue;
    sequenceLength ??= tokens.length / rows;
    if (tokens.length !== rows * sequenceLength) {
      throw new InputError(
        `Cannot evaluate ${where} as all sequences must have ${sequenceLength} tokens: these have ${
          tokens.length / rows
        }`,
      );
    }
    const columns = { rows, sequence, document, source: source ?? Array(rows).fill(""), tokens, length };
    checkTokens(columns, vocabulary!, where);
    yield columns;
  }
}
