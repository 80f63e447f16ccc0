/**
 * The models of a comparison: how each is trained, and how its learning rate is searched for. All are treated
 * in the same way.
 *
 * @module
 */

import type { Configuration } from "../settings/configuration.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { presetOf } from "../settings/presets.ts";
import type { Sources } from "../settings/resolution.ts";
import type { RunWatch } from "../stages/session.ts";
import { trainDense, trainExpert, type TrainOptions, trainSwitch } from "../stages/train.ts";
import type { Match } from "../stages/train_dense.ts";
import type { TrainResult } from "../stages/training_result.ts";
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

/** Trains a model of a run, or all its experts one after another, and gives what each came to. */
export async function trainModels(
  name: Searched,
  experts: number,
  options: TrainOptions,
  watch: RunWatch,
): Promise<TrainResult[]> {
  if (name === "switch") return [await trainSwitch(options, watch)];
  if (name !== "experts") return [await trainDense(MATCHES[name], options, watch)];
  const results: TrainResult[] = [];
  for (let expert = 0; expert < experts; expert++) results.push(await trainExpert(expert, options, watch));
  return results;
}

/** Searches for the learning rate of a model by short trainings in its run; that of the experts is one for all of them. */
export async function searchModelRate(
  name: Searched,
  experts: number,
  options: TrainOptions,
  share: number,
  watch: RunWatch,
): Promise<RateSearch> {
  return await searchRate(FIRST_RATE, async (rate) => {
    try {
      const results = await trainModels(
        name,
        experts,
        { ...options, sources: {}, trial: { share, rate } },
        watch,
      );
      return results.reduce((sum, result) => sum + lossOf(result), 0) / results.length;
    } catch (error) {
      if ((error as Error).cause instanceof LossNotFiniteError) return Infinity;
      throw error;
    }
  });
}

/** Gathers the values of a preset, a file and flags as flags, without the rates that are searched for. */
export function withoutRates({ preset, file, flags }: Sources): Partial<Configuration> {
  const values: Partial<Configuration> = { ...presetOf(preset), ...file, ...flags };
  for (const field of Object.values(RATES)) delete values[field];
  return values;
}

/** Gives the loss by which a trial is judged. */
const lossOf = ({ validationLoss, loss }: TrainResult): number => validationLoss ?? loss ?? Infinity;
