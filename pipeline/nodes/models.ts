/**
 * Trains and evaluates the models of a run that is partitioned. Its text need not be there, and an expert needs nothing but its own part,
 * the tokenizer and the settings: a folder that holds these trains it anywhere.
 *
 * @module
 */

import { InputError, say, setting, task } from "../../kernels/errors.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import { type Evaluation, readEvaluation } from "../evaluation/evaluation.ts";
import { readManifest } from "../graph/manifest.ts";
import { givenNode, type Node } from "../graph/node.ts";
import { NodeFiles } from "../graph/vouched.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { exists } from "../run/files.ts";
import { conform } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { TRAIN_RESULT, type TrainResult } from "./training_result.ts";
import { evaluateNodes } from "./evaluate.ts";
import { blocksIn } from "../text/counts.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import { partOf } from "./split.ts";
import { allTargets, type Target } from "./targets.ts";
import { SEQUENCES, tokensOf } from "./tokenize.ts";
import { TOKENIZER } from "./places.ts";
import { partFiles, textFiles, trainNodes, type TrainOptions } from "./train.ts";

/** Where models are trained, and how. */
export interface TrainRunOptions extends RunOptions, TrainOptions {}

/**
 * Trains models of a run, unless they are trained; `choose` picks them by the settings of the run. Of several, those that another process
 * trains come last. Throws an `InputError` where a part or the settings are missing, values contradict those of the run, or files are
 * damaged; a `RunError` that says how to go on where a loss is not finite.
 */
export async function trainModels(
  choose: (configuration: Configuration) => readonly Target[],
  options: TrainRunOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  const { run, resume, force } = options;
  await needConfiguration(run);
  return await openRun(
    { ...options, force: force || resume || options.trial !== undefined },
    watch,
    "train",
    async (open) => {
      const targets = choose(open.configuration);
      const tokens = targets.some(({ expert }) => expert === undefined) ? await tokensOfRun(run) : [];
      const texts = targets.map((target) => ({
        target,
        text: target.expert === undefined ? textFiles(tokens) : partFiles(partOf(target.expert)),
      }));
      const given = new Set([
        TOKENIZER,
        ...texts.flatMap(({ text: { needs } }) => needs.map((need) => need.split(":")[0])),
      ]);
      const nodes = await trainNodes(open.configuration, texts, options);
      for (const [i, node] of nodes.entries()) {
        if (!force && await isAdopted(run, node)) {
          throw adopted(targets[i], node);
        }
      }
      const again = force && !resume ? nodes.map(({ name }) => name) : [];
      const walk = await open.make([...[...given].map(givenNode), ...nodes], { again });
      return nodes.map(({ name }) => conform(TRAIN_RESULT, walk.manifest(name).result));
    },
  );
}

/**
 * Evaluates the mixture of a run on its held-out sequences, next to the models of all text that are trained there. Throws an `InputError`
 * where the run is not partitioned, an expert is not trained, or nothing is held out.
 */
export async function evaluateRun(
  { choices = {}, ...options }: RunOptions & { choices?: EvaluationChoices },
  watch: RunWatch = {},
): Promise<Evaluation> {
  const { run } = options;
  await needConfiguration(run);
  return await openRun(options, watch, "evaluate", async ({ configuration, make }) => {
    const models = await modelsOfRun(run, configuration, "evaluate", choices.trained !== undefined);
    const tokens = await tokensOfRun(run);
    await make(await evaluateNodes({ configuration, tokens, models }, choices));
    return await readEvaluation(`${run}/evaluation.json`, new NodeFiles());
  });
}

/** Lists the models of a run that are trained. Throws an `InputError` where an expert is not, unless `some` of them will do. */
export async function modelsOfRun(
  run: string,
  configuration: Configuration,
  verb: string,
  some = false,
): Promise<Target[]> {
  const models: Target[] = [];
  for (const target of allTargets(configuration)) {
    if (await readManifest(`${run}/${target.node}`)) models.push(target);
    else if (target.expert !== undefined && !some) throw notTrained(run, target, verb);
  }
  return models;
}

/** Lists the nodes of all tokens of a run, in order, without a look at its text. */
export async function tokensOfRun(run: string): Promise<string[]> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  if (list) return blocksIn(list).map((name) => tokensOf({ name }));
  throw new InputError(`Cannot read the tokens of "${run}" as its text must be there as tokens: it is not`, {
    where: `${run}/${SEQUENCES}`,
    remedy: say`run ${task("partition", { run })} first`,
  });
}

/** Throws an `InputError` where a folder is no run. */
export async function needConfiguration(run: string): Promise<void> {
  if (await readRunConfiguration(run, { edited: true })) return;
  const where = `${run}/config.json`;
  throw new InputError(`Cannot work in "${run}" as it must be a run folder: there is no config.json`, {
    where,
    remedy: await exists(run)
      ? `copy config.json and ${TOKENIZER} from the run as well`
      : say`run ${task("partition", { run })} first`,
  });
}

/** Whether a node came from another trainer. */
async function isAdopted(run: string, { name }: Node): Promise<boolean> {
  return (await readManifest(`${run}/${name}`))?.result.adopted !== undefined;
}

function adopted({ name }: Target, node: Node): InputError {
  return new InputError(
    `Cannot train ${name} as what is there must not come from elsewhere: "${node.name}" was adopted`,
    {
      remedy: say`train it here instead with ${setting("force")}`,
    },
  );
}

function notTrained(run: string, { name, command }: Target, verb: string): InputError {
  const some = verb === "evaluate" ? say`, or evaluate those that are, with ${setting("trained")}` : "";
  return new InputError(`Cannot ${verb} "${run}" as every expert must be trained: ${name} is not`, {
    where: `${run}/experts`,
    remedy: say`run ${task(command.task, { run, ...command.with })} first${some}`,
  });
}
