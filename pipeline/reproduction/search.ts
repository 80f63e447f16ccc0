/**
 * Trains the models of runs, and searches for settings by short trainings. A search goes from a
 * first value outwards by factors of two. It ends where the best one lies between worse ones, or no
 * more values may be tried.
 *
 * @module
 */

import * as v from "valibot";
import { PLANNED_SHARE } from "../../kernels/device/buffers.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { RunError, say, setting } from "../../kernels/errors.ts";
import { modelShapes } from "../model/shape.ts";
import { LOSS, type RateSearch, SEARCHED, type Searched } from "../report/reproduction.ts";
import { type Configuration, FIELDS } from "../settings/configuration.ts";
import { joinSources, type Sources } from "../settings/resolution.ts";
import { memoryTogether } from "../stages/bank.ts";
import { trainModels, type TrainOptions } from "../run/models.ts";
import type { RunWatch } from "../run/run.ts";
import type { RateName } from "../stages/targets.ts";
import type { TrainResult } from "../stages/train_result.ts";
import { LossNotFiniteError } from "../training/loop.ts";
import { searchedTargets } from "./outcome.ts";

/**
 * Experts that are trained side by side: enough to keep a device busy, few enough that other
 * processes have some, too.
 */
const SIDE_BY_SIDE: Record<AdapterKind, number> = { software: 2, gpu: 4 };

/** Where models are trained, on a device that is open. */
export interface TrainingSite extends Omit<TrainOptions, "together"> {
  /** The device. */
  gpu: Gpu;
}

/**
 * Trains models of a run and gives what each came to. Experts are trained a few side by side where
 * the device has the memory for that, then baselines one by one. Models that another process trains
 * come last.
 */
export async function train(
  models: readonly Searched[],
  configuration: Configuration,
  { gpu, ...options }: TrainingSite,
  watch: RunWatch,
): Promise<Partial<Record<Searched, TrainResult[]>>> {
  const targets = (model: Searched) => searchedTargets(model, configuration);
  const results: Partial<Record<Searched, TrainResult[]>> = {};
  if (models.includes("experts")) {
    const training = {
      ...options,
      gpu,
      ...await sideBySide(gpu, configuration, options.recompute),
    };
    results.experts = await trainModels(() => targets("experts"), training, watch);
  }
  const baselines = models.filter((model) => model !== "experts");
  if (baselines.length === 0) return results;
  const trained = await trainModels(() => baselines.flatMap(targets), { ...options, gpu }, watch);
  baselines.forEach((model, i) => results[model] = [trained[i]]);
  return results;
}

/**
 * Gives how many experts are trained side by side at most, and in how much memory: a larger model
 * has no such limit.
 */
async function sideBySide(gpu: Gpu, configuration: Configuration, recompute?: boolean) {
  const { expertBatch: batch, microBatch, sequenceLength: length, dtype } = configuration;
  const training = {
    batch,
    microBatch,
    length,
    dtype,
    recompute,
    kind: gpu.kind,
    loss: gpu.variants.loss,
  };
  const memoryFor = (models: number) =>
    memoryTogether(modelShapes(configuration).expert, models, training);
  const together = SIDE_BY_SIDE[gpu.kind];
  // One model is tried in any case: the device itself says where even that does not fit.
  const free = PLANNED_SHARE * await gpu.allocatable(memoryFor(together) / PLANNED_SHARE);
  return { together, memory: Math.max(free, memoryFor(1)) };
}

/** Default share of the training that a trial of a learning rate takes. */
export const TRIAL_SHARE = 1 / 8;

/**
 * Trains a model of a run, or all its experts, for a share of the steps. Gives the loss of each on
 * held-out text in nats per token: infinite for all where a training diverges.
 */
export async function trialLosses(
  model: Searched,
  configuration: Configuration,
  site: TrainingSite,
  trial: { share: number; rate: number },
  watch: RunWatch,
): Promise<number[]> {
  try {
    const results =
      (await train([model], configuration, { ...site, sources: {}, trial }, watch))[model]!;
    return results.map(({ validationLoss, loss }) => validationLoss ?? loss ?? Infinity);
  } catch (error) {
    if (diverged(error)) return searchedTargets(model, configuration).map(() => Infinity);
    throw error;
  }
}

