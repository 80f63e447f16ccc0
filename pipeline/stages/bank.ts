/**
 * Models that are trained side by side, of one run or of several, in the dispatches of one where
 * their shapes allow it. Each asks to be trained when it is ready; once all have asked or left,
 * those that are alike share a bank.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { trainingMemory, type TrainingMemoryOptions } from "../cost/memory.ts";
import { modelsPerBank, type Weights } from "../model/parameters.ts";
import type { ModelConfig } from "../model/shape.ts";
import { trainBank, type TrainModelOptions } from "../training/loop.ts";

/**
 * Gives the sizes of the banks that train so many models of one shape at once. On the processor
 * there are two, as one computes while the other is between two kernels, or waits for its host.
 */
const sizeBanks = (models: number, kind: AdapterKind): number[] =>
  kind === "software" && models > 1 ? [Math.ceil(models / 2), Math.floor(models / 2)] : [models];

/**
 * Predicts the device memory of training so many models of one shape at once: every bank has
 * activations of its own.
 */
export function memoryTogether(
  config: ModelConfig,
  models: number,
  { kind = "software", ...sizes }: Omit<TrainingMemoryOptions, "models">,
): number {
  return sizeBanks(models, kind)
    .map((models) => trainingMemory(config, { ...sizes, models, kind }).total)
    .reduce((sum, total) => sum + total);
}

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

/**
 * @ignore Trainings that share devices: no more at once than fit `memory`, in bytes; the others
 * follow. Other devices are opened by the name `adapter`.
 */
export class Bank {
  readonly #coming = new Set<Participant>();
  readonly #more: Gpu[] = [];
  #asked: Asked[] = [];
  #isWorking = false;

  /** Nobody has joined yet, and no device is opened. */
  constructor(private readonly options: { memory?: number; adapter?: string } = {}) {}

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

  /** Closes the devices that it opened. */
  [Symbol.dispose](): void {
    for (const gpu of this.#more) gpu.close();
  }

  /** Whether so many models of one shape may be trained at once. */
  fits({ model, gpu, batch, microBatch, ...sizes }: TrainModelOptions, models: number): boolean {
    const { kind, maxBindingBytes: limit, variants: { loss } } = gpu;
    const { memory = Infinity } = this.options;
    const shape = {
      models: sizeBanks(models, kind)[0],
      batch: microBatch || batch,
      length: model.context,
    };
    // Side by side they would run in turns.
    if (modelsPerBank(model, shape, limit) < shape.models) return false;
    const all = { ...sizes, batch, microBatch, length: model.context, kind, loss, limit };
    return memoryTogether(model, models, all) <= memory;
  }

  /** Gives the devices that share so many models as evenly as they go, a bank on each. */
  async devices(own: Gpu, models: number): Promise<readonly Gpu[]> {
    if (sizeBanks(models, own.kind).length === 1) return [own];
    const adapter = this.options.adapter || undefined;
    if (this.#more.length === 0) {
      this.#more.push(await openGpu({ adapter, variants: own.variants }));
    }
    return [own, ...this.#more];
  }

  /** Trains those who have asked, once nobody is waited for, until none is left. */
  async #work(): Promise<void> {
    if (this.#coming.size > 0 || this.#isWorking) return;
    this.#isWorking = true;
    while (this.#asked.length > 0) {
      let chosen = this.#asked.filter(({ kind }) => kind === this.#asked[0].kind);
      const [{ options }] = chosen;
      try {
        while (chosen.length > 1 && !this.fits(options, chosen.length)) {
          chosen = chosen.slice(0, -1);
        }
        const gpus = await this.devices(options.gpu, chosen.length);
        const share = Math.ceil(chosen.length / gpus.length);
        await Promise.all(
          gpus.map((gpu, i) => trainOn(gpu, chosen.slice(i * share, (i + 1) * share))),
        );
      } catch (error) {
        for (const { reject } of chosen) reject(error);
      }
      this.#asked = this.#asked.filter((one) => !chosen.includes(one));
    }
    this.#isWorking = false;
  }
}

/** Trains a bank on a device and tells each of those who asked. */
async function trainOn(gpu: Gpu, own: readonly Asked[]): Promise<void> {
  const results = await trainBank(own.map(({ options }) => options), gpu);
  results.forEach((result, i) =>
    result.status === "fulfilled" ? own[i].resolve(result.value) : own[i].reject(result.reason)
  );
}

/**
 * Describes what trainings must have in common to share a bank, among it the rates of all steps to
 * come.
 */
function bankKey(
  { model, batch, microBatch, recompute, dtype, steps, start, rateAt, ...options }:
    TrainModelOptions,
): string {
  const { beta1, beta2, epsilon, weightDecay, clip } = options;
  const step = start instanceof Map ? 0 : start.trainer.step;
  const rates = createHash("sha256");
  for (let next = step + 1; next <= steps; next++) rates.update(Float64Array.of(rateAt(next)));
  const settings = { beta1, beta2, epsilon, weightDecay, clip };
  return JSON.stringify({
    model,
    batch,
    microBatch,
    recompute,
    dtype,
    steps,
    step,
    settings,
    rates: rates.digest("hex"),
  });
}
