/**
 * Training steps for a bank of models that learn independently of one another: E routers at once, or one expert.
 * Plans are made once; a step uploads tokens and submits, and results are read once per many steps.
 */

import { adamw, adamwScratch, type AdamwSettings, adamwStep } from "../../kernels/adamw/adamw.ts";
import { sequenceSum } from "../../kernels/cross_entropy/cross_entropy.ts";
import { tokenOrder } from "../../kernels/embedding/embedding.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Arena, Dispatch, Gpu, GpuBuffer, KernelTime } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { type HostBatch, shiftTargets } from "./batch.ts";
import type { ModelConfig } from "./shape.ts";
import { createBank, readTensors, type Weights, writeTensors } from "./parameters.ts";
import {
  type Activations,
  createActivations,
  type Gradients,
  logitsBudget,
  modelsPerBank,
  planBackward,
  planForward,
  planLoss,
  planTransposes,
  reportsOf,
} from "./transformer.ts";

/** What one step reports, one value per model. */
export interface StepResult {
  /** Number of the step, the first is 1. */
  step: number;
  /** Mean NLL per predicted token in the spans of the whole batch before the step, nats, and what sublayers add to the loss. */
  loss: Float64Array;
  /** The mean NLL alone. */
  nll: Float64Array;
  /** Global gradient norm before clipping. */
  norm: Float32Array;
  /** What sublayers report, by name: sums over layers. */
  reports: Record<string, Float64Array>;
}

/** Everything that training goes on from. */
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

/** What {@link createTrainer} takes. */
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
  /** Keeps only layer inputs and computes the rest again in the backward pass: less memory, a forward pass more. */
  recompute?: boolean;
  /**
   * What activations, and the matrices that products read, are stored in: arithmetic, gradients, weights and AdamW are f32
   * in any case. Default: f32.
   */
  dtype?: Dtype;
  /**
   * Gives every model the bits that it has in a bank of its own, whatever the vocabulary: logits of as many rows of each at once take
   * more memory.
   */
  asAlone?: boolean;
}

/** Trains a bank of models. */
export interface Trainer {
  /** Number of models. */
  readonly models: number;
  /** Steps taken so far. */
  readonly steps: number;
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /**
   * Takes one AdamW step of the given rate. Throws an `InputError` on a token id outside the vocabulary, a `RangeError` where
   * the batch has another shape or a span leaves its sequence, and where 64 steps wait for {@link Trainer.drain}.
   */
  step(batch: HostBatch, rate: number): void;
  /**
   * Computes the NLL of a batch without learning from it: nats summed over its spans, and the tokens predicted, per model. A
   * sequence of length 0 counts for nothing.
   */
  evaluate(batch: HostBatch): Promise<{ nll: Float64Array; predicted: Uint32Array }>;
  /** Waits for the device and returns the results of the steps since the last call. */
  drain(): Promise<StepResult[]>;
  /** Reads the weights. */
  weights(): Promise<Weights[]>;
  /** Reads the gradients of the last step, before clipping. */
  gradients(): Promise<Weights[]>;
  /** Reads everything that a later {@link createTrainer} needs to go on bit for bit. Take no step until it has ended. */
  state(): Promise<TrainerState>;
  /** Takes one step as {@link Trainer.step} does, and times its kernels. */
  profile(batch: HostBatch, rate: number): Promise<KernelTime[]>;
  /** Frees the device memory. */
  close(): void;
}

/** Steps whose results fit before they must be drained. */
export const STEPS_PER_READ = 64;

/** Counts the micro-batches of a batch. Throws an `InputError` where it does not split into them. */
export function microBatches(batch: number, microBatch: number): number {
  if (batch % microBatch === 0) return batch / microBatch;
  const name = setting("microBatch");
  throw new InputError(
    say`Cannot train as the batch must be a multiple of ${name}: batch is ${batch}, ${name} is ${microBatch}`,
  );
}

/** Makes the buffers that all groups use in turn: what AdamW's step depends on, where its results and sublayers' reports go. */
const sharedBuffers = (arena: Arena, acts: Activations) => ({
  arena,
  acts,
  step: arena.buffer("step values", 16),
  slot: arena.buffer("slot", 8),
  reportSlot: arena.buffer("report slot", 4),
});

