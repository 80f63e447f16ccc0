/**
 * Puts scores or assignments beside the tokens that they belong to.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { checkLineage, FORMAT, lineageOf } from "./lineage.ts";
import { originOf, type RecordBatch, toBatch } from "./arrow.ts";
import { closeCursor, type Cursor, fill, openCursor, placeOf, rowsLeft, take } from "./cursor.ts";

const REMEDY = { remedy: "score these tokens again" };

/**
 * Joins token shards with their scores, or their assignments: row by row the columns of both, for pipes that ended in
 * files. Both must hold the same sequences in the same order; how they are cut into batches may differ.
 *
 * @param tokens Batches with token columns.
 * @param scored Batches with `nll`, and maybe `expert`, of the same rows.
 * @throws {InputError} if ids, lengths, numbers of rows or lineages differ; it gives both values.
 */
export function joinScores(
  tokens: ReadableStream<RecordBatch>,
  scored: ReadableStream<RecordBatch>,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(joined(tokens, scored));
}

async function* joined(tokens: ReadableStream<RecordBatch>, scored: ReadableStream<RecordBatch>) {
  const [left, right] = [openCursor(tokens), openCursor(scored)];
  try {
    for (let first = true;; first = false) {
      const more = await fill(left);
      checkBothGoOn(left, right, more, await fill(right));
      if (!more && !first || left.batch === undefined || right.batch === undefined) return;
      const known = lineageOf(left.batch);
      const { sequenceLength, vocabulary, eos, tokenizer } = known ?? {};
      checkLineage(right.batch, { sequenceLength, vocabulary, eos, tokenizer }, originOf(left.batch));
      const count = Math.min(rowsLeft(left), rowsLeft(right));
      checkSameRows(left, right, count);
      const { nll, expert } = take(right, count);
      const lineage = { format: FORMAT, stage: "", ...known, ...lineageOf(right.batch) };
      yield toBatch({ ...take(left, count), nll, expert }, lineage); // without rows, this batch gives the schema
    }
  } finally {
    await closeCursor(left);
    await closeCursor(right);
  }
}

function checkBothGoOn(left: Cursor, right: Cursor, more: boolean, moreScored: boolean) {
  if (more === moreScored) return;
  const [ended, next] = more ? ["scores", left] as const : ["tokens", right] as const;
  throw new InputError(
    "Cannot join tokens and scores as both must have as many rows: " +
      `the ${ended} end after ${next.before + next.row} rows, ${placeOf(next)} is left`,
    REMEDY,
  );
}

function checkSameRows(left: Cursor, right: Cursor, count: number) {
  for (let row = 0; row < count; row++) {
    for (const name of ["sequence", "length"] as const) {
      const [a, b] = [left.columns[name][left.row + row], right.columns[name][right.row + row]];
      if (a === b) continue;
      left.row += row;
      right.row += row;
      throw new InputError(
        `Cannot join ${placeOf(left)} and ${placeOf(right)} as both must be the same sequence: ` +
          `${name} is ${a} in the former, ${b} in the latter`,
        REMEDY,
      );
    }
  }
}
