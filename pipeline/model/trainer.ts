/**
 * Training steps for a bank of models that learn independently of one another: E routers at once, or one expert. Plans are made once, in
 * `trainer_group.ts`; a step uploads tokens and submits, and results are read once per many steps.
 *
 * @module
 */

import { adamwStep } from "../../kernels/adamw/adamw.ts";
import { tokenOrder } from "../../kernels/embedding/embedding.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Arena, Dispatch, Gpu, KernelTime } from "../../kernels/device/gpu.ts";
import { type HostBatch, shiftTargets } from "./batch.ts";
import { readTensors, type Weights } from "./parameters.ts";
import {
  type Group,
  groupSlice,
  planTraining,
  readEvaluated,
  readResults,
  type StepResult,
  STEPS_PER_READ,
  type TrainerOptions,
  type TrainerState,
} from "./trainer_group.ts";

export type { TrainerOptions } from "./trainer_group.ts";

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
  microBatches(options.batch, options.microBatch ?? options.batch);
  const arena = gpu.arena();
  return orDestroy(arena, () => new Trainer(gpu, arena, options));
}

/** Trains a bank of models. */
export class Trainer {
  /** Number of models. */
  readonly models: number;
  /** Steps taken so far. */
  steps: number;
  /** Frees the device memory. */
  readonly close: () => void;
  readonly #gpu: Gpu;
  readonly #arena: Arena;
  readonly #options: TrainerOptions;
  readonly #plan: ReturnType<typeof planTraining>;
  /** Tokens predicted per model, of every step since results were read. */
  #pending: Uint32Array[] = [];
  readonly #targets: Uint32Array;
  readonly #weights: Float32Array;
  readonly #order: Uint32Array;

  /** Use {@link createTrainer}. */
  constructor(gpu: Gpu, arena: Arena, options: TrainerOptions) {
    const { start, batch, length, microBatch = batch } = options;
    const from = "weights" in start ? start : { step: 0, weights: [...start], moments: [], squares: [] };
    const models = from.weights.length;
    this.#gpu = gpu;
    this.#arena = arena;
    this.#options = options;
    this.models = models;
    this.steps = from.step;
    this.close = () => arena.destroy();
    this.#plan = planTraining(gpu, arena, options, from);
    this.#targets = new Uint32Array(models * batch * length);
    this.#weights = new Float32Array(models * batch * length);
    this.#order = new Uint32Array(this.#plan.groups[0].size * microBatch * length);
  }

  /** Device memory held, in bytes. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /**
   * Takes one AdamW step of the given rate. Throws an `InputError` on a token id outside the vocabulary, a `RangeError` where
   * the batch has another shape or a span leaves its sequence, and where 64 steps wait for {@link Trainer.drain}.
   */
  step(batch: HostBatch, rate: number): void {
    for (const dispatches of this.#passes(batch, rate)) this.#gpu.submit(dispatches);
  }

  /** Takes one step as {@link Trainer.step} does, and times its kernels. */
  async profile(batch: HostBatch, rate: number): Promise<KernelTime[]> {
    const times: KernelTime[] = [];
    for (const dispatches of this.#passes(batch, rate)) times.push(...await this.#gpu.profile(dispatches));
    return times;
  }

  /**
   * Computes the NLL of a batch without learning from it: nats summed over its spans, and the tokens predicted, per model. A
   * sequence of length 0 counts for nothing.
   */
  async evaluate(batch: HostBatch): Promise<{ nll: Float64Array; predicted: Uint32Array }> {
    const predicted = this.#shift(batch, true);
    for (const [{ evaluation }] of this.#uploads(batch, STEPS_PER_READ)) this.#gpu.submit(evaluation);
    return { nll: await readEvaluated(this.#gpu, this.#plan, this.models), predicted };
  }

  /** Waits for the device and returns the results of the steps since the last call. */
  async drain(): Promise<StepResult[]> {
    const taken = this.#pending;
    this.#pending = [];
    return await readResults(this.#gpu, this.#plan, this.steps, taken);
  }

  /** Reads the weights. */
  weights(): Promise<Weights[]> {
    return this.#read("weights");
  }

  /** Reads the gradients of the last step, before clipping. */
  gradients(): Promise<Weights[]> {
    return this.#read("gradients");
  }

  /** Reads everything that a later {@link createTrainer} needs to go on bit for bit. Take no step until it has ended. */
  async state(): Promise<TrainerState> {
    const [weights, moments] = [await this.#read("weights"), await this.#read("moments")];
    return { step: this.steps, weights, moments, squares: await this.#read("squares") };
  }

  async #read(kind: keyof Group["tensors"]): Promise<Weights[]> {
    const parts: Weights[] = [];
    for (const { layout, tensors } of this.#plan.groups) {
      parts.push(...await readTensors(this.#gpu, layout, tensors[kind]));
    }
    return parts;
  }

  /** Fills targets and loss weights, and returns the tokens predicted per model. */
  #shift(batch: HostBatch, sum: boolean): Uint32Array {
    const { length, config: { vocabulary } } = this.#options;
    return shiftTargets(batch, this.models, length, vocabulary, this.#targets, this.#weights, { sum });
  }

  /** Begins a step and yields what each of its uploads has to run. */
  *#passes(batch: HostBatch, rate: number): Generator<Dispatch[]> {
    if (this.#pending.length === STEPS_PER_READ) {
      throw new RangeError(`Cannot take a step as at most ${STEPS_PER_READ} may wait to be drained`);
    }
    this.#pending.push(this.#shift(batch, false));
    this.#gpu.write(this.#plan.step, adamwStep(++this.steps, rate, this.#options.settings));
    for (const [{ passes, update }, micro] of this.#uploads(batch, this.#pending.length - 1)) {
      const pass = passes[Math.min(micro, 1)];
      yield micro === this.#plan.micros - 1 ? [...pass, ...update] : pass;
    }
  }

  /** Uploads one micro-batch of one group after another; each must be submitted before the next. Results go to place `index`. */
  *#uploads(hostBatch: HostBatch, index: number): Generator<[Group, number]> {
    const { acts, slot, reportSlot, reports, groups, batch, micros } = this.#plan;
    const { length, config: { vocabulary } } = this.#options;
    const rows = batch / micros * length;
    for (const group of groups) {
      for (let micro = 0; micro < micros; micro++) {
        const slice = <T extends Uint32Array | Float32Array>(values: T) =>
          groupSlice(values, this.models, group, micro, micros);
        const tokens = slice(hostBatch.tokens);
        for (let start = 0; start < tokens.length; start += rows) {
          const end = start + rows;
          tokenOrder(tokens.subarray(start, end), vocabulary, this.#order.subarray(start, end));
        }
        this.#gpu.write(acts.tokens, tokens);
        this.#gpu.write(acts.lengths, slice(hostBatch.lengths));
        this.#gpu.write(acts.order, this.#order.subarray(0, tokens.length));
        this.#gpu.write(acts.targets, slice(this.#targets));
        this.#gpu.write(acts.weights, slice(this.#weights));
        this.#gpu.write(slot, Uint32Array.of(index * batch + micro * batch / micros, index));
        this.#gpu.write(reportSlot, Uint32Array.of((index * micros + micro) * reports.length));
        yield [group, micro];
      }
    }
  }
}
