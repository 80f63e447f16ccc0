/** A small training for the tests of how models are trained. */

import { type Columns, sliceColumns } from "../../../pipeline/rows/columns.ts";
import type { TrainModelOptions } from "../../../pipeline/training/loop.ts";
import { gpu } from "../../kernels/support.ts";
import { anyBatch } from "../model/support.ts";

/** Its model. */
export const MODEL = { vocabulary: 37, hidden: 8, layers: 1, heads: 2, context: 12 };

/** What trainings of these tests have in common. */
export const SMALL = {
  gpu,
  model: MODEL,
  rateAt: (step: number) => 0.02 / step,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
};

/** Random rows of the model's context. */
export function anyRows(rows: number, name: string): Columns {
  const { tokens, lengths } = anyBatch(
    MODEL,
    { models: 1, batch: rows, length: MODEL.context },
    name,
  );
  return { rows, sequence: new BigUint64Array(rows), tokens, length: lengths };
}

/** Opens a stream that gives rows in their order. */
export const readingFrom = (rows: Columns): TrainModelOptions["open"] => (next) => (n) =>
  Promise.resolve(sliceColumns(rows, next, next += n));
