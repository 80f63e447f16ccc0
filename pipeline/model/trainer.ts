/**
 * Training steps for a bank of models that learn independently of one another: E routers at once, or one expert. Plans are made once, in
 * `trainer_group.ts`; a step uploads tokens and submits, and results are read once per many steps.
 *
 * @module
 */

import { type AdamwSettings, adamwStep } from "../../kernels/adamw/adamw.ts";
import { tokenOrder } from "../../kernels/embedding/embedding.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Arena, Dispatch, Gpu, KernelTime } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { type HostBatch, shiftTargets } from "./batch.ts";
import type { ModelConfig } from "./shape.ts";
import { readTensors, type Weights } from "./parameters.ts";
import { createActivations, logitsBudget, modelsPerBank, reportsOf } from "./activations.ts";
import {
  type Group,
  groupSlice,
  planGroup,
  readEvaluated,
  readResults,
  type SharedBuffers,
  sharedBuffers,
  type StepResult,
  STEPS_PER_READ,
  type TrainerState,
} from "./trainer_group.ts";

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
  /**
   * Gives every model the bits that it has in a bank of so many, whatever the vocabulary: as many rows of its
   * logits are held at once. For fewer models than the bank has, that takes more memory. Default: the models
   * of this bank.
   */
  asInBankOf?: number;
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

/** Counts the micro-batches of a batch. Throws an `InputError` where it does not split into them. */
export function microBatches(batch: number, microBatch: number): number {
  if (batch % microBatch === 0) return batch / microBatch;
  const name = setting("microBatch");
  throw new InputError(
    say`Cannot train as the batch must be a multiple of ${name}: batch is ${batch}, ${name} is ${microBatch}`,
  );
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
  const { config, start, batch, length, settings, microBatch = batch } = options;
  const from = "weights" in start ? start : { step: 0, weights: start, moments: [], squares: [] };
  const models = from.weights.length;
  const micros = microBatches(batch, microBatch);
  const sizes = { models, batch, micros };
  const arena = gpu.arena();
  const { groups, shared } = orDestroy(arena, () => planGroups(gpu, arena, options, from));
  const reports = reportsOf(config);

  let steps = from.step;
  let pending: Uint32Array[] = []; // tokens predicted per model, of every step since the last drain
  const targets = new Uint32Array(models * batch * length);
  const lossWeights = new Float32Array(models * batch * length);
  const rows = microBatch * length;
  const order = new Uint32Array(groups[0].size * rows);

  /** Fills `targets` and `lossWeights` and returns the tokens predicted per model. */
  const shift = (hostBatch: HostBatch, sum: boolean): Uint32Array =>
    shiftTargets(hostBatch, models, length, config.vocabulary, targets, lossWeights, { sum });

  /** Uploads one micro-batch of one group after another; each must be submitted before the next. Results go to place `index`. */
  function* uploads(hostBatch: HostBatch, index: number): Generator<[Group, number]> {
    const { acts, slot, reportSlot } = shared;
    for (const group of groups) {
      for (let micro = 0; micro < micros; micro++) {
        const slice = <T extends Uint32Array | Float32Array>(values: T) =>
          groupSlice(values, sizes, group, micro);
        const tokens = slice(hostBatch.tokens);
        for (let start = 0; start < tokens.length; start += rows) {
          const end = start + rows;
          tokenOrder(tokens.subarray(start, end), config.vocabulary, order.subarray(start, end));
        }
        gpu.write(acts.tokens, tokens);
        gpu.write(acts.lengths, slice(hostBatch.lengths));
        gpu.write(acts.order, order.subarray(0, tokens.length));
        gpu.write(acts.targets, slice(targets));
        gpu.write(acts.weights, slice(lossWeights));
        gpu.write(slot, Uint32Array.of(index * batch + micro * microBatch, index));
        gpu.write(reportSlot, Uint32Array.of((index * micros + micro) * reports.length));
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
      for (const [{ evaluation }] of uploads(hostBatch, 0)) gpu.submit(evaluation);
      return { nll: await readEvaluated(gpu, groups, sizes), predicted };
    },
    async drain() {
      const taken = pending;
      pending = [];
      return await readResults(gpu, groups, sizes, reports, steps, taken);
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

/** Puts all models on the device, as many in a group as a binding holds, and makes the buffers that groups share. */
function planGroups(
  gpu: Gpu,
  arena: Arena,
  options: TrainerOptions,
  from: Record<"weights" | "moments" | "squares", readonly Weights[]>,
): { groups: Group[]; shared: SharedBuffers } {
  const { config, batch, length, microBatch = batch, recompute, dtype, asInBankOf } = options;
  const models = from.weights.length;
  const shape = { models, batch: microBatch, length };
  const logitsBytes = logitsBudget(gpu.kind, gpu.maxBindingBytes);
  const perBankOf = (models: number, options = {}) =>
    modelsPerBank(config, { ...shape, models }, gpu.maxBindingBytes, options);
  const logits = { logitsBytes, asInBankOf: asInBankOf && perBankOf(asInBankOf) };
  const perBank = perBankOf(models, logits);
  const acts = createActivations(arena, config, { ...shape, models: perBank }, {
    training: true,
    recompute,
    dtype,
    kind: gpu.kind,
    ...logits,
  });
  const shared = sharedBuffers(arena, acts);
  const groups = Array.from({ length: Math.ceil(models / perBank) }, (_, i) => {
    const first = i * perBank;
    const own = (all: readonly Weights[]) => all.slice(first, first + perBank);
    const state = { weights: own(from.weights), moments: own(from.moments), squares: own(from.squares) };
    return planGroup(gpu, options, shared, first, state);
  });
  return { groups, shared };
}
