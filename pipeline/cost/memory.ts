/**
 * Predicts the device memory of models without a device: the buffers of training and of generation are planned by the
 * code that makes them, and only their sizes are summed up.
 *
 * @module
 */

import { adamwScratch } from "../../kernels/adamw.ts";
import { InputError } from "../../kernels/errors.ts";
import type { Arena, GpuBuffer } from "../../kernels/gpu.ts";
import { bytesOf, type Dtype } from "../../kernels/storage.ts";
import type { ModelConfig } from "../model/shape.ts";
import { type Layout, planLayout } from "../model/parameters.ts";
import { layerOf } from "../model/sublayers/layer.ts";
import { createActivations, modelsPerBank, reportsOf } from "../model/transformer.ts";
import { STEPS_PER_READ } from "../model/trainer.ts";

/** Device memory of training, in bytes. */
export interface TrainingMemory {
  /** The weights, f32. */
  weights: number;
  /** Transposed copies of the matrices. */
  transposed: number;
  /** Gradients of the weights. */
  gradients: number;
  /** AdamW's first and second moments. */
  moments: number;
  /** What a batch takes: activations, their gradients, logits and scratch. */
  activations: number;
  /** Sums over gradients, losses and norms that wait to be read. */
  other: number;
  /** All of these. */
  total: number;
  /** The largest tensor: an adapter must be able to bind as much. */
  largest: number;
}

/** What {@link trainingMemory} takes; the values that `createTrainer` takes. */
export interface TrainingMemoryOptions {
  /** Sequences per model and step. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
  /** Sequences per model that run at once. Default: `batch`. */
  microBatch?: number;
  /** Models that train side by side. Default: 1. */
  models?: number;
  /** Whether activations are computed again in the backward pass. */
  recompute?: boolean;
  /** What activations and transposed copies are stored in. Default: f32. */
  dtype?: Dtype;
  /** Largest binding of the adapter, in bytes. Default: none. */
  limit?: number;
}

/** Predicts the device memory of `createTrainer`. Throws an `InputError` where a tensor exceeds the binding limit. */
export function trainingMemory(model: ModelConfig, options: TrainingMemoryOptions): TrainingMemory {
  const { batch, length, models = 1, recompute = false, dtype = "f32", limit = Infinity } = options;
  const microBatch = options.microBatch || batch;
  if (batch % microBatch !== 0) {
    throw new InputError(
      `Cannot train as the batch must be a multiple of the micro-batch: batch is ${batch}, micro-batch is ${microBatch}`,
    );
  }
  const perBank = modelsPerBank(model, { models, batch: microBatch, length }, limit);
  const ledger = ledgers();
  let largest = 0;
  createActivations(
    ledger("activations"),
    model,
    { models: perBank, batch: microBatch, length },
    { training: true, recompute, dtype },
  );
  ledger("other").buffer("step values", 16);
  ledger("other").buffer("slot", 8);
  ledger("other").buffer("report slot", 4);
  for (let first = 0; first < models; first += perBank) {
    const size = Math.min(perBank, models - first);
    const layout = planLayout(model, size, limit);
    for (const kind of ["weights", "gradients", "moments", "moments"]) addSegments(ledger(kind), layout);
    addTransposed(ledger("transposed"), layout, dtype);
    largest = Math.max(largest, largestTensor(layout));
    const other = ledger("other");
    other.buffer("sequence sums", STEPS_PER_READ * batch * size * 4);
    other.buffer("evaluated sums", batch * size * 4);
    other.buffer("gradient norms", STEPS_PER_READ * size * 4);
    other.buffer("norm sums", adamwScratch(layout.segments, size) * 4);
    other.buffer("clip", size * 4);
    other.buffer("reported", STEPS_PER_READ * (batch / microBatch) * reportsOf(model).length * size * 4);
  }
  const bytes = (kind: string) => ledger(kind).bytes;
  const kinds = {
    weights: bytes("weights"),
    transposed: bytes("transposed"),
    gradients: bytes("gradients"),
    moments: bytes("moments"),
    activations: bytes("activations"),
    other: bytes("other"),
  };
  return {
    ...kinds,
    total: sum(Object.values(kinds)),
    largest: Math.max(largest, ledger("activations").largest),
  };
}

