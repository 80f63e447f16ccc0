/**
 * Trains models in parallel. Models of one shape and with the same settings share a bank, so that a
 * kernel works on all of them in the dispatches that one would take.
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

/** A training whose weights are awaited. */
interface Pending extends PromiseWithResolvers<Weights> {
  options: TrainModelOptions;
  /** Trainings with equal keys can share a bank. */
  key: string;
}

/**
 * @ignore Trains models in banks, on devices that stay open for the next call. No more models train
 * at once than fit `memory`, in bytes; the others follow. It opens devices of that `adapter`.
 */
export class Bank {
  readonly #opened: Gpu[] = [];

  /** Opens no device yet. */
  constructor(private readonly options: { memory?: number; adapter?: string } = {}) {}

  /** Trains models. Gives a promise for the weights of each, kept when its bank is done. */
  train(trainings: readonly TrainModelOptions[]): Promise<Weights>[] {
    const pending = trainings.map((options): Pending => ({
      ...Promise.withResolvers<Weights>(),
      options,
      key: bankKey(options),
    }));
    void this.#trainAll(pending);
    return pending.map(({ promise }) => promise);
  }

  /** Closes the devices that it opened. */
  [Symbol.dispose](): void {
    for (const gpu of this.#opened) gpu.close();
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
  async devices(first: Gpu, models: number): Promise<readonly Gpu[]> {
    if (sizeBanks(models, first.kind).length === 1) return [first];
    const adapter = this.options.adapter || undefined;
    if (this.#opened.length === 0) {
      this.#opened.push(await openGpu({ adapter, variants: first.variants }));
    }
    return [first, ...this.#opened];
  }

  /** Trains as many models of one key as fit, again and again until none is left. */
  async #trainAll(pending: readonly Pending[]): Promise<void> {
    let left = pending;
    while (left.length > 0) {
      let chosen = left.filter(({ key }) => key === left[0].key);
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
      left = left.filter((training) => !chosen.includes(training));
    }
  }
}

/** Trains a bank on a device, and resolves or rejects the promise of each of its models. */
async function trainOn(gpu: Gpu, bank: readonly Pending[]): Promise<void> {
  const results = await trainBank(bank.map(({ options }) => options), gpu);
  results.forEach((result, i) =>
    result.status === "fulfilled" ? bank[i].resolve(result.value) : bank[i].reject(result.reason)
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
