/**
 * Evaluates the mixture of a run folder.
 *
 * @module
 */

import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import { InputError } from "../../kernels/errors.ts";
import { type Evaluation, readEvaluation } from "../evaluation/evaluation.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { readManifest, vouchedFiles } from "../run/manifest.ts";
import { evaluateStage, EVALUATION } from "./evaluate.ts";
import { checkAlone } from "./evaluate_checks.ts";
import { trainedExperts } from "./trained_models.ts";
import { needStages } from "./partition.ts";
import { partitionRemedy } from "./parts_alone.ts";
import type { Part } from "./notes.ts";
import { inRun, type RunOptions, type RunWatch } from "./session.ts";

/** Says what to evaluate and how. */
export interface EvaluateRunOptions extends Omit<RunOptions, "sources">, Omit<EvaluationChoices, "trained"> {
  /** Evaluates only the experts that are trained, on the text that goes to them. */
  trained?: boolean;
}

/**
 * Evaluates the mixture of a run on its held-out sequences, beside the dense models that are trained there, unless
 * the evaluation is up to date: of the same models, sequences, options and device.
 *
 * Throws an `InputError` where the run is not partitioned, an expert is not trained or was trained on another part, models differ in
 * shape or tokenizer, a file is damaged, nothing is held out, or a mixture or a fallback that is asked for is impossible; a `RunError`
 * where another process holds the run or there is no GPU; the signal's reason where it ends the work.
 */
export async function evaluateRun(
  { trained = false, ...options }: EvaluateRunOptions,
  watch: RunWatch = {},
): Promise<Evaluation> {
  const { run } = options;
  await checkPartitioned(run);
  return await inRun(options, watch, { task: "evaluate", aside: true }, async (session) => {
    const { configuration } = session.work;
    const some = trained ? await trainedExperts(run, configuration) : undefined;
    const stage = evaluateStage(configuration, { ...options, trained: some });
    await needStages(session, stage);
    await session.run(stage);
    return await readEvaluation(`${run}/${EVALUATION}`, await vouchedFiles(run));
  });
}

/**
 * Scores the held-out sequences of a run with every N-th of its models that are trained, from the I-th on: the experts, then the dense
 * ones. Other experts need not be trained yet. {@linkcode evaluateRun} puts the parts together: the choices of an evaluation are for
 * it, and refused here. Throws as that does.
 */
export async function evaluateModels(
  part: Part,
  options: EvaluateRunOptions,
  watch: RunWatch = {},
): Promise<Record<string, unknown>> {
  checkAlone(options);
  await checkPartitioned(options.run);
  const kind = { task: "evaluate", beside: "parts", aside: true } as const;
  return await inRun(options, watch, kind, async (session) => {
    const stage = evaluateStage(session.work.configuration);
    await needStages(session, stage);
    return await session.part(stage, part);
  });
}

/** Throws an `InputError` where a run is not partitioned. */
async function checkPartitioned(run: string): Promise<void> {
  if (!await readRunConfiguration(run) || !await readManifest(run, "split")) {
    throw new InputError(`Cannot evaluate "${run}" as it must be partitioned: it is not`, {
      where: run,
      remedy: await partitionRemedy(run),
    });
  }
}
