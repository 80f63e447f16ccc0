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
  train(options: TrainModelOptions): Promise<Weights>; // as `trainModel` does, once every other one has asked or left
  leave(): void; // nobody waits for it any more; call it however the training ends
}

/** A training that has asked. */
interface Asked {
  options: TrainModelOptions;
  kind: string; // what others must have in common with it to share its bank
  resolve(weights: Weights): void;
  reject(error: unknown): void;
}

/** How trainings share banks. */
export interface TogetherOptions {
  /** Whether so many models of one shape may be trained at once on the device. Default: as many as ask. */
  fits?(options: TrainModelOptions, models: number): boolean;
  /** Gives the devices that share so many models, as evenly as they go, a bank on each. Default: that of the trainings. */
  devices?(own: Gpu, models: number): Promise<readonly Gpu[]>;
}

/** Trainings that share banks. Those that do not fit are trained after the others. */
export class Together {
  readonly #coming = new Set<Participant>();
  #asked: Asked[] = [];
  #isWorking = false;

  /** Nobody has joined yet. */
  constructor(private readonly options: TogetherOptions = {}) {}

  /** Adds a training. All must be added before the first asks to be trained. */
  join(): Participant {
    const participant: Participant = {
      train: (options) =>
        new Promise((resolve, reject) => {
          this.#asked.push({ options, kind: bankKey(options), resolve, reject });
          participant.leave(); // it has asked
        }),
      leave: () => {
        if (this.#coming.delete(participant)) void this.#work();
      },
    };
    this.#coming.add(participant);
    return participant;
  }

  /** Trains those who have asked, once nobody is waited for, until none is left. */
  async #work(): Promise<void> {
    if (this.#coming.size > 0 || this.#isWorking) return;
    const { fits = () => true, devices = (own: Gpu) => Promise.resolve([own]) } = this.options;
    this.#isWorking = true;
    while (this.#asked.length > 0) {
      let chosen = this.#asked.filter(({ kind }) => kind === this.#asked[0].kind);
      const [{ options }] = chosen;
      try {
        while (chosen.length > 1 && !fits(options, chosen.length)) chosen = chosen.slice(0, -1);
        const gpus = await devices(options.gpu, chosen.length);
        const share = Math.ceil(chosen.length / gpus.length);
        await Promise.all(gpus.map((gpu, i) => trainAll(gpu, chosen.slice(i * share, (i + 1) * share))));
      } catch (error) {
        for (const { reject } of chosen) reject(error);
      }
      this.#asked = this.#asked.filter((one) => !chosen.includes(one));
    }
    this.#isWorking = false;
  }
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
