/**
 * Trains the models of a run that is partitioned. Its text need not be there, and an expert needs
 * nothing but its own part, the tokenizer and the settings: a folder that holds these trains it
 * anywhere.
 *
 * @module
 */

import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { describeNodes } from "../graph/describe.ts";
import { type Node, readManifest, SEQUENCES, TOKENIZER } from "../graph/node.ts";
import { replacementOf } from "../graph/replace.ts";
import { Walk } from "../graph/walk.ts";
import type { Configuration } from "../settings/configuration.ts";
import { describeAdoption } from "../training/adoption.ts";
import { listCheckpoints } from "../training/resume.ts";
import { needConfiguration, partitionRemedy } from "../stages/parts.ts";
import { Bank } from "../stages/bank.ts";
import { refusalOf } from "./refusal.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import { trainingSettings } from "./settings.ts";
import {
  denseTarget,
  expertTarget,
  type Match,
  type Target,
  type TrainingOptions,
} from "../stages/targets.ts";
import { listTokens } from "../stages/token_rows.ts";
import type { TrainRequest } from "../stages/train.ts";
import { type TrainResult, trainResult } from "../stages/train_result.ts";

/** Where models are trained, and how. */
export interface TrainOptions
  extends Omit<RunOptions, "part">, Omit<TrainingOptions, "anew" | "bank"> {
  /**
   * Trains a model again that was trained with other settings; one that was trained with these
   * stays.
   */
  replace?: boolean;
}

/** Chooses models by the settings of a run. */
export type ChooseModels = (configuration: Configuration) => readonly Target[];

/**
 * Trains models of a run, unless they are trained. Those that another process trains come last.
 * Where one fails, the others go on. Gives the result of each; one that stays as another trainer
 * made it has none.
 *
 * Throws an `InputError` where a part or the settings are missing, values contradict earlier ones,
 * files are damaged or do not belong together; a `RunError` that says how to go on where a loss is
 * not finite.
 */
export async function trainModels(
  choose: ChooseModels,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  const { run, force = false, resume = false, trial } = options;
  choose(await needConfiguration(run)); // a model that the run cannot have is refused first
  const opening = {
    ...options,
    force: force || trial !== undefined,
    accepted: resume ? trainingSettings() : [],
    aside: trial !== undefined,
  };
  const anew = force && !resume;
  return await openRun(opening, watch, "train", async ({ configuration, planStage, make }) => {
    using bank = new Bank(options);
    const targets = choose(configuration);
    const request: TrainRequest = { targets, options: { ...options, anew, bank } };
    const graph = await planStage("train-expert", request);
    await needTrainingText(run, graph);
    const nodes = graph.filter(({ asked }) => asked);
    if (!force) {
      const targetByNode = new Map(nodes.map(({ name }, i) => [name, targets[i]]));
      await refuseReplaced(new Walk(run, graph, options), targetByNode, options);
    }
    const walk = await make(graph, anew ? {} : { renewed: [] });
    return nodes.flatMap(({ name }, i) => {
      const manifest = walk.manifest(name);
      return describeAdoption(manifest)
        ? []
        : { ...trainResult(manifest, run), path: targets[i].path };
    });
  });
}

/** Throws an `InputError` where something that trainings need is not there. */
export async function needTrainingText(run: string, nodes: readonly Node[]): Promise<void> {
  for (const { name, given } of nodes) {
    const where = `${run}/${name}`;
    if (!given || await readManifest(where)) continue;
    const isTokenizer = name === TOKENIZER;
    const fact = `its ${isTokenizer ? "tokenizer" : "text"} must be there: there is no "${where}"`;
    throw new InputError(`Cannot train in "${run}" as ${fact}`, {
      where,
      remedy: isTokenizer
        ? `copy "${name}" from the run that made the part`
        : await partitionRemedy(run),
    });
  }
}

/**
 * Throws an `InputError` where a training would take the place of a model that came from elsewhere,
 * or was trained by other settings.
 */
