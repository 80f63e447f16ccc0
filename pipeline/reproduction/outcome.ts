/**
 * What studies draw conclusions from: the outcome of one run, and its schema in files.
 *
 * @module
 */

import * as v from "valibot";
import { readCost } from "../cost/cost.ts";
import { BASELINES } from "../evaluation/baselines.ts";
import { type Evaluation, EVALUATION_SCHEMA, readEvaluation } from "../evaluation/evaluation.ts";
import { EVALUATION as EVALUATED, readManifest } from "../graph/node.ts";
import { summarizeRun } from "../run/partition.ts";
import { TRAIN_RESULT } from "../stages/train_result.ts";
import { allTargets, expertTarget, type Target } from "../stages/targets.ts";
import { SEARCHED, type Searched } from "../report/reproduction.ts";
import { byLabel, conform, count, finite } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { METRICS_FILE, readStepMetrics } from "../training/metrics.ts";

/** Lists the models of a run that a name stands for: all experts, or one baseline. */
export const searchedTargets = (
  model: Searched,
  configuration: Pick<Configuration, "experts">,
): Target[] =>
  allTargets(configuration).filter(({ name, expert }) =>
    model === (expert === undefined ? name : "experts")
  );

const PART = v.object({ sequences: count, tokens: count, sources: byLabel(count) });
const figures = <Name extends string>(...names: Name[]) =>
  v.object(v.entriesFromList(names, finite));
const CROSSING = v.object({
  tokensPerExpert: v.nullable(finite),
  trained: finite,
  difference: finite,
});

/**
 * The point from which the held-out curve of the mixture stays below that of the dense model of E
 * times the steps.
 *
 * - `tokensPerExpert`: where that is, padding included; null where the curves do not cross.
 * - `trained`: tokens per expert at the end.
 * - `difference`: loss of the mixture less that of the dense model at the end, in nats per token.
 *
 * @ignore
 */
export type Crossing = v.InferOutput<typeof CROSSING>;

/** The schema of a {@linkcode RunOutcome}. */
export const OUTCOME = v.object({
  adapter: v.string(),
  partition: v.object({
    nmi: v.nullable(finite),
    regret: v.nullable(finite),
    tokenImbalance: finite,
    experts: v.array(PART),
  }),
  evaluation: EVALUATION_SCHEMA,
  cost: v.object({
    parameters: figures("router", "expert"),
    flops: figures("total", "dense", "overhead", "inference", "inferenceOverhead"),
    memory: v.object({ inference: figures("total"), routing: figures("total") }),
    communication: v.object({
      bytesPerNode: finite,
      denseBytesPerStep: finite,
      exchanges: v.optional(finite),
      bytesPerExchange: v.optional(finite),
    }),
  }),
  trained: v.object(v.entriesFromList(SEARCHED, v.optional(v.array(TRAIN_RESULT)))),
  crossing: v.optional(v.nullable(CROSSING)),
});

/**
 * What a run came to: the adapter that evaluated it, its parts, its models on held-out text, what
 * it costs, how its models were trained. Also where the curve of its mixture crosses that of the
 * dense model with E times the steps, if both were trained.
 *
 * @ignore
 */
export type RunOutcome = v.InferOutput<typeof OUTCOME>;

/** Reads what a run came to that is evaluated, with all models that are evaluated there. */
export async function readOutcome(run: string): Promise<RunOutcome> {
  const evaluation = await readEvaluation(`${run}/evaluation.json`);
  const trained: RunOutcome["trained"] = {};
  for (
    const model of [
      "experts" as const,
      ...BASELINES.filter((name) => evaluation.scores[name]),
    ]
  ) {
    const manifests = searchedTargets(model, evaluation).map(({ node }) =>
      readManifest(`${run}/${node}`)
    );
    trained[model] = (await Promise.all(manifests)).map((manifest) =>
      conform(TRAIN_RESULT, manifest?.result)
    );
  }
  const { experts = [], "dense-steps": dense } = trained;
  const outcome: RunOutcome = {
    adapter: (await readManifest(`${run}/${EVALUATED}`))?.made.adapter ?? "",
    partition: await summarizeRun(run),
    evaluation,
    cost: await readCost({ run, flops: 1, utilisation: 1 }),
    trained,
    ...dense && {
      crossing: await runCrossing(run, evaluation, {
        experts: experts[0].batch,
        steps: dense[0].batch,
      }),
    },
  };
  const kept = conform(OUTCOME, outcome); // without what studies do not use
  delete kept.evaluation.models.adopted; // studies train their own
  return kept;
}

/**
 * Reads the curves of a run and finds where they cross. Gives null where no step of both was
 * validated after as many tokens per expert, of which the dense model has E times. Experts are
 * weighted by the held-out tokens that are routed to them. `batches` are the sequences per step of
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
    const expertLosses = curves.map((losses) => losses.get(step));
    const denseLoss = ofDense.get(step * batches.experts * experts / batches.steps);
    if (denseLoss === undefined || expertLosses.includes(undefined)) return [];
    const loss = expertLosses.reduce<number>(
      (sum, loss, i) => sum + loss! * used[i].tokens / total,
      0,
    );
    return [{
      tokens: step * batches.experts * models.config.context,
      difference: loss - denseLoss,
    }];
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
  const lines = await readStepMetrics(`${run}/${node}/${METRICS_FILE}`);
  return new Map(
    lines.flatMap(({ step, validationLoss: loss }) => loss == null ? [] : [[step, loss]]),
  );
}
