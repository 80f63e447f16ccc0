/**
 * What studies draw conclusions from: the outcome of one run, and its schema in files.
 *
 * @module
 */

import * as v from "valibot";
import { readCost } from "../cost/cost.ts";
import { BASELINES } from "../evaluation/baselines.ts";
import { EVALUATION, readEvaluation } from "../evaluation/evaluation.ts";
import { EVALUATION as EVALUATED, readManifest } from "../graph/node.ts";
import { summarizeRun } from "../stages/summary.ts";
import { TRAIN_RESULT } from "../stages/training_result.ts";
import { SEARCHED } from "../report/reproduction.ts";
import { byLabel, conform, count, finite } from "../run/schema.ts";
import { runCrossing } from "./crossing.ts";
import { findTargets } from "./models.ts";

const PART = v.object({ sequences: count, tokens: count, sources: byLabel(count) });
const TOTAL = v.object({ total: finite });

/** The schema of a {@linkcode RunOutcome}. */
export const OUTCOME = v.pipe(
  v.object({
    adapter: v.string(),
    partition: v.object({
      nmi: v.nullable(finite),
      regret: v.nullable(finite),
      tokenImbalance: finite,
      experts: v.array(PART),
    }),
    evaluation: EVALUATION,
    cost: v.object({
      parameters: v.object({ router: finite, expert: finite }),
      flops: v.object({
        ...{ total: finite, dense: finite, overhead: finite },
        ...{ inference: finite, inferenceOverhead: finite },
      }),
      memory: v.object({ inference: TOTAL, routing: TOTAL }),
      communication: v.object({ bytesPerNode: finite, denseBytesPerStep: finite }),
    }),
    trained: v.object(v.entriesFromList(SEARCHED, v.optional(v.array(TRAIN_RESULT)))),
    crossing: v.optional(v.nullable(v.object({
      tokensPerExpert: v.nullable(finite),
      trained: finite,
      difference: finite,
    }))),
  }),
  v.check(({ partition: { experts: parts }, evaluation, trained }) => {
    const { experts, scores, segments, prefixes } = evaluation;
    return parts.length === experts && segments.every(({ expert }) => expert < experts) &&
      prefixes.length > 0 && scores.mixture !== undefined &&
      (trained.experts?.length ?? experts) === experts &&
      BASELINES.every((name) => !trained[name] || trained[name].length === 1 && scores[name] !== undefined);
  }, "its parts, models and scores must be of as many experts"),
);

/**
 * What a run came to: the adapter that evaluated it, its parts, its models on held-out text, what it costs, how its models were
 * trained. Also where the curve of its mixture crosses that of the dense model with E times the steps, if both were trained.
 *
 * @ignore
 */
export type RunOutcome = v.InferOutput<typeof OUTCOME>;

/** Reads what a run came to that is evaluated, with all models that are evaluated there. */
export async function readOutcome(run: string): Promise<RunOutcome> {
  const evaluation = await readEvaluation(`${run}/evaluation.json`);
  const trained: RunOutcome["trained"] = {};
  for (const model of ["experts" as const, ...BASELINES.filter((name) => evaluation.scores[name])]) {
    const manifests = findTargets(model, evaluation).map(({ node }) => readManifest(`${run}/${node}`));
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
      crossing: await runCrossing(run, evaluation, { experts: experts[0].batch, steps: dense[0].batch }),
    },
  };
  const kept = conform(OUTCOME, outcome); // without what studies do not use
  delete kept.evaluation.models.adopted; // studies train their own
  return kept;
}
