/**
 * The models of a comparison: how each is trained, and how its learning rate is searched for. All are treated
 * in the same way.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { RunError, say, setting } from "../../kernels/errors.ts";
import { modelShapes } from "../model/shapes.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { presetOf } from "../settings/presets.ts";
import type { Sources } from "../settings/resolution.ts";
import type { RunWatch } from "../stages/session.ts";
import { needConfiguration } from "../stages/run_folder.ts";
import { memoryTogether, trainDense, trainExperts, type TrainOptions, trainSwitch } from "../stages/train.ts";
import type { Match } from "../stages/train_dense.ts";
import type { TrainResult } from "../nodes/training_result.ts";
import { LossNotFiniteError } from "../training/loop.ts";
import { searchRate } from "./search.ts";

/** Default share of the training that a trial of a learning rate takes. */
export const TRIAL_SHARE = 1 / 8;

/** Rate that every search starts from. */
const FIRST_RATE = 4e-3;

/** The setting that holds the learning rate of a model. */
export const RATES: Record<Searched, keyof Configuration & `${string}Rate`> = {
  experts: "expertRate",
  dense: "denseRate",
  "dense-steps": "denseStepsRate",
  "dense-compute": "denseComputeRate",
  switch: "switchRate",
};

/** What a dense model matches. */
const MATCHES: Record<Exclude<Searched, "experts" | "switch">, Match> = {
  dense: "batch",
  "dense-steps": "steps",
  "dense-compute": "compute",
};

/** Lists all experts of a run. */
export const allOf = (experts: number): number[] => [...Array(experts).keys()];

/**
 * Trains a baseline of a run, or these of its experts, side by side where the memory of the device allows
 * that, and gives what each came to.
 */
export async function trainModels(
  name: Searched,
  experts: readonly number[],
  options: TrainOptions & { gpu: Gpu },
  watch: RunWatch,
): Promise<TrainResult[]> {
  if (name === "switch") return [await trainSwitch(options, watch)];
  if (name !== "experts") return [await trainDense(MATCHES[name], options, watch)];
  const c = await needConfiguration(options.run, "train-expert", true, true);
  const { recompute, gpu } = options;
  const { expertBatch: batch, microBatch, sequenceLength: length, dtype } = c;
  const needed = (models: number) =>
    memoryTogether(modelShapes(c).expert, models, {
      ...{ batch, microBatch, length, dtype, recompute },
      kind: gpu.kind,
    });
  // One model is tried in any case: the device itself says where even that does not fit.
  const memory = Math.max(await gpu.allocatable(needed(experts.length)), needed(1));
  return await trainExperts(experts, { ...options, memory }, watch);
}

/**
 * Searches for the learning rate of a model by short trainings in its run; that of the experts is one for
 * all of them. Throws a `RunError` where all that are tried diverge.
 */
export async function searchModelRate(
  name: Searched,
  experts: number,
  options: TrainOptions & { gpu: Gpu },
  share: number,
  watch: RunWatch,
): Promise<RateSearch> {
  const found = await searchRate(FIRST_RATE, async (rate) => {
    const losses = await trialLosses(name, experts, options, { share, rate }, watch);
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  });
  const doubt = doubtOf(name, found);
  if (doubt) watch.onEvent?.({ type: "warning", message: `${options.run}: ${doubt}` });
  return found;
}

/**
 * Says what makes a search for the learning rate of a model doubtful: the best rate is the lowest or the highest that was tried.
 * Throws a `RunError` where trainings with all of them diverge.
 */
export function doubtOf(name: Searched, { rate, trials }: RateSearch): string | undefined {
  const [lowest, highest] = [trials[0].rate, trials[trials.length - 1].rate];
  if (trials.every(({ validationLoss }) => validationLoss === Infinity)) {
    throw new RunError(
      `Cannot find a learning rate of "${name}" as all that were tried diverge: ${lowest} to ${highest}`,
      { remedy: say`name one with ${setting(RATES[name])}, or more steps with ${setting("expertWarmup")}` },
    );
  }
  if (rate !== lowest && rate !== highest) return;
  const edge = rate === lowest ? "lowest" : "highest";
  return `the best learning rate of "${name}" is the ${edge} of those tried, ${rate}: a better one may lie beyond`;
}

/**
 * Trains a model of a run, or all its experts, for a share of the steps, and gives the loss of each on
 * held-out text in nats per token: infinite for all where a training diverges.
 */
export async function trialLosses(
  name: Searched,
  experts: number,
  options: TrainOptions & { gpu: Gpu },
  trial: { share: number; rate: number },
  watch: RunWatch,
): Promise<number[]> {
  try {
    const results = await trainModels(name, allOf(experts), { ...options, sources: {}, trial }, watch);
    return results.map(lossOf);
  } catch (error) {
    if (diverged(error)) return Array(name === "experts" ? experts : 1).fill(Infinity);
    throw error;
  }
}

/** Whether an error says that a training diverged. */
export const diverged = (error: unknown): boolean => (error as Error).cause instanceof LossNotFiniteError;

/** Gathers the values of a preset, a file and flags as flags, without the rates that are searched for. */
export function withoutRates({ preset, file, flags }: Sources): Partial<Configuration> {
  const values: Partial<Configuration> = { ...presetOf(preset), ...file, ...flags };
  for (const field of Object.values(RATES)) delete values[field];
  return values;
}

/**
 * Gives what flags set: that is not searched for. What a preset or a file says of rates and of routers' settings is, as
 * the file may be a run's `config.json`, which holds every setting.
 */
export const givenIn = ({ flags }: Sources): Partial<Configuration> => flags ?? {};

/** Gives the loss by which a trial is judged. */
const lossOf = ({ validationLoss, loss }: TrainResult): number => validationLoss ?? loss ?? Infinity;
