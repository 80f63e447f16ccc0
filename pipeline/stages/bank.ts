/**
 * Models that are trained side by side, of one run or of several, in the dispatches of one where their shapes allow it.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { trainingMemory, type TrainingMemoryOptions } from "../cost/memory.ts";
import type { ModelConfig } from "../model/shape.ts";
import { Together } from "../training/together.ts";

/**
 * Gives the sizes of the banks that train so many models of one shape at once. On the processor there are two, as one computes while the
 * other is between two kernels, or waits for its host.
 */
const sizeBanks = (models: number, kind: AdapterKind): number[] =>
  kind === "software" && models > 1 ? [Math.ceil(models / 2), Math.floor(models / 2)] : [models];

/** Predicts the device memory of training so many models of one shape at once: every bank has activations of its own. */
export function memoryTogether(
  config: ModelConfig,
  models: number,
  { kind = "software", ...sizes }: Omit<TrainingMemoryOptions, "models">,
): number {
  return sizeBanks(models, kind)
    .map((models) => trainingMemory(config, { ...sizes, models, kind }).total)
    .reduce((sum, total) => sum + total);
}

/** @ignore Trainings that share devices: no more at once than fit `memory`, in bytes. Other devices are opened by the name `adapter`. */
export class Bank extends Together {
  readonly #more: Gpu[] = [];

  /** No device is opened yet. */
  constructor({ memory = Infinity, adapter }: { memory?: number; adapter?: string }) {
    super({
      fits: ({ model, gpu: { kind, maxBindingBytes: limit, variants: { loss } }, ...sizes }, models) =>
        memoryTogether(model, models, { ...sizes, length: model.context, kind, loss, limit }) <= memory,
      devices: async (own, models) => {
        if (sizeBanks(models, own.kind).length === 1) return [own];
        if (this.#more.length === 0) {
          this.#more.push(await openGpu({ adapter: adapter || undefined, variants: own.variants }));
        }
        return [own, ...this.#more];
      },
    });
  }

  /** Closes the devices that it opened. */
  close(): void {
    for (const gpu of this.#more) gpu.close();
  }
}
