/**
 * What the training of a model came to, in the manifest of its node.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { TRAINING_COST } from "../cost/mixture.ts";
import { oneLine } from "../graph/files.ts";
import { conform, count, finite } from "../graph/schema.ts";
import { ROUTING } from "../training/metrics.ts";

/**
 * What training one model came to, as the manifest of its node says it.
 *
 * - `folder` of the checkpoint in the run folder, and `path` of an expert of a tree.
 * - `steps`, sequences per step (`batch`), and real `tokens` trained on.
 * - `loss`: the training loss of the last line of metrics (nats per predicted token; null before
 *   there is one).
 * - `validationLoss`: mean NLL per predicted token of the held-out sequences (nats; null where
 *   there are none).
 * - `rate`: learning rate at its peak.
 * - `resumed`: the steps at which training went on under other values.
 * - `cost`: what training cost next to the mixture's, for models that differ from experts in more
 *   than batch and steps.
 * - `routing`: what routing came to in the last line of metrics, for models with experts in their
 *   layers.
 *
 * @ignore
 */
export const TRAIN_RESULT = v.object({
  folder: v.string(),
  path: v.optional(v.string()),
  steps: count,
  batch: count,
  tokens: count,
  loss: v.nullable(finite),
  validationLoss: v.nullable(finite),
  rate: finite,
  resumed: v.array(v.object({ step: count, key: v.string() })),
  cost: v.optional(TRAINING_COST),
  routing: v.optional(ROUTING),
});
/** @ignore */
export type TrainResult = v.InferOutput<typeof TRAIN_RESULT>;

/**
 * Reads what a training came to from the manifest of its node in a run. Throws an `InputError`
 * where that lacks something.
 */
export function trainResult(
  { name = "", result }: { name?: string; result: Record<string, unknown> },
  run: string,
): TrainResult {
  try {
    return conform(TRAIN_RESULT, result);
  } catch (cause) {
    const where = `${run}/${name}`;
    const rule = "its manifest must say what the training came to";
    throw new InputError(`Cannot read "${where}" as ${rule}: ${oneLine(cause)}`, { where, cause });
  }
}
