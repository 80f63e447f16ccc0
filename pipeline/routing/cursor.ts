/**
 * Reads streams of batches at the reader's own pace, so that several of them can be walked side by side.
 *
 * @module
 */

import { type Columns, fromBatch, originOf, type RecordBatch } from "../data/arrow.ts";
import { sliceColumns } from "../data/columns.ts";

/** A place in a stream of batches. */
export interface Cursor {
  /** Rows of the current batch that are still to be read. */
  rows: Columns;
  /** The current batch; undefined before the first. */
  batch: RecordBatch | undefined;
  /** Rows read, of all batches. */
  done: number;
  /** The batches to come. */
  rest: AsyncIterator<RecordBatch>;
}

/** Opens a cursor before the first row of a stream; nothing is read yet. */
export function openCursor(batches: ReadableStream<RecordBatch>): Cursor {
  const none = { rows: 0, sequence: new BigUint64Array(), length: new Uint32Array() };
  return { rows: none, batch: undefined, done: 0, rest: batches[Symbol.asyncIterator]() };
}

/** Reads on until the cursor has rows; returns false at the end of the stream. */
export async function fill(cursor: Cursor): Promise<boolean> {
  while (cursor.rows.rows === 0) {
    const { value, done } = await cursor.rest.next();
    if (done) return false;
    cursor.batch = value;
    cursor.rows = fromBatch(value);
  }
  return true;
}

/** Takes the next `count` rows, as many as `cursor.rows` has at most. */
export function take(cursor: Cursor, count: number): Columns {
  const taken = sliceColumns(cursor.rows, 0, count);
  cursor.rows = sliceColumns(cursor.rows, count, cursor.rows.rows);
  cursor.done += count;
  return taken;
}

/** Says where the next row stands, for messages: the file and batch, and the row in that batch. */
export function placeOf(cursor: Cursor): string {
  if (cursor.batch === undefined) return "the stream, row 0";
  return `${originOf(cursor.batch)}, row ${cursor.batch.numRows - cursor.rows.rows}`;
}

/** Ends the reading and lets the stream go. */
export async function closeCursor(cursor: Cursor): Promise<void> {
  await cursor.rest.return?.();
}