/** Puts the models of one bank on the device and plans what their steps run. */
function planGroup(
  gpu: Gpu,
  { config, batch, settings, dtype }: TrainerOptions,
  { arena, acts, step, slot, reportSlot }: ReturnType<typeof sharedBuffers>,
  { weights, moments, squares }: Omit<TrainerState, "step">,
) {
  const size = weights.length;
  const bank = createBank(gpu, arena, config, weights, dtype);
  const { segments } = bank.layout;
  const like = (label: string, start: readonly Weights[]) => {
    const buffers = segments.map((segment, i) => arena.buffer(`${label} ${i}`, segment.size * size * 4));
    writeTensors(gpu, bank.layout, buffers, start);
    return buffers;
  };
  const tensors = {
    weights: bank.weights,
    gradients: like("gradients", []),
    moments: like("first moments", moments),
    squares: like("second moments", squares),
  };
  const own = { ...acts, shape: { ...acts.shape, models: size } };
  const sums = arena.buffer("sequence sums", STEPS_PER_READ * batch * size * 4);
  const norms = arena.buffer("gradient norms", STEPS_PER_READ * size * 4);
  const evaluated = arena.buffer("evaluated sums", batch * size * 4);
  const reports = reportsOf(config).length;
  const reported = arena.buffer("reported", STEPS_PER_READ * (batch / acts.shape.batch) * reports * size * 4);
  const report = { slot: reportSlot, values: own.reports, sums: reported };
  const transposes = planTransposes(gpu, bank);
  gpu.submit(transposes);
  /** Forward pass and loss; with gradients also the way back. */
  const pass = (sums: GpuBuffer, gradients?: Gradients) => [
    ...planForward(gpu, bank, own, gradients ? "train" : "score"),
    ...planLoss(gpu, bank, own, gradients),
    ...gradients ? planBackward(gpu, bank, own, gradients) : [],
    sequenceSum(gpu, { ...own.shape, values: own.nll, slot, sums }),
    ...gradients && reports > 0
      ? [sequenceSum(gpu, { ...report, models: size, batch: reports, length: 1 })]
      : [],
  ];
  const learn = (accumulate: boolean) => pass(sums, { buffers: tensors.gradients, accumulate });
  return {
    ...{ size, layout: bank.layout, tensors, sums, norms, reported, evaluated },
    passes: [learn(false), acts.shape.batch < batch ? learn(true) : []],
    evaluation: pass(evaluated),
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
        step,
        slot,
        norms,
      }),
      ...transposes,
    ],
  };
}

/**
 * Plans training steps of one shape. Throws an `InputError` where a tensor cannot fit the adapter or the batch does not split.
 */
