/**
 * Watches the rows that go through a stage.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { RecordBatch } from "../rows/arrow.ts";
import type { Work } from "./stage.ts";

/** Throws an `InputError` where a stage read other rows than the manifest of what it read says. */
export function checkRows(where: string, rows: number, said: number): void {
  if (rows === said) return;
  throw new InputError(
    `Cannot use "${where}" as it must hold the ${said} sequences that its manifest tells of: it holds ${rows}`,
    { where },
  );
}

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
