/**
 * Predicts the device memory of models without a device. The code that makes the buffers of
 * training and generation plans them here too, and only their sizes are added up.
 */

import { adamwScratch } from "../../kernels/adamw/adamw.ts";
import type { Arena, GpuBuffer } from "../../kernels/device/gpu.ts";
import type { AdapterKind, Variants } from "../../kernels/device/variants.ts";
import { bytesPerValue, type Dtype } from "../../kernels/device/storage.ts";
import { chooseSublayers, type ModelConfig } from "../model/shape.ts";
import { modelsPerBank, planLayout } from "../model/parameters.ts";
import { type ActivationOptions, createActivations, listReports } from "../model/activations.ts";
import type { BatchShape } from "../model/sublayers/sublayer.ts";
import { rowsPerPass } from "../model/passes.ts";
import { microBatches, STEPS_PER_READ } from "../model/trainer.ts";

/**
 * Device memory of models, in bytes: the weights, in f32; `transposed` copies of the matrices; the
 * memory of a batch (`activations`, in training their gradients, logits and scratch; keys and
 * values are counted apart); all of it.
 */
export type ModelMemory = Record<"weights" | "transposed" | "activations" | "total", number>;

/**
 * Device memory of training, in bytes: also gradients of the weights, AdamW's first and second
 * `moments`, and `other`: sums over gradients, losses and norms that wait to be read. `largest` is
 * the largest tensor, which an adapter must be able to bind.
 */
export type TrainingMemory =
  & ModelMemory
  & Record<"gradients" | "moments" | "other" | "largest", number>;

/**
 * Device memory of answering one prompt, in bytes: also a `cache` of keys and values of every
 * position and layer.
 */
export type InferenceMemory = ModelMemory & Record<"cache", number>;

/** What {@link trainingMemory} and {@link inferenceMemory} take. */
export interface MemoryOptions {
  /** Models side by side. Default: 1. */
  models?: number;
  /** How activations, keys, values and transposed copies are stored. Default: f32. */
  dtype?: Dtype;
  /** Largest binding of the adapter, in bytes. Default: none. */
  limit?: number;
  /** Kind of the adapter: a GPU takes larger chunks of logits. Default: software. */
  kind?: AdapterKind;
  /** How the loss of training runs. Default: by chunks of logits. */
  loss?: Variants["loss"];
}

/**
 * What {@link trainingMemory} takes; the values that `createTrainer` takes: sequences per model and
 * step, and tokens per sequence.
 */
export interface TrainingMemoryOptions extends MemoryOptions, Record<"batch" | "length", number> {
  /** Sequences per model that run at once. Default: `batch`. */
  microBatch?: number;
  /** Whether activations are computed again in the backward pass. */
  recompute?: boolean;
}

/** What {@link inferenceMemory} takes: sequences and tokens that run at once, by default one. */
export interface InferenceMemoryOptions
  extends MemoryOptions, Partial<Record<"batch" | "length", number>> {
  /**
   * Positions whose keys and values are kept: prompt and answer together. 0 keeps none, as for
   * scoring.
   */
  capacity: number;
}

const NONE: ModelMemory = { weights: 0, transposed: 0, activations: 0, total: 0 };
const LONGEST_PASS = 512; // tokens of a prompt that a decoder reads at once by default

/**
 * Predicts the device memory of answering with a model, with room for `length` tokens of prompt and
 * answer.
 */
export function answeringMemory(model: ModelConfig, length: number): InferenceMemory {
  return inferenceMemory(model, { capacity: length, length: Math.min(LONGEST_PASS, length) });
}

/**
 * Predicts the device memory of `createTrainer`. Throws an `InputError` where a tensor exceeds the
 * binding limit.
 */
export function trainingMemory(model: ModelConfig, options: TrainingMemoryOptions): TrainingMemory {
  const { batch, length, models = 1, recompute, dtype, limit, kind = "software", loss } = options;
  const microBatch = options.microBatch || batch;
  const micros = microBatches(batch, microBatch);
  const pass = { training: true, recompute, dtype, kind, loss, limit };
  const bank = planBanks(model, { models, batch: microBatch, length }, pass);
  const { sizes, segments, held, weights, transposed } = bank;
  const waiting = sizes.flatMap((models) => {
    const reports = STEPS_PER_READ * micros * listReports(model).length;
    const perModel = [STEPS_PER_READ * batch, batch, STEPS_PER_READ, 1, reports];
    return [adamwScratch(segments, models), ...perModel.map((values) => models * values)];
  });
  const steps = [16, 8, 4]; // bytes of the values of a step, of its slot and of the report's
  const kinds = {
    weights,
    transposed,
    gradients: weights,
    moments: 2 * weights,
    activations: held.bytes,
    other: sum([...steps, ...waiting.map((values) => 4 * values)].map(rounded)),
  };
  const largest = Math.max(held.largest, bank.largestTensor);
  return { ...kinds, total: sum(Object.values(kinds)), largest };
}

