/**
 * Finds where the held-out curve of a run's mixture crosses that of the dense model with E times the
 * steps. The curves come from the metrics of their trainings.
 *
 * @module
 */

import type { Evaluation } from "../evaluation/evaluation.ts";
import { expertTarget } from "../stages/targets.ts";
import { METRICS, readStepMetrics } from "../training/metrics.ts";

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
 * Reads the curves of a run and finds where they cross; null where no step of both was validated after as many tokens per expert, of which
 * the dense model has E times. Experts are weighted by the held-out tokens that are routed to them. `batches` are the sequences per step of
 * an expert and of the dense model.
 */
export async function runCrossing(
  run: string,
  { segments, experts, models, scores: { mixture, "dense-steps": dense } }: Evaluation,
  batches: { experts: number; steps: number },
): Promise<Crossing | null> {
  const used = segments.filter(({ tokens }) => tokens > 0);
  const total = used.reduce((sum, { tokens }) => sum + tokens, 0);
  const curves = await Promise.all(
    used.map(({ expert }) => readLosses(run, expertTarget(expert, { experts }).node)),
  );
  const ofDense = await readLosses(run, "dense-steps");
  const both = [...curves[0].keys()].flatMap((step) => {
    const own = curves.map((losses) => losses.get(step));
    const other = ofDense.get(step * batches.experts * experts / batches.steps);
    if (other === undefined || own.includes(undefined)) return [];
    const loss = own.reduce<number>((sum, loss, i) => sum + loss! * used[i].tokens / total, 0);
    return [{ tokens: step * batches.experts * models.config.context, difference: loss - other }];
  });
  const last = both.at(-1);
  if (!last) return null;
  const above = both.findLastIndex(({ difference }) => difference >= 0);
  return {
    tokensPerExpert: both[above + 1]?.tokens ?? null,
    trained: last.tokens,
    // Of all held-out text where that is evaluated, not of a sample.
    difference: mixture && dense ? mixture.nllPerToken - dense.nllPerToken : last.difference,
  };
}

/** Reads the held-out losses of a model, by step. */
async function readLosses(run: string, node: string): Promise<Map<number, number>> {
  const lines = await readStepMetrics(`${run}/${node}/${METRICS}`);
  return new Map(
    lines.flatMap(({ step, validationLoss }) =>
      typeof validationLoss === "number" ? [[step, validationLoss]] : []
    ),
  );
}
