/**
 * The device memory of the jobs of studies, each on a device of its own, and the micro-batch with which they fit.
 *
 * @module
 */

import { trainingMemory, type TrainingMemoryOptions } from "../cost/memory.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Searched } from "../report/reproduction.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTargets } from "./models.ts";

/** What a job holds on its device: a model that trains, and how, and bytes of training all routers; either may be absent. */
export interface Held {
  training?: { model: ModelConfig; options: TrainingMemoryOptions };
  routers?: number;
}

/** The device memory of some jobs. */
interface FittedMemory {
  microBatch: number; // sequences that run at once, at most
  bytes: number[]; // that each job takes with that micro-batch
  tooLarge: (number | undefined)[]; // bytes of each job that does not fit, even with one sequence at a time
}

/** Reports what training a model of a run holds: one model, as experts train side by side only where memory is left. */
export async function heldBy(
  name: Searched,
  configuration: Configuration,
  more: Pick<TrainingMemoryOptions, "kind" | "loss" | "recompute">,
): Promise<Held> {
  const { expertBatch, microBatch, sequenceLength: length, dtype } = configuration;
  const [target] = findTargets(name, configuration);
  const options = {
    batch: target.batch(configuration),
    microBatch: microBatch || expertBatch,
    length,
    dtype,
  };
  return { training: { model: await target.model(configuration), options: { ...options, ...more } } };
}

/**
 * Finds the largest micro-batch with which every job takes at most `most` bytes, and says what each takes. Studies have one
 * micro-batch for all of their models. It is at most that of the settings; jobs that no micro-batch lets fit do not decide on it.
 * Throws an `InputError` where a model's shape is impossible.
 */
export function fitMemory(jobs: readonly Held[], most = Infinity): FittedMemory {
  const sizes = new Map<string, number>(); // many jobs train the same
  const heldBytes = ({ training, routers = 0 }: Held, microBatch: number): number => {
    if (!training) return routers;
    const { model, options } = training;
    const used = { ...options, microBatch };
    const key = JSON.stringify([model, used]);
    if (!sizes.has(key)) sizes.set(key, trainingMemory(model, used).total);
    return Math.max(routers, sizes.get(key)!);
  };
  const least = jobs.map((job) => heldBytes(job, 1));
  const tooLarge = least.map((bytes) => bytes > most ? bytes : undefined);
  const asSet = jobs.map(({ training }) => training?.options.microBatch ?? 1);
  // One micro-batch divides the batches of all.
  const trained = jobs.flatMap(({ training }) => training ? [training.options.batch] : []);
  const fits = (microBatch: number) =>
    trained.every((batch) => batch % microBatch === 0) &&
    jobs.every((job, i) =>
      tooLarge[i] !== undefined || heldBytes(job, Math.min(microBatch, asSet[i])) <= most
    );
  let microBatch = Math.max(1, ...asSet);
  while (microBatch > 1 && !fits(microBatch)) microBatch--;
  const bytes = jobs.map((job, i) => heldBytes(job, Math.min(microBatch, asSet[i])));
  return { microBatch, bytes, tooLarge };
}
