/**
 * Remembers where a batch was read, for messages.
 *
 * @module
 */

import type { RecordBatch } from "apache-arrow/Arrow.dom";

const origins = new WeakMap<RecordBatch, string>();

/** Returns where a batch was read, "tokens.arrow, batch 3", for messages; "the batch" where it was made here. */
export function originOf(batch: RecordBatch): string {
  return origins.get(batch) ?? "the batch";
}

/** Notes where a batch was read; returns the batch. */
export function withOrigin(batch: RecordBatch, where: string): RecordBatch {
  origins.set(batch, where);
  return batch;
}
