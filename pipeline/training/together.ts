/**
 * Lets several trainings of one shape share banks. Each asks to be trained when it is ready; once all have
 * asked or left, those that are alike are trained side by side.
 */

import { createHash } from "node:crypto";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Weights } from "../model/parameters.ts";
import { trainBank, type TrainModelOptions } from "./loop.ts";

/** One of several trainings. */
export interface Participant {
  /** Trains it as `trainModel` does, once every other training has asked for that or has left. */
  train(options: TrainModelOptions): Promise<Weights>;
  /** Leaves, so that nobody waits for it any more. Call it however the training ends; it is safe to call again. */
  leave(): void;
}

/** Trainings that share banks. */
export interface Together {
  /** Adds a training. All must be added before the first asks to be trained. */
  join(): Participant;
}

/** A training that has asked. */
interface Asked {
  options: TrainModelOptions;
  /** What others must have in common with it to share its bank. */
  kind: string;
  resolve(weights: Weights): void;
  reject(error: unknown): void;
}

/** How trainings share banks. */
export interface TogetherOptions {
  /** Whether so many models of one shape may be trained at once on the device. Default: as many as ask. */
  fits?(options: TrainModelOptions, models: number): boolean;
  /**
   * Gives the devices that share so many models, as evenly as they go, a bank on each. Default: that
   * of the trainings.
   */
  devices?(own: Gpu, models: number): Promise<readonly Gpu[]>;
}

/** Lets trainings share banks. Those that do not fit are trained after the others. */
export function createTogether(
  { fits = () => true, devices = (own) => Promise.resolve([own]) }: TogetherOptions = {},
): Together {
  const coming = new Set<Participant>();
  let asked: Asked[] = [];
  let working = false;

  /** Trains those who have asked, until none is left. */
  async function work(): Promise<void> {
    if (coming.size > 0 || working) return;
    working = true;
    while (asked.length > 0) {
      let chosen = asked.filter(({ kind }) => kind === asked[0].kind);
      const [{ options }] = chosen;
      try {
        while (chosen.length > 1 && !fits(options, chosen.length)) chosen = chosen.slice(0, -1);
        const gpus = await devices(options.gpu, chosen.length);
        const share = Math.ceil(chosen.length / gpus.length);
        await Promise.all(gpus.map((gpu, i) => trainAll(gpu, chosen.slice(i * share, (i + 1) * share))));
      } catch (error) {
        for (const { reject } of chosen) reject(error);
      }
      asked = asked.filter((one) => !chosen.includes(one));
    }
    working = false;
  }

  return {
    join() {
      const participant: Participant = {
        train: (options) =>
          new Promise((resolve, reject) => {
            asked.push({ options, kind: bankKey(options), resolve, reject });
            participant.leave(); // it has asked
          }),
        leave() {
          if (coming.delete(participant)) void work();
        },
      };
      coming.add(participant);
      return participant;
    },
  };
}

/** Trains a bank and tells each of those who asked. */
async function trainAll(gpu: Gpu, own: readonly Asked[]): Promise<void> {
  if (own.length === 0) return;
  const results = await trainBank(own.map(({ options }) => options), gpu);
  results.forEach((result, i) =>
    result.status === "fulfilled" ? own[i].resolve(result.value) : own[i].reject(result.reason)
  );
}

/** Describes what trainings must have in common to share a bank, among it the rates of all steps to come. */
function bankKey(
  { model, batch, microBatch, recompute, dtype, steps, start, rateAt, ...options }: TrainModelOptions,
): string {
  const { beta1, beta2, epsilon, weightDecay, clip } = options;
  const step = start instanceof Map ? 0 : start.trainer.step;
  const rates = createHash("sha256");
  for (let next = step + 1; next <= steps; next++) rates.update(Float64Array.of(rateAt(next)));
  const settings = { beta1, beta2, epsilon, weightDecay, clip };
  return JSON.stringify({
    ...{ model, batch, microBatch, recompute, dtype, steps, step, settings, rates: rates.digest("hex") },
  });
}