/**
 * Predicts the device memory of learning routers: that of what trains them, and of what scores with
 * them by `prefix` tokens between two rounds; none where there are no routers. Throws as
 * {@link trainingMemory} does.
 */
export function routerMemory(
  model: ModelConfig,
  { prefix, ...options }: TrainingMemoryOptions & { prefix: number },
): TrainingMemory {
  const { models = 1, limit, kind } = options;
  if (models === 0) return { ...NONE, gradients: 0, moments: 0, other: 0, largest: 0 };
  const training = trainingMemory(model, options);
  const batch = rowsPerPass(limit ?? Infinity, model, prefix);
  return {
    ...training,
    ...together(training, routingMemory(model, { prefix, batch, models, limit, kind })),
  };
}

/** Adds up what two models take that are held at the same time. */
export function together(first: ModelMemory, second: ModelMemory): ModelMemory {
  const names = ["weights", "transposed", "activations", "total"] as const;
  return Object.fromEntries(names.map((name) => [name, first[name] + second[name]])) as ModelMemory;
}

/**
 * Predicts the device memory of all routers together on prefixes, by default those of one prompt;
 * none where no models route.
 */
export function routingMemory(
  model: ModelConfig,
  { prefix, ...options }:
    & Omit<MemoryOptions, "dtype" | "loss">
    & Record<"prefix" | "models", number>
    & {
      batch?: number;
    },
): InferenceMemory {
  if (options.models === 0) return { ...NONE, cache: 0 };
  return inferenceMemory(model, { capacity: 0, length: prefix, ...options });
}

/**
 * Finds the largest micro-batch, a divisor of the batch, with which training takes at most `most`
 * bytes of device memory; undefined where none does.
 */
export function fittingMicroBatch(
  model: ModelConfig,
  most: number,
  options: TrainingMemoryOptions,
): number | undefined {
  for (let microBatch = options.batch; microBatch >= 1; microBatch--) {
    if (options.batch % microBatch > 0) continue;
    if (trainingMemory(model, { ...options, microBatch }).total <= most) return microBatch;
  }
}

/**
 * Predicts the device memory of generation, or of scoring. Throws an `InputError` where a tensor
 * exceeds the binding limit.
 */
export function inferenceMemory(
  model: ModelConfig,
  options: InferenceMemoryOptions,
): InferenceMemory {
  const { capacity, batch = 1, length = 1, models = 1, dtype = "f32", limit, kind = "software" } =
    options;
  const pass = { training: false, capacity: capacity || undefined, dtype, kind, limit };
  const bank = planBanks(model, { models, batch, length }, pass);
  const { shape, held, weights, transposed } = bank;
  const sizes = {
    shape,
    mode: "decode",
    dtype,
    slots: batch,
    positions: capacity,
    sums: true,
  } as const;
  const kept = chooseSublayers(model).flatMap((sublayer) =>
    Object.values(sublayer.buffers(model, sizes).cache ?? {})
  );
  const cache = model.layers *
    sum(kept.map(({ values, storage }) => values * bytesPerValue(storage)));
  const kinds = { weights, transposed, cache, activations: held.bytes - cache };
  return { ...kinds, total: sum(Object.values(kinds)) };
}

/**
 * Plans the banks of some models as `createBank` does, and the activations that all of them share.
 */
function planBanks(model: ModelConfig, all: BatchShape, pass: ActivationOptions) {
  const { limit = Infinity } = pass;
  const shape = { ...all, models: modelsPerBank(model, all, limit) };
  const held = countingArena();
  createActivations(held, model, shape, pass);
  const { segments, transposedSegments, ...layout } = planLayout(model, limit);
  const sizes: number[] = []; // models of each bank
  for (let left = all.models; left > 0; left -= shape.models) {
    sizes.push(Math.min(shape.models, left));
  }
  const bytes = (segments: readonly number[], each: number) =>
    sum(sizes.flatMap((models) => segments.map((size) => rounded(size * models * each))));
  return {
    shape,
    held,
    sizes,
    segments,
    weights: bytes(segments.map(({ size }) => size), 4),
    transposed: bytes(transposedSegments, bytesPerValue(pass.dtype ?? "f32")),
    /** Bytes of the largest tensor of a bank, as it is or transposed. */
    largestTensor: 4 * shape.models *
      Math.max(
        ...[layout.placements, layout.transposedPlacements]
          .flatMap((places) => [...places.values()]).map(({ rows, stride }) => rows * stride),
      ),
  };
}

/** An arena that makes no buffer and counts what it would take. */
function countingArena(): Arena & { readonly largest: number } {
  return {
    counts: true,
    bytes: 0,
    largest: 0,
    buffer(label: string, size: number): GpuBuffer {
      const bytes = rounded(size);
      this.bytes += bytes;
      this.largest = Math.max(this.largest, bytes);
      return { label, bytes } as GpuBuffer; // nothing here runs it
    },
    destroy() {},
  } as Arena & { bytes: number; largest: number };
}

/** Bytes that a buffer takes, as `Gpu` rounds them. */
const rounded = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);
const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
