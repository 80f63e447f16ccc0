/**
 * Finds where the held-out curve of a run's mixture crosses that of the dense model with E times the
 * steps, from the metrics of their trainings.
 *
 * @module
 */

import type { Evaluation } from "../evaluation/evaluation.ts";
import { expertTarget } from "../stages/targets.ts";
import { readStepMetrics } from "../training/metrics.ts";

/**
 * The point from which the held-out curve of the mixture stays below that of the dense model of E times the
 * steps.
 */
export interface Crossing {
  /** Tokens per expert, padding included, at the crossing; null where the curves do not cross. */
  tokensPerExpert: number | null;
  /** Tokens per expert at the end. */
  trained: number;
  /** Held-out loss of the mixture less that of the dense model at the end, nats per token. */
  difference: number;
}

/**
 * A line of a held-out curve: the loss after so many tokens per expert, or per E-th of the dense model's
 * tokens.
 */
export interface CurvePoint {
  /** Tokens per expert, padding included. */
  tokens: number;
  /** Held-out loss, nats per token. */
  loss: number;
}

/** Finds the point from which `mixture` stays below `dense`; both curves have the same `tokens`. */
export function crossingOf(mixture: CurvePoint[], dense: CurvePoint[]): Crossing | null {
  const at = new Map(dense.map(({ tokens, loss }) => [tokens, loss]));
  const both = mixture.filter(({ tokens }) => at.has(tokens))
    .map(({ tokens, loss }) => ({ tokens, difference: loss - at.get(tokens)! }));
  const last = both.at(-1);
  if (!last) return null;
  const above = both.findLastIndex(({ difference }) => difference >= 0);
  return {
    tokensPerExpert: above === both.length - 1 ? null : both[above + 1].tokens,
    trained: last.tokens,
    difference: last.difference,
  };
}

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
