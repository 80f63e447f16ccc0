/**
 * Finds where the held-out curve of a run's mixture crosses that of the dense model with E times the
 * steps, from the metrics of their trainings.
 *
 * @module
 */

import type { Evaluation } from "../evaluation/evaluation.ts";
import { expertTarget } from "../nodes/targets.ts";
import { readStepMetrics } from "../training/metrics.ts";
import { type Crossing, crossingOf, type CurvePoint } from "./claims.ts";

/**
 * Reads the curves of a run and finds where they cross; null where no step of both was validated.
 * `batches` are the sequences per step of an expert and of the dense model.
 */
export async function runCrossing(
  run: string,
  evaluation: Evaluation,
  batches: { experts: number; steps: number },
): Promise<Crossing | null> {
  const crossing = crossingOf(
    await mixtureCurve(run, evaluation, batches.experts),
    await denseCurve(run, evaluation, batches.steps),
  );
  const { mixture, "dense-steps": dense } = evaluation.scores;
  if (!crossing || !mixture || !dense) return crossing;
  return { ...crossing, difference: mixture.nllPerToken - dense.nllPerToken }; // of all held-out text, not a sample
}

/** Reads the held-out losses of a model, by step. */
async function readLosses(run: string, node: string): Promise<Map<number, number>> {
  const lines = await readStepMetrics(`${run}/${node}/metrics.jsonl`);
  return new Map(
    lines.flatMap(({ step, validationLoss }) =>
      typeof validationLoss === "number" ? [[step, validationLoss]] : []
    ),
  );
}

/** Joins the held-out curves of all experts, each weighted by the held-out tokens that are routed to it. */
async function mixtureCurve(
  run: string,
  { segments, models }: Evaluation,
  batch: number,
): Promise<CurvePoint[]> {
  const used = segments.filter(({ tokens }) => tokens > 0);
  const curves = await Promise.all(used.map(({ expert }) => readLosses(run, expertTarget(expert).node)));
  const total = used.reduce((sum, { tokens }) => sum + tokens, 0);
  const steps = [...curves[0].keys()].filter((step) => curves.every((losses) => losses.has(step)));
  return steps.map((step) => ({
    tokens: step * batch * models.config.context,
    loss: curves.reduce((sum, losses, i) => sum + losses.get(step)! * used[i].tokens / total, 0),
  }));
}

/** Reads the curve of the dense model with E times the steps, over an E-th of its tokens. */
async function denseCurve(
  run: string,
  { experts, models }: Evaluation,
  batch: number,
): Promise<CurvePoint[]> {
  return [...await readLosses(run, "dense-steps")]
    .map(([step, loss]) => ({ tokens: step * batch * models.config.context / experts, loss }));
}