/** Whether an error says that a training diverged. */
export const diverged = (error: unknown): boolean =>
  (error as Error).cause instanceof LossNotFiniteError;

/** The setting that holds the learning rate of a model. */
export const RATES = Object.fromEntries(
  SEARCHED.map((model) => [model, searchedTargets(model, { experts: 1 })[0].rates[0]]),
) as Record<Searched, RateName>;

/**
 * Gathers the values of a preset, a file and flags as flags, without the rates that are searched
 * for.
 */
export function withoutRates(sources: Sources): Partial<Configuration> {
  const values = joinSources(sources);
  for (const field of Object.values(RATES)) delete values[field];
  return values;
}

/**
 * Searches for the learning rate of a model by short trainings in its run; that of the experts is
 * one for all of them. Throws a `RunError` where all that are tried diverge.
 */
export async function searchModelRate(
  model: Searched,
  configuration: Configuration,
  site: TrainingSite,
  share: number,
  watch: RunWatch,
): Promise<RateSearch> {
  const search = await searchRate(async (rate) => {
    const losses = await trialLosses(model, configuration, site, { share, rate }, watch);
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  });
  const doubt = searchDoubt(model, search);
  if (doubt) watch.onEvent?.({ type: "warning", message: `${site.run}: ${doubt}` });
  return search;
}

/**
 * Reports what makes a search for the learning rate of a model doubtful: the best rate is the
 * lowest or the highest that was tried. Throws a `RunError` where trainings with all of them
 * diverge.
 */
export function searchDoubt(name: Searched, { rate, trials }: RateSearch): string | undefined {
  const [lowest, highest] = [trials[0].rate, trials[trials.length - 1].rate];
  if (trials.every(({ validationLoss }) => validationLoss === Infinity)) {
    throw new RunError(
      `Cannot find a learning rate of "${name}" as all that were tried diverge: ` +
        `${lowest} to ${highest}`,
      {
        remedy: say`name one with ${setting(RATES[name])}, or more steps with ${
          setting("expertWarmup")
        }`,
      },
    );
  }
  if (rate !== lowest && rate !== highest) return;
  const edge = rate === lowest ? "lowest" : "highest";
  return `the best learning rate of "${name}" is the ${edge} of those tried, ` +
    `${rate}: a better one may lie beyond`;
}

/** Rate that every search for one starts from. */
const FIRST_RATE = 4e-3;

/**
 * Nats by which a higher rate must be better in trials: these are short, and bear higher rates than
 * the training itself.
 */
const RATE_MARGIN = 0.03;

/**
 * Searches for a learning rate by trials of a part of the training. Long trainings bear lower rates
 * than short ones, so a higher rate must be clearly better.
 */
export async function searchRate(validate: (rate: number) => Promise<number>): Promise<RateSearch> {
  const { value, losses } = await searchLine({ first: FIRST_RATE, margin: RATE_MARGIN }, validate);
  return {
    rate: value,
    trials: [...losses].map(([rate, validationLoss]) => ({ rate, validationLoss })),
  };
}

/**
 * Gives the best value found, and all that were tried with their losses in nats, by value. A value
 * whose training diverges has an infinite loss.
 */