export function createTrainer(gpu: Gpu, options: TrainerOptions): Trainer {
  if (options.config.untied) {
    throw new InputError(
      "Cannot train as the output head must be tied to the embedding: it is a matrix of its own",
    );
  }
  const { config, start, batch, length, settings, microBatch = batch, recompute, dtype, asAlone } = options;
  const from = "weights" in start ? start : { step: 0, weights: start, moments: [], squares: [] };
  const models = from.weights.length;
  const micros = microBatches(batch, microBatch);
  const arena = gpu.arena();
  const shape = { models, batch: microBatch, length };
  const perBank = modelsPerBank(config, shape, gpu.maxBindingBytes);
  const forBank = { ...shape, models: perBank };
  const logitsBytes = logitsBudget(gpu.kind, gpu.maxBindingBytes);
  const acts = createActivations(arena, config, forBank, {
    training: true,
    recompute,
    dtype,
    logitsBytes,
    kind: gpu.kind,
    asAlone,
  });
  const shared = sharedBuffers(arena, acts);
  const reports = reportsOf(config);
  const groups = Array.from({ length: Math.ceil(models / perBank) }, (_, i) => {
    const first = i * perBank;
    const own = (all: readonly Weights[]) => all.slice(first, first + perBank);
    const state = { weights: own(from.weights), moments: own(from.moments), squares: own(from.squares) };
    return { first, ...planGroup(gpu, options, shared, state) };
  });
  type Group = typeof groups[number];

  let steps = from.step;
  let pending: Uint32Array[] = []; // tokens predicted per model, of every step since the last drain
  const targets = new Uint32Array(models * batch * length);
  const lossWeights = new Float32Array(models * batch * length);
  const rows = microBatch * length;
  const order = new Uint32Array(perBank * rows);

  /** Copies sequences `micro` of every model of the group out of `[models, batch, …]`. */
  function slice<T extends Uint32Array | Float32Array>(values: T, { first, size }: Group, micro: number): T {
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

  /** Fills `targets` and `lossWeights` and returns the tokens predicted per model. */
  function shift(hostBatch: HostBatch, sum: boolean): Uint32Array {
    const expected = models * batch;
    if (hostBatch.lengths.length !== expected || hostBatch.tokens.length !== expected * length) {
      throw new RangeError(
        `Cannot take a step as the batch must hold ${expected} sequences of ${length} tokens: it holds ` +
          `${hostBatch.lengths.length} lengths and ${hostBatch.tokens.length} tokens`,
      );
    }
    return shiftTargets(hostBatch, models, length, config.vocabulary, targets, lossWeights, { sum });
  }

  /** Uploads one micro-batch of one group after another; each must be submitted before the next. Results go to place `index`. */
  function* uploads(hostBatch: HostBatch, index: number): Generator<[Group, number]> {
    for (const group of groups) {
      for (let micro = 0; micro < micros; micro++) {
        const tokens = slice(hostBatch.tokens, group, micro);
        for (let start = 0; start < tokens.length; start += rows) {
          const end = start + rows;
          tokenOrder(tokens.subarray(start, end), config.vocabulary, order.subarray(start, end));
        }
        gpu.write(acts.tokens, tokens);
        gpu.write(acts.lengths, slice(hostBatch.lengths, group, micro));
        gpu.write(acts.order, order.subarray(0, tokens.length));
        gpu.write(acts.targets, slice(targets, group, micro));
        gpu.write(acts.weights, slice(lossWeights, group, micro));
        gpu.write(shared.slot, Uint32Array.of(index * batch + micro * microBatch, index));
        gpu.write(shared.reportSlot, Uint32Array.of((index * micros + micro) * reports.length));
        yield [group, micro];
      }
    }
  }

  /** Begins a step and yields what each of its uploads has to run. */
  function* passes(hostBatch: HostBatch, rate: number): Generator<Dispatch[]> {
    if (pending.length === STEPS_PER_READ) {
      throw new RangeError(`Cannot take a step as at most ${STEPS_PER_READ} may wait to be drained`);
    }
    pending.push(shift(hostBatch, false));
    gpu.write(shared.step, adamwStep(++steps, rate, settings));
    for (const [{ passes, update }, micro] of uploads(hostBatch, pending.length - 1)) {
      const pass = passes[Math.min(micro, 1)];
      yield micro === micros - 1 ? [...pass, ...update] : pass;
    }
  }

  const read = async (kind: keyof Group["tensors"]) => {
    const parts: Weights[] = [];
    for (const { layout, tensors } of groups) parts.push(...await readTensors(gpu, layout, tensors[kind]));
    return parts;
  };

  return {
    models,
    get steps() {
      return steps;
    },
    get bytes() {
      return arena.bytes;
    },
    step(hostBatch, rate) {
      for (const dispatches of passes(hostBatch, rate)) gpu.submit(dispatches);
    },
    async profile(hostBatch, rate) {
      const times: KernelTime[] = [];
      for (const dispatches of passes(hostBatch, rate)) times.push(...await gpu.profile(dispatches));
      return times;
    },
    async evaluate(hostBatch) {
      const predicted = shift(hostBatch, true);
      const nll = new Float64Array(models);
      for (const [{ evaluation }] of uploads(hostBatch, 0)) gpu.submit(evaluation);
      const sums = await gpu.read(
        groups.map(({ evaluated, size }) => ({ buffer: evaluated, bytes: batch * size * 4 })),
      );
      groups.forEach(({ first, size }, g) => {
        new Float32Array(sums[g]).forEach((sum, i) => nll[first + i % size] += sum);
      });
      return { nll, predicted };
    },
    async drain() {
      const taken = pending;
      pending = [];
      const results = taken.map((_, i): StepResult => ({
        step: steps - taken.length + i + 1,
        loss: new Float64Array(models),
        nll: new Float64Array(models),
        norm: new Float32Array(models),
        reports: Object.fromEntries(reports.map(({ name }) => [name, new Float64Array(models)])),
      }));
      const perStep = micros * reports.length;
      const buffers = await gpu.read(groups.flatMap(({ sums, norms, reported, size }) => [
        { buffer: sums, bytes: taken.length * batch * size * 4 },
        { buffer: norms, bytes: taken.length * size * 4 },
        { buffer: reported, bytes: taken.length * perStep * size * 4 },
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
      const added = new Set(reports.flatMap(({ name, loss }) => loss ? [name] : []));
      for (const [i, { loss, nll, reports }] of results.entries()) {
        loss.forEach((sum, model) => nll[model] = loss[model] = sum / taken[i][model]);
        for (const name of added) reports[name].forEach((value, model) => loss[model] += value);
      }
      return results;
    },
    weights: () => read("weights"),
    gradients: () => read("gradients"),
    async state() {
      const [weights, moments] = [await read("weights"), await read("moments")];
      return { step: steps, weights, moments, squares: await read("squares") };
    },
    close: () => arena.destroy(),
  };
}
