/**
 * Models on the device. A binding holds only so many; where there are more, they lie in several banks, which
 * run one after another in the same activations.
 */

import type { Arena, Dispatch, Gpu } from "../../kernels/device/gpu.ts";
import { takesPasses } from "../../kernels/matmul/matmul.ts";
import { type ActivationOptions, createActivations, modelsPerBank } from "./activations.ts";
import { createBank, type Weights } from "./parameters.ts";
import type { ModelConfig } from "./shape.ts";
import type { BatchShape } from "./sublayers/sublayer.ts";
import { planTransposes } from "./transformer.ts";

/** One of the banks: models from number `first` of all on, with the buffers of their passes. */
export type OwnBank = ReturnType<typeof createBanks>["banks"][number];

/** Uploads models, and makes the buffers for their batches. Throws an `InputError` where a tensor does not fit a binding. */
export function createBanks(
  gpu: Gpu,
  arena: Arena,
  config: ModelConfig,
  models: readonly Weights[],
  shape: Omit<BatchShape, "models">,
  options: Omit<ActivationOptions, "kind" | "loss" | "limit" | "sums">,
) {
  const { kind, maxBindingBytes: limit, variants: { loss } } = gpu;
  const { training, gathered, dtype } = options;
  const perBank = modelsPerBank(config, { ...gathered ?? shape, models: models.length }, limit);
  const sums = training || takesPasses(gpu);
  const sizes = { ...shape, models: perBank };
  const acts = createActivations(arena, config, sizes, { ...options, kind, loss, limit, sums });
  const banks = Array.from({ length: Math.ceil(models.length / perBank) }, (_, i) => {
    const first = i * perBank;
    const own = models.slice(first, first + perBank);
    const bank = createBank(gpu, arena, config, own, dtype);
    const transposes: Dispatch[] = planTransposes(gpu, bank);
    gpu.submit(transposes);
    const size = own.length;
    return { first, size, bank, transposes, acts: { ...acts, shape: { ...acts.shape, models: size } } };
  });
  return { acts, banks };
}
