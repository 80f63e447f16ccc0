/**
 * Watches the rows that go through a stage.
 *
 * @module
 */

import type { RecordBatch } from "../rows/arrow.ts";
import type { Work } from "./stage.ts";

/** Passes batches on, counts their rows, and stops where the work is ended. */
export function watchRows(
  { signal }: Pick<Work, "signal">,
  batches: ReadableStream<RecordBatch>,
  count: (rows: number) => void = () => {},
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    for await (const batch of batches) {
      signal?.throwIfAborted();
      count(batch.numRows);
      yield batch;
    }
  }());
}
