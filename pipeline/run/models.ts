/**
 * Trains the models of a run that is partitioned. Its text need not be there, and an expert needs
 * nothing but its own part, the tokenizer and the settings: a folder that holds these trains it
 * anywhere.
 *
 * @module
 */

import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { listScratches } from "../graph/folder.ts";
import { takeLock } from "../graph/lock.ts";
import { givenNode, type Node, readManifest, SEQUENCES, TOKENIZER } from "../graph/node.ts";
import { otherSetting, Walk } from "../graph/walk.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import type { RunEvent } from "../graph/events.ts";
import type { Configuration } from "../settings/configuration.ts";
import { describeAdoption } from "../training/adoption.ts";
import { listCheckpoints } from "../training/resume.ts";
import { needConfiguration, partitionRemedy } from "../stages/parts.ts";
import { Bank, type Participant } from "../stages/bank.ts";
import { blocksIn } from "../text/counts.ts";
import { type OpenRun, openRun, type RunOptions, type RunWatch } from "./run.ts";
import { targetsBefore } from "../stages/derivation.ts";
import {
  denseTarget,
  expertTarget,
  type Match,
  type Target,
  textNode,
  type TrainingOptions,
  trainNodes,
} from "../stages/targets.ts";
import { tokensNode } from "../stages/token_rows.ts";
import { type TrainResult, trainResult } from "../stages/train_result.ts";

/** Where models are trained, and how. */
export interface TrainOptions
  extends Omit<RunOptions, "part">, Omit<TrainingOptions, "anew" | "bank" | "began"> {
  /**
   * Other runs: the same models of each are trained side by side with those of the run, as seeds of
   * one model are.
   */
  also?: readonly string[];
  /**
   * Trains a model again that was trained with other settings; one that was trained with these
   * stays.
   */
  replace?: boolean;
}

/** Chooses models by the settings of a run. */
export type ChooseModels = (configuration: Configuration, run: string) => readonly Target[];

/**
 * Trains models of a run, and of those next to it, unless they are trained. Of several, those that
 * another process trains come last; where one fails next to others, these go on. Gives the results
 * run by run; one that stays as another trainer made it has none.
 *
 * Throws an `InputError` where a part or the settings are missing, values contradict earlier ones,
 * files are damaged or do not belong together; a `RunError` that says how to go on where a loss is
 * not finite.
 */
export async function trainModels(
  choose: ChooseModels,
  { also = [], ...options }: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  const { run, resume, force, trial } = options;
  const { onEvent = () => {} } = watch;
  const runs = [run, ...also];
  for (const [i, configuration] of (await otherRuns(run, also)).entries()) {
    choose(configuration, runs[i]); // before anything is trained
  }
  using bank = new Bank(options);
  // Nobody begins before the models of all runs are there.
  const places = runs.map(() => bank.join());
  const own = {
    ...options,
    force: force || resume || trial !== undefined,
    aside: trial !== undefined,
  };
  const how = { ...options, bank, together: options.together || also.length > 0 };
  return await openRun(own, watch, "train", async (first) => {
    const gpu = also.length > 0 ? await first.gpu() : undefined;
    const trainRun = (run: string, i: number) => {
      const train = (open: OpenRun) => trainIn(open, places[i], choose, how);
      if (i === 0) return train(first);
      const reported = (event: RunEvent) =>
        onEvent("stage" in event ? { ...event, stage: `${event.stage} of ${run}` } : event);
      return openRun({ ...own, run, gpu }, { ...watch, onEvent: reported }, "train", train);
    };
    const trained = runs.map((run, i) => trainRun(run, i).finally(places[i].leave));
    return (await Promise.allSettled(trained)).flatMap((result) => {
      if (result.status === "rejected") throw result.reason;
      return result.value;
    });
  });
}

async function trainIn(
  { run, configuration, make }: OpenRun,
  place: Participant,
  choose: ChooseModels,
  options: TrainOptions & { bank: Bank },
): Promise<TrainResult[]> {
  const { force = false, resume = false } = options;
  const anew = force && !resume;
  const targets = choose(configuration, run);
  const how = { ...options, anew, began: place.leave };
  const { given, nodes } = await trainingGraph(run, configuration, targets, how);
  if (!force) {
    await refuseReplaced(new Walk(run, [...given, ...nodes], options), nodes, targets, options);
  }
  const walk = await make([...given, ...nodes], {
    ...anew ? {} : { again: [] },
    lock: async (...of) => {
      const taken = await takeLock(...of);
      if (!("release" in taken)) place.leave(); // another process trains it: others need not wait
      return taken;
    },
  });
  return nodes.flatMap(({ name }, i) => {
    const manifest = walk.manifest(name);
    return describeAdoption(manifest)
      ? []
      : { ...trainResult(manifest, run), path: targets[i].path };
  });
}

/**
 * Makes the nodes of models of a run, and those that they need. Throws an `InputError` where one of
 * these is not there.
 */