/** Device memory of answering one prompt, in bytes. */
export interface InferenceMemory {
  /** The weights, f32. */
  weights: number;
  /** Transposed copies of the matrices. */
  transposed: number;
  /** Keys and values of every position and layer. */
  cache: number;
  /** What a pass takes beside them. */
  activations: number;
  /** All of these. */
  total: number;
}

/** What {@link inferenceMemory} takes. */
export interface InferenceMemoryOptions {
  /** Positions that keys and values are kept of: prompt and answer together. 0 keeps none, as for scoring. */
  capacity: number;
  /** Sequences that run at once. Default: 1. */
  batch?: number;
  /** Tokens of a sequence that run at once. Default: 1. */
  length?: number;
  /** Models that run side by side. Default: 1. */
  models?: number;
  /** What activations, keys, values and transposed copies are stored in. Default: f32. */
  dtype?: Dtype;
  /** Largest binding of the adapter, in bytes. Default: none. */
  limit?: number;
}

/** Predicts the device memory of generation, or of scoring. Throws an `InputError` where a tensor exceeds the binding limit. */
export function inferenceMemory(model: ModelConfig, options: InferenceMemoryOptions): InferenceMemory {
  const { capacity, batch = 1, length = 1, models = 1, dtype = "f32", limit = Infinity } = options;
  const perBank = modelsPerBank(model, { models, batch, length }, limit);
  const shape = { models: perBank, batch, length };
  const ledger = ledgers();
  createActivations(
    ledger("activations"),
    model,
    shape,
    { training: false, capacity: capacity || undefined, dtype },
  );
  for (let first = 0; first < models; first += perBank) {
    const layout = planLayout(model, Math.min(perBank, models - first), limit);
    addSegments(ledger("weights"), layout);
    addTransposed(ledger("transposed"), layout, dtype);
  }
  const sizes = { shape, mode: "decode", dtype, slots: batch, positions: capacity, sums: true } as const;
  const kept = layerOf(model).flatMap((sublayer) =>
    Object.values(sublayer.buffers(model, sizes).cache ?? {})
  );
  const cache = model.layers * sum(kept.map(({ values, storage }) => values * bytesOf(storage)));
  const kinds = {
    weights: ledger("weights").bytes,
    transposed: ledger("transposed").bytes,
    cache,
    activations: ledger("activations").bytes - cache,
  };
  return { ...kinds, total: sum(Object.values(kinds)) };
}

/** One buffer per segment, as `createBank` and `createTrainer` make them. */
function addSegments(arena: Arena, { segments, models }: Layout) {
  segments.forEach(({ size }, i) => arena.buffer(`segment ${i}`, size * models * 4));
}

function addTransposed(arena: Arena, { transposedSegments, models }: Layout, dtype: Dtype) {
  transposedSegments.forEach((size, i) => arena.buffer(`transposed ${i}`, size * models * bytesOf(dtype)));
}

type Counting = Arena & { readonly largest: number };

/** An arena that makes no buffer and counts what it would take. */
function countingArena(): Counting {
  let bytes = 0;
  let largest = 0;
  return {
    buffer(label, size): GpuBuffer {
      const wanted = typeof size === "number" ? size : size.byteLength;
      const own = Math.max(16, Math.ceil(wanted / 16) * 16); // as Gpu rounds
      bytes += own;
      largest = Math.max(largest, own);
      return { label, bytes: own, raw: undefined as unknown as GPUBuffer };
    },
    get bytes() {
      return bytes;
    },
    get largest() {
      return largest;
    },
    destroy() {},
  };
}

/** Arenas by name, made when first asked for. */
function ledgers(): (kind: string) => Counting {
  const arenas = new Map<string, Counting>();
  return (kind) => {
    if (!arenas.has(kind)) arenas.set(kind, countingArena());
    return arenas.get(kind)!;
  };
}

/** Bytes of the largest tensor of a bank, in its place or transposed; a segment is larger only by choice. */
function largestTensor({ placements, transposedPlacements, models }: Layout): number {
  const tensors = [...placements.values(), ...transposedPlacements.values()];
  return Math.max(...tensors.map(({ rows, stride }) => rows * stride)) * models * 4;
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
