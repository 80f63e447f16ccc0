/**
 * The models of a trainer on the device, a group per bank: what their steps run, and how results are read.
 *
 * @module
 */

import { adamw, adamwScratch, type AdamwSettings } from "../../kernels/adamw/adamw.ts";
import { sequenceSum } from "../../kernels/cross_entropy/cross_entropy.ts";
import type { Arena, Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { reportsOf } from "./activations.ts";
import { createBanks, type OwnBank } from "./banks.ts";
import { type Weights, writeTensors } from "./parameters.ts";
import type { ModelConfig } from "./shape.ts";
import { type Gradients, planBackward, planForward, planLoss, planLossBackward } from "./transformer.ts";

/** What one step reports, one value per model. */
export interface StepResult {
  /** Number of the step, the first is 1. */
  step: number;
  /**
   * Mean NLL per predicted token in the spans of the whole batch before the step, nats, plus what sublayers
   * add to the loss.
   */
  loss: Float64Array;
  /** The mean NLL alone. */
  nll: Float64Array;
  /** Global gradient norm before clipping. */
  norm: Float32Array;
  /** What sublayers report, by name: sums over layers. */
  reports: Record<string, Float64Array>;
}

/** Everything that a training needs to go on. */
export interface TrainerState {
  /** Steps taken. */
  step: number;
  /** Weights of every model. */
  weights: Weights[];
  /** First moments of every model, by the weights' names. */
  moments: Weights[];
  /** Second moments of every model, by the weights' names. */
  squares: Weights[];
}

/** Takes `count` models of a state, from `first` on. */
export function sliceState({ step, ...lists }: TrainerState, first: number, count: number): TrainerState {
  const own = (all: Weights[]) => all.slice(first, first + count);
  return { step, weights: own(lists.weights), moments: own(lists.moments), squares: own(lists.squares) };
}

/** Puts the models of several states, all after the same step, into one. */
export function joinStates(states: readonly TrainerState[]): TrainerState {
  const all = (list: "weights" | "moments" | "squares") => states.flatMap((state) => state[list]);
  return { step: states[0].step, weights: all("weights"), moments: all("moments"), squares: all("squares") };
}

/** Steps whose results fit before they must be drained. An evaluation has the place after them. */
export const STEPS_PER_READ = 64;

/** What `createTrainer` takes. */
export interface TrainerOptions {
  /** Shape of the models. */
  config: ModelConfig;
  /** Weights of every model to start from, or a state to resume from. */
  start: readonly Weights[] | TrainerState;
  /** Sequences per model and step. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
  /** Settings of AdamW. */
  settings: AdamwSettings;
  /** Sequences per model that run at once; `batch` is a multiple of it. Default: `batch`. */
  microBatch?: number;
  /**
   * Keeps only the inputs of layers and computes the rest again in the backward pass: less memory, one more
   * forward pass.
   */
  recompute?: boolean;
  /**
   * How activations, and the matrices that products read, are stored. Arithmetic, gradients, weights and
   * AdamW are f32 in any case. Default: f32.
   */
  dtype?: Dtype;
}

/** What trains the models of one bank. */
export type Group = ReturnType<typeof planGroup>;

/** Puts all models on the device, and plans their steps, which go on from a state. */
export function planTraining(gpu: Gpu, arena: Arena, options: TrainerOptions, from: TrainerState) {
  const { config, batch, length, microBatch = batch, recompute, dtype } = options;
  const shape = { batch: microBatch, length };
  const own = { training: true, recompute, dtype };
  const { acts, banks } = createBanks(gpu, arena, config, from.weights, shape, own);
  const shared = sharedBy(arena, options);
  const groups = banks.map((bank) => planGroup(gpu, arena, bank, from, shared));
  return { acts, groups, ...shared };
}

/** What all groups of a trainer have in common. */
function sharedBy(arena: Arena, { config, batch, microBatch = batch, settings }: TrainerOptions) {
  return {
    ...{ batch, micros: batch / microBatch, settings },
    /** What AdamW's step depends on. */
    step: arena.buffer("step", 16),
    /** u32 `[2]`: where the losses of a micro-batch and the norms of a step go. */
    slot: arena.buffer("slot", 8),
    /** u32: where the reports of a micro-batch go. */
    reportSlot: arena.buffer("report slot", 4),
    reports: reportsOf(config),
  };
}

type Shared = ReturnType<typeof sharedBy>;

/** Plans what the steps of a bank's models run, which go on with these moments. */
function planGroup(
  gpu: Gpu,
  arena: Arena,
  { first, size, bank, acts, transposes }: OwnBank,
  { moments, squares }: Pick<TrainerState, "moments" | "squares">,
  { batch, micros, settings, step, slot, reportSlot, reports: { length: count } }: Shared,
) {
  const { layout, layout: { segments } } = bank;
  const like = (label: string, all: readonly Weights[]) => {
    const buffers = segments.map((segment, i) => arena.buffer(`${label} ${i}`, segment.size * size * 4));
    writeTensors(gpu, layout, buffers, all.slice(first, first + size));
    return buffers;
  };
  const tensors = {
    weights: bank.weights,
    gradients: like("gradients", []),
    moments: like("first moments", moments),
    squares: like("second moments", squares),
  };
  /** f32 `[steps + 1, batch, size]`: sums of NLL per sequence. */
  const sums = arena.buffer("sequence sums", (STEPS_PER_READ + 1) * batch * size * 4);
  /** f32 `[steps, size]`: gradient norms. */
  const norms = arena.buffer("gradient norms", STEPS_PER_READ * size * 4);
  /** f32 `[steps, micro-batches, reports, size]`: what sublayers report. */
  const reported = arena.buffer("reported", STEPS_PER_READ * micros * count * size * 4);
  const report = { slot: reportSlot, values: acts.reports, sums: reported, batch: count, length: 1 };
  /** Plans forward pass and loss, and with gradients the backward pass. */
  const pass = (gradients?: Gradients) => [
    ...planForward(gpu, bank, acts, gradients ? "train" : "score"),
    ...gradients
      ? [...planLossBackward(gpu, bank, acts, gradients), ...planBackward(gpu, bank, acts, gradients)]
      : [planLoss(gpu, bank, acts)],
    sequenceSum(gpu, { ...acts.shape, values: acts.nll, slot, sums }),
    ...gradients && count > 0 ? [sequenceSum(gpu, { ...report, models: size })] : [],
  ];
  const learn = (accumulate: boolean) => pass({ buffers: tensors.gradients, accumulate });
  return {
    ...{ first, size, layout, tensors, sums, norms, reported },
    /** What the first micro-batch of a step runs, and what each of the others runs. */
    passes: [learn(false), micros > 1 ? learn(true) : []],
    /** What a micro-batch of an evaluation runs. */
    evaluation: pass(),
    /** What runs once the gradients of all micro-batches are there. */
    update: [
      ...adamw(gpu, {
        ...settings,
        models: size,
        segments: segments.map((segment, i) => ({
          ...segment,
          weights: tensors.weights[i],
          gradients: tensors.gradients[i],
          moments: tensors.moments[i],
          squares: tensors.squares[i],
        })),
        partial: arena.buffer("norm sums", adamwScratch(segments, size) * 4),
        scale: arena.buffer("clip", size * 4),
        ...{ step, slot, norms },
      }),
      ...transposes,
    ],
  };
}

/** Copies micro-batch `micro`, of `micros`, of every model of a group out of values `[models, batch, …]`. */
export function groupSlice<T extends Uint32Array | Float32Array>(
  values: T,
  models: number,
  { first, size }: Group,
  micro: number,
  micros: number,
): T {
  const ofModel = values.length / models;
  const all = values.subarray(first * ofModel, (first + size) * ofModel) as T;
  if (micros === 1) return all;
  const ofMicro = ofModel / micros;
  const part = all.slice(0, size * ofMicro) as T;
  for (let model = 0; model < size; model++) {
    const start = model * ofModel + micro * ofMicro;
    part.set(all.subarray(start, start + ofMicro), model * ofMicro);
  }
  return part;
}

/**
 * Reads what the last steps reported, up to step number `step`; `predicted` holds the tokens that each of them predicted, per model.
 */
export async function readResults(
  gpu: Gpu,
  { groups, batch, micros, reports }: ReturnType<typeof planTraining>,
  step: number,
  predicted: readonly Uint32Array[],
): Promise<StepResult[]> {
  const results = predicted.map(({ length: models }, i): StepResult => ({
    step: step - predicted.length + i + 1,
    loss: new Float64Array(models),
    nll: new Float64Array(models),
    norm: new Float32Array(models),
    reports: Object.fromEntries(reports.map(({ name }) => [name, new Float64Array(models)])),
  }));
  const perStep = micros * reports.length;
  const buffers = await gpu.read(groups.flatMap(({ sums, norms, reported, size }) => [
    { buffer: sums, bytes: predicted.length * batch * size * 4 },
    { buffer: norms, bytes: predicted.length * size * 4 },
    { buffer: reported, bytes: predicted.length * perStep * size * 4 },
  ]));
  groups.forEach(({ first, size }, g) => {
    const [sums, norms, reported] = buffers.slice(3 * g, 3 * g + 3).map((part) => new Float32Array(part));
    reported.forEach((value, i) => {
      const { name } = reports[Math.floor(i / size) % reports.length];
      results[Math.floor(i / size / perStep)].reports[name][first + i % size] += value;
    });
    sums.forEach((sum, i) => results[Math.floor(i / size / batch)].loss[first + i % size] += sum);
    norms.forEach((norm, i) => results[Math.floor(i / size)].norm[first + i % size] = norm);
  });
  const added = reports.flatMap(({ name, loss }) => loss ? [name] : []);
  for (const [i, { loss, nll, reports }] of results.entries()) {
    loss.forEach((sum, model) => nll[model] = loss[model] = sum / predicted[i][model]);
    for (const name of new Set(added)) reports[name].forEach((value, model) => loss[model] += value);
  }
  return results;
}

/** Reads the NLL of the last batch of an evaluation, summed over its spans: nats, per model. */
export async function readEvaluated(
  gpu: Gpu,
  { groups, batch }: ReturnType<typeof planTraining>,
  models: number,
): Promise<Float64Array> {
  const nll = new Float64Array(models);
  const sums = await gpu.read(groups.map(({ sums: buffer, size }) => {
    const bytes = batch * size * 4;
    return { buffer, byteOffset: STEPS_PER_READ * bytes, bytes };
  }));
  groups.forEach(({ first, size }, g) => {
    new Float32Array(sums[g]).forEach((sum, i) => nll[first + i % size] += sum);
  });
  return nll;
}