async function refuseReplaced(
  walk: Walk,
  targets: ReadonlyMap<string, Target>,
  { resume, replace }: TrainOptions,
): Promise<void> {
  for (const record of await describeNodes(walk)) {
    const replacement = replacementOf(record);
    if (!replacement) continue;
    const { node, manifest, scratches } = record;
    const { name } = targets.get(node.name)!;
    const refuse = (verb: string, fact: string, remedy: string) =>
      new InputError(`Cannot ${verb} ${name} as ${fact}`, {
        where: walk.path(node.name),
        remedy: say`${remedy} with ${setting("force")}`,
      });
    const refusal = refusalOf(record);
    if (refusal === "adopted") {
      const { from } = describeAdoption(manifest)!;
      const fact = `what is there must not come from elsewhere: it was adopted from "${from}"`;
      throw refuse("train", fact, "train it here instead");
    }
    if (!manifest || replace) continue;
    if (resume) {
      const saved = await Promise.all(scratches.map(({ path }) => listCheckpoints(path)));
      if (saved.some((states) => states.length > 0)) continue;
      throw refuse(
        "resume",
        "a checkpoint of it must be there: its training has ended",
        "start again",
      );
    }
    // It is a training on another text.
    if (refusal !== "setting") continue;
    const [valueThen, valueNow] = [replacement.oldValue, replacement.newValue].map((value) =>
      JSON.stringify(value)
    );
    const fact =
      `it was trained with another ${replacement.because}: ${valueThen} then, ${valueNow} now`;
    throw refuse("train", fact, "train it again");
  }
}

/**
 * Lists the nodes of all tokens of a run, in order, without a look at its text. Throws an
 * `InputError` where that is not there as tokens.
 */
export async function tokensOfRun(run: string): Promise<string[]> {
  const tokens = await listTokens(run);
  if (tokens) return tokens;
  throw new InputError(
    `Cannot read the tokens of "${run}" as its text must be there as tokens: it is not`,
    {
      where: `${run}/${SEQUENCES}`,
      remedy: await partitionRemedy(run),
    },
  );
}

/** Throws an `InputError` where a run has no such expert; `verb` names what is to be done to it. */
export function checkExpert(verb: string, run: string, expert: number, experts: number): void {
  const rule = `it must be one of 0 to ${experts - 1}: the run "${run}" has ${experts} experts`;
  const isOne = Number.isSafeInteger(expert) && expert >= 0 && expert < experts;
  ensure(isOne, `Cannot ${verb} expert ${expert} as ${rule}`);
}

/** Reads how many experts a run has. Throws an `InputError` where it is no run. */
export const readExpertCount = async (run: string): Promise<number> =>
  (await needConfiguration(run)).experts;

/**
 * Trains experts of a run, each on its own part, unless that is done: one after another, or side by
 * side with `together`, to the same bits. Throws what {@linkcode trainModels} throws.
 */
export async function trainExperts(
  experts: readonly number[],
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  return await trainModels(
    (configuration) => {
      for (const expert of experts) {
        checkExpert("train", options.run, expert, configuration.experts);
      }
      return experts.map((expert) => expertTarget(expert, configuration));
    },
    options,
    watch,
  );
}

/**
 * Trains expert `expert` of a run on its own part, unless that is done. Throws what {@linkcode
 * trainModels} throws.
 */
export async function trainExpert(
  expert: number,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  return (await trainExperts([expert], options, watch))[0];
}

/**
 * Trains a dense model of a run on all of its text, unless that is done. `batch`, the paper's
 * protocol, takes E times an expert's batch and its steps; `steps` takes its batch and E times its
 * steps. So both have the tokens, training FLOPs and inference cost of the mixture. `compute`
 * trains a larger one for as many FLOPs as the mixture's training takes. Throws what {@linkcode
 * trainModels} throws.
 */
export async function trainDense(
  match: Match,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  return (await trainModels(() => [denseTarget(match)], options, watch))[0];
}
