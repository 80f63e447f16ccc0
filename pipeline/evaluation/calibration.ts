/**
 * When a dense model answers in place of an expert: where the routers are unsure. The margin below
 * which they count as unsure is found on held-out text, so that a wanted share of it falls back.
 *
 * @module
 */

import { ensure, InputError, say, setting, task } from "../../kernels/errors.ts";
import { EVALUATION as EVALUATION_NODE, readManifest } from "../graph/node.ts";
import { changedInput } from "../graph/walk.ts";
import type { Fallback } from "../serving/answering.ts";
import type { Baseline } from "./baselines.ts";
import { readEvaluation } from "./evaluation.ts";

/**
 * Gives the margin below which the wanted share of the sequences lies, as near as equal margins
 * allow.
 */
export function calibrateMargin(margins: readonly number[], wanted: number): number {
  const sorted = margins.toSorted((a, b) => a - b);
  const place = Math.round(wanted * sorted.length);
  return sorted[Math.min(place, sorted.length - 1)];
}

/**
 * Reads from the evaluation of a run when this dense model is to answer. Throws an `InputError`
 * where no margin was calibrated for it, or models or text have changed since.
 */
export async function readFallback(run: string, model: Baseline): Promise<Fallback> {
  const manifest = await readManifest(`${run}/${EVALUATION_NODE}`);
  const remedy = say`run ${task("evaluate", { run, fallback: model, calibrate: "10%" })} first`;
  const refusal = say`Cannot use ${
    setting("fallback")
  } as a margin must be calibrated for ${model}`;
  if (!manifest) throw new InputError(say`${refusal}: "${run}" is not evaluated`, { remedy });
  const where = `${run}/${EVALUATION_NODE}/evaluation.json`;
  const { fallback } = await readEvaluation(where);
  ensure(
    fallback?.calibrated && fallback.model === model,
    say`${refusal}: the evaluation has none`,
    { where, remedy },
  );
  const changed = await changedInput(run, manifest.inputs);
  const fact = `"${changed}" has changed since`;
  ensure(changed === undefined, say`${refusal}: ${fact}`, { where, remedy });
  return { model, margin: fallback.calibrated.margin };
}