export async function trainingGraph(
  run: string,
  configuration: Configuration,
  named: readonly Target[],
  options: TrainingOptions,
): Promise<{ given: Node[]; nodes: Node[] }> {
  const targets = await targetsBefore(run, named);
  const tokens = targets.some(({ expert }) => expert === undefined) ? await tokensOfRun(run) : [];
  const own = targets.flatMap(({ before }) => before?.node ?? []);
  const given = [...new Set([...targets.map(textNode), ...tokens, TOKENIZER, ...own])];
  for (const name of given) {
    const where = `${run}/${name}`;
    const isTokenizer = name === TOKENIZER;
    if (await readManifest(where)) continue;
    const fact = `its ${isTokenizer ? "tokenizer" : "text"} must be there: there is no "${where}"`;
    throw new InputError(`Cannot train in "${run}" as ${fact}`, {
      where,
      remedy: isTokenizer
        ? `copy "${name}" from the run that made the part`
        : await partitionRemedy(run),
    });
  }
  const nodes = await trainNodes(configuration, targets, tokens, options);
  return { given: given.map(givenNode), nodes };
}

/**
 * Throws an `InputError` where a training would take the place of a model that came from elsewhere,
 * or was trained by other settings.
 */
async function refuseReplaced(
  walk: Walk,
  nodes: readonly Node[],
  targets: readonly Target[],
  { resume, replace }: TrainOptions,
): Promise<void> {
  for (const [i, node] of nodes.entries()) {
    const { state, manifest } = await walk.of(node);
    const where = walk.path(node.name);
    const refuse = (verb: string, fact: string, how: string) =>
      new InputError(`Cannot ${verb} ${targets[i].name} as ${fact}`, {
        where,
        remedy: say`${how} with ${setting("force")}`,
      });
    const adoption = describeAdoption(manifest);
    if (adoption) {
      const fact =
        `what is there must not come from elsewhere: it was adopted from "${adoption.from}"`;
      throw refuse("train", fact, "train it here instead");
    }
    if (state !== "changed" || replace) continue;
    if (resume) {
      const saved = await Promise.all(
        (await listScratches(walk.run, node.name)).map(listCheckpoints),
      );
      if (saved.some((states) => states.length > 0)) continue;
      throw refuse(
        "resume",
        "a checkpoint of it must be there: its training has ended",
        "start again",
      );
    }
    const other = otherSetting(node, manifest!);
    if (other === undefined) continue; // it is of another text
    const [then, now] = [manifest!, node].map(({ settings }) => JSON.stringify(settings[other]));
    const fact = `it was trained with another ${other}: ${then} then, ${now} now`;
    throw refuse("train", fact, "train it again");
  }
}

/** Lists the nodes of all tokens of a run, in order, without a look at its text. */
export async function tokensOfRun(run: string): Promise<string[]> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  if (list) return blocksIn(list).map((name) => tokensNode({ name }));
  throw new InputError(
    `Cannot read the tokens of "${run}" as its text must be there as tokens: it is not`,
    {
      where: `${run}/${SEQUENCES}`,
      remedy: await partitionRemedy(run),
    },
  );
}

/**
 * Reads the settings of a run and of those next to it. Throws an `InputError` where one is no run,
 * or is another one by a second name: the run would wait for itself.
 */
export async function otherRuns(run: string, also: readonly string[]): Promise<Configuration[]> {
  const configurations = [await needConfiguration(run)];
  const named = new Map([[await Deno.realPath(run), run]]);
  for (const where of also) {
    const cannot = `Cannot train models of "${where}"`;
    const rule = say`${setting("also")} must name`;
    const existing = await readRunConfiguration(where, { edited: true });
    ensure(existing, say`${cannot} next to those of others as ${rule} runs: there is none`, {
      where,
    });
    const real = await Deno.realPath(where);
    const other = named.get(real);
    ensure(
      other === undefined,
      say`${cannot} twice as ${rule} other runs: it is the run "${other!}"`,
      {
        where,
      },
    );
    named.set(real, where);
    configurations.push(existing.configuration);
  }
  return configurations;
}

/** Throws an `InputError` where a run has no such expert; `what` is what is to be done to it. */
export function checkExpert(what: string, run: string, expert: number, experts: number): void {
  const rule = `it must be one of 0 to ${experts - 1}: the run "${run}" has ${experts} experts`;
  const isOne = Number.isSafeInteger(expert) && expert >= 0 && expert < experts;
  ensure(isOne, `Cannot ${what} expert ${expert} as ${rule}`);
}

/**
 * Reads how many experts a run has, from its configuration. Throws an `InputError` where it is no
 * run, and where one of the runs of `also` is none or has another number of experts.
 */
export async function readExpertCount(run: string, also: readonly string[] = []): Promise<number> {
  const [{ experts }, ...others] = await otherRuns(run, also);
  const other = others.findIndex((configuration) => configuration.experts !== experts);
  if (other < 0) return experts;
  const rule = say`${setting("also")} must name runs of as many experts`;
  throw new InputError(
    say`Cannot train all experts of "${
      also[other]
    }" next to those of "${run}" as ${rule}: they have ${others[other].experts} and ${experts}`,
    { where: also[other], remedy: "train them by themselves" },
  );
}

/**
 * Trains experts of a run, each on its own part, unless that is done: one after another, or side by
 * side with `together`, to the same bits. `experts` are those of every run, or a function that
 * gives those of each. Throws what {@linkcode trainModels} throws.
 */
export async function trainExperts(
  experts: readonly number[] | ((run: string) => readonly number[]),
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  const of = typeof experts === "function" ? experts : () => experts;
  return await trainModels(
    (configuration, run) => {
      for (const expert of of(run)) checkExpert("train", run, expert, configuration.experts);
      return of(run).map((expert) => expertTarget(expert, configuration));
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