export async function searchLine(
  { first, whole = false, cautious = false, margin = 0.01, most = 6, largest = Infinity }: {
    first: number;
    whole?: boolean; // whether values are whole numbers
    // Whether a lower value must be clearly better, too, and not only a higher one.
    cautious?: boolean;
    margin?: number; // nats that make a value clearly better
    most?: number; // values that are tried
    largest?: number; // value that is tried
  },
  validate: (value: number) => Promise<number>,
): Promise<{ value: number; losses: Map<number, number> }> {
  const losses = new Map<number, number>();
  const attempt = async (value: number) => {
    const loss = losses.get(value) ?? await validate(value);
    losses.set(value, loss);
    return { value, loss };
  };
  let best = await attempt(first);
  // From a rate that diverges the way leads down, until one does not; fewer rounds would not help.
  for (const factor of best.loss !== Infinity ? [2, 1 / 2] : whole ? [] : [1 / 2]) {
    while (losses.size < most) {
      const value = best.value * factor;
      if (value > largest) break;
      const next = await attempt(
        whole ? Math.max(1, Math.round(value)) : Number(value.toPrecision(6)),
      );
      const least = factor > 1 || cautious ? margin : 0;
      if (best.loss !== Infinity && !(next.loss < best.loss - least)) break;
      best = next;
    }
    if (best.value > first) break; // the value below it is worse: the search came from there
  }
  return {
    value: best.loss === Infinity ? first : best.value,
    losses: new Map([...losses].sort(([a], [b]) => a - b)),
  };
}

/** The settings of routers that are searched for. */
export type RouterSettings = Pick<Configuration, "routerRate" | "rounds">;

/** Most values of one of them that are tried. */
const MOST_TRIALS = 4;

/**
 * By how much rounds may grow in a search. With eight times those of the preset `small`, a
 * partition among twice the experts would take longer than a job of a study should.
 */
const MOST_ROUNDS = 4;

const readValue = <Name extends keyof RouterSettings>({ read, requirement }: typeof FIELDS[Name]) =>
  v.pipe(v.number(), v.check((value) => read(value) !== null, `it must be ${requirement}`));
const SETTINGS = { routerRate: readValue(FIELDS.routerRate), rounds: readValue(FIELDS.rounds) };

/** Schema of a {@linkcode RouterSearch}. */
export const ROUTER_SEARCH = v.object({
  ...SETTINGS,
  trials: v.array(v.object({ ...SETTINGS, validationLoss: LOSS })),
});

/**
 * What a search came to: the best settings, and all that were tried, with the loss of experts after
 * a part of their steps. That is the NLL per predicted token of the held-out text of each, in nats,
 * weighted by its sequences. Infinite where a training diverged.
 */
export type RouterSearch = v.InferOutput<typeof ROUTER_SEARCH>;

/**
 * Searches for the rate and the rounds of routers, alike for every start: first the rate at the
 * preset's rounds, then rounds at that rate. What is `given` stays. Another value must be clearly
 * better, as parts of another training differ by chance. So the preset's settings stay, and with
 * them runs that are finished, unless there is a reason. `validate` gives the loss of a trial in
 * nats.
 */
export async function searchRouters(
  { routerRate, rounds }: RouterSettings,
  fixed: Partial<RouterSettings>,
  validate: (settings: RouterSettings) => Promise<number>,
): Promise<RouterSearch> {
  const best = { routerRate, rounds, ...fixed };
  const trials = new Map<string, RouterSearch["trials"][number]>();
  for (const name of ["routerRate", "rounds"] as const) {
    if (fixed[name] !== undefined) continue;
    const line = { first: best[name], cautious: true, most: MOST_TRIALS };
    const whole = name === "rounds" && { whole: true, largest: best.rounds * MOST_ROUNDS };
    const { value } = await searchLine({ ...line, ...whole }, async (value) => {
      const settings = { ...best, [name]: value };
      const key = JSON.stringify(settings);
      const trial = trials.get(key) ?? { ...settings, validationLoss: await validate(settings) };
      trials.set(key, trial);
      return trial.validationLoss;
    });
    best[name] = value;
  }
  return { ...best, trials: [...trials.values()] };
}

/**
 * Gives the mean of what experts lose, each weighted by the held-out sequences that are routed to
 * it.
 */
export function mixtureLoss(losses: readonly number[], sequences: readonly number[]): number {
  const total = sequences.reduce((sum, count) => sum + count, 0);
  return losses.reduce(
    (sum, loss, i) => sequences[i] > 0 ? sum + loss * sequences[i] / total : sum,
    0,
  );
}
