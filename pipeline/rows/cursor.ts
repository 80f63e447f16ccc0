/**
 * Reads streams of batches at the reader's own pace, so that several of them can be walked side by side.
 *
 * @module
 */

import { type Columns, findOrigin, fromBatch, type RecordBatch } from "./arrow.ts";

/** A place in a stream of batches. */
export interface Cursor {
  /** The current batch; undefined before the first. */
  batch: RecordBatch | undefined;
  /** Its columns. */
  columns: Columns;
  /** Its next row. */
  row: number;
  /** Rows of the batches before it. */
  before: number;
  /** The batches after it. */
  rest: AsyncIterator<RecordBatch>;
}

/** Opens a cursor before the first row of a stream; nothing is read yet. */
export function openCursor(batches: ReadableStream<RecordBatch>): Cursor {
  const columns = { rows: 0, sequence: new BigUint64Array(), length: new Uint32Array() };
  return { batch: undefined, columns, row: 0, before: 0, rest: batches[Symbol.asyncIterator]() };
}

/** Reads on until the cursor is at a row; returns false at the end of the stream. */
export async function fill(cursor: Cursor): Promise<boolean> {
  while (cursor.row === cursor.columns.rows) {
    const { value, done } = await cursor.rest.next();
    if (done) return false;
    cursor.before += cursor.columns.rows;
    cursor.batch = value;
    cursor.columns = fromBatch(value);
    cursor.row = 0;
  }
  return true;
}

/** Reports where the next row stands, for messages: file, batch, and row in that batch. */
export function nameCursor({ batch, row }: Cursor): string {
  return `${batch === undefined ? "the stream" : findOrigin(batch)}, row ${row}`;
}

/** Stops reading and releases the stream. */
export async function closeCursor(cursor: Cursor): Promise<void> {
  await cursor.rest.return?.();
}
