/**
 * Training steps for a bank of models that learn independently of one another: E routers at once,
 * or one expert. All that a step runs is planned once; a step uploads tokens and submits, and
 * results are read once per many steps.
 */

import { adamw, adamwScratch, type AdamwSettings, adamwStep } from "../../kernels/adamw/adamw.ts";
import { sequenceSum } from "../../kernels/cross_entropy/cross_entropy.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import { splitWork, SUBMIT_MULTIPLICATIONS } from "../../kernels/device/dispatch.ts";
import type { Arena, Dispatch, Gpu, KernelTime } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { tokenOrder } from "../../kernels/embedding/embedding.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Activations, listReports } from "./activations.ts";
import {
  createBanks,
  type PreparedBank,
  readTensors,
  type Weights,
  writeTensors,
} from "./parameters.ts";
import { type HostBatch, shiftTargets } from "./batch.ts";
import type { ModelConfig } from "./shape.ts";
import {
  type Gradients,
  planBackward,
  planForward,
  planLoss,
  planLossBackward,
} from "./transformer.ts";

/** What one step reports, one value per model. */
export interface StepResult {
  /** Number of the step, the first is 1. */
  step: number;
  /**
   * Mean NLL per predicted token of the whole batch before the step, nats, plus what sublayers
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

/** Makes the state of models before their first step: moments are zero. */
export function freshState(weights: readonly Weights[]): TrainerState {
  return { step: 0, weights: [...weights], moments: [], squares: [] };
}

/** Takes `count` models of a state, from `first` on. */
export function sliceState(
  { step, ...lists }: TrainerState,
  first: number,
  count: number,
): TrainerState {
  const slice = (models: Weights[]) => models.slice(first, first + count);
  return {
    step,
    weights: slice(lists.weights),
    moments: slice(lists.moments),
    squares: slice(lists.squares),
  };
}

/** Puts the models of several states, all after the same step, into one. */
export function joinStates(states: readonly TrainerState[]): TrainerState {
  const all = (list: "weights" | "moments" | "squares") => states.flatMap((state) => state[list]);
  return {
    step: states[0].step,
    weights: all("weights"),
    moments: all("moments"),
    squares: all("squares"),
  };
}

/** Steps whose results fit before they must be drained. An evaluation has the place after them. */
export const STEPS_PER_READ = 64;

/** About how long a step that is to end early works between two waits. A wait costs some 10 ms. */
const WAIT_MS = 1000;

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
   * Keeps only the inputs of layers and computes the rest again in the backward pass: less memory,
   * one more forward pass.
   */
  recompute?: boolean;
  /**
   * How activations, and the matrices that products read, are stored. Arithmetic, gradients,
   * weights and AdamW are f32 in any case. Default: f32.
   */
  dtype?: Dtype;
}

/**
 * Counts the micro-batches of a batch. Throws an `InputError` where it does not split into them.
 */
export function microBatches(batch: number, microBatch: number): number {
  if (batch % microBatch === 0) return batch / microBatch;
  const name = setting("microBatch");
  throw new InputError(
    say`Cannot train as the batch must be a multiple of ${name}: \
batch is ${batch}, ${name} is ${microBatch}`,
  );
}

/** Makes the buffers that all banks of a trainer share next to activations. */
function createShared(
  arena: Arena,
  { config, batch, microBatch = batch, settings }: TrainerOptions,
) {
  return {
    batch,
    micros: microBatches(batch, microBatch),
    settings,
    reports: listReports(config),
    step: arena.buffer("step", 16), // f32 `[4]` from adamwStep
    slot: arena.buffer("slot", 8), // u32 `[2]`: where the losses of a micro-batch and the norms go
    reportSlot: arena.buffer("report slot", 4), // u32: where the reports of a micro-batch go
  };
}

/** Plans the steps of the models of one bank, which continue from these moments. */
function planGroup(
  gpu: Gpu,
  arena: Arena,
  { first, size, bank, acts, transposes }: PreparedBank,
  { moments, squares }: Pick<TrainerState, "moments" | "squares">,
  { batch, micros, settings, step, slot, reportSlot, reports: { length: count } }: ReturnType<
    typeof createShared
  >,
) {
  const { layout, layout: { segments } } = bank;
  const makeBuffers = (label: string, all: readonly Weights[]) => {
    const buffers = segments.map((segment, i) =>
      arena.buffer(`${label} ${i}`, segment.size * size * 4)
    );
    writeTensors(gpu, layout, buffers, all.slice(first, first + size));
    return buffers;
  };
  const tensors = {
    weights: bank.weights,
    gradients: makeBuffers("gradients", []),
    moments: makeBuffers("first moments", moments),
    squares: makeBuffers("second moments", squares),
  };
  /** f32 `[steps + 1, batch, size]`: sums of NLL per sequence. */
  const sums = arena.buffer("sequence sums", (STEPS_PER_READ + 1) * batch * size * 4);
  /** f32 `[steps, size]`: gradient norms. */
  const norms = arena.buffer("gradient norms", STEPS_PER_READ * size * 4);
  /** f32 `[steps, micro-batches, reports, size]`: what sublayers report. */
  const reported = arena.buffer("reported", STEPS_PER_READ * micros * count * size * 4);
  const report = {
    slot: reportSlot,
    values: acts.reports,
    sums: reported,
    batch: count,
    length: 1,
  };
  /** Plans forward pass and loss, and with gradients the backward pass. */
  const pass = (gradients?: Gradients) => [
    ...planForward(gpu, bank, acts, gradients ? "train" : "score"),
    ...gradients
      ? [
        ...planLossBackward(gpu, bank, acts, gradients),
        ...planBackward(gpu, bank, acts, gradients),
      ]
      : [planLoss(gpu, bank, acts)],
    sequenceSum(gpu, { ...acts.shape, values: acts.nll, slot, sums }),
    ...gradients && count > 0 ? [sequenceSum(gpu, { ...report, models: size })] : [],
  ];
  const learn = (accumulate: boolean) => pass({ buffers: tensors.gradients, accumulate });
  return {
    first,
    size,
    layout,
    tensors,
    sums,
    norms,
    reported,
    /** The passes of the first micro-batch of a step, and of each later one. */
    passes: [learn(false), micros > 1 ? learn(true) : []],
    evaluation: pass(),
    /** Runs after the gradients of all micro-batches are added up. */
    update: [
      ...adamw(gpu, {
        ...settings,
        ...tensors,
        segments,
        models: size,
        step,
        slot,
        norms,
        partial: arena.buffer("norm sums", adamwScratch(segments, size) * 4),
        scale: arena.buffer("clip", size * 4),
      }),
      ...transposes,
    ],
  };
}

type Group = ReturnType<typeof planGroup>;

/**
 * Plans training steps of one shape. Throws an `InputError` where a tensor cannot fit the adapter
 * or the batch does not split.
 */
export function createTrainer(gpu: Gpu, options: TrainerOptions): Trainer {
  const arena = gpu.arena();
  return orDestroy(arena, () => new Trainer(gpu, arena, options));
}

/** Trains a bank of models. */
export class Trainer {
  /** Number of models. */
  readonly models: number;
  /** Steps taken so far. */
  steps: number;
  readonly #shared: ReturnType<typeof createShared>;
  readonly #acts: Activations;
  readonly #groups: Group[];
  /** Tokens predicted per model, of every step since results were read. */
  #pending: Uint32Array[] = [];
  readonly #targets: Uint32Array;
  readonly #weights: Float32Array;
  readonly #order: Uint32Array;
  /** Multiplications that the device takes about a second for, as far as is known. */
  #patience: number;

  /** Use {@link createTrainer}. */
  constructor(
    private readonly gpu: Gpu,
    private readonly arena: Arena,
    private readonly options: TrainerOptions,
  ) {
    const { config, start, batch, length, microBatch = batch, recompute, dtype } = options;
    const state = "weights" in start ? start : freshState(start);
    const models = state.weights.length;
    const shared = this.#shared = createShared(arena, options);
    const shape = { batch: microBatch, length };
    const passOptions = { training: true, recompute, dtype };
    const { acts, banks } = createBanks(gpu, arena, config, state.weights, shape, passOptions);
    this.#acts = acts;
    this.#groups = banks.map((bank) => planGroup(gpu, arena, bank, state, shared));
    this.#patience = SUBMIT_MULTIPLICATIONS[gpu.kind];
    this.models = models;
    this.steps = state.step;
    this.#targets = new Uint32Array(models * batch * length);
    this.#weights = new Float32Array(models * batch * length);
    this.#order = new Uint32Array(banks[0].size * microBatch * length);
  }

  /** Device memory held, in bytes. */
  get bytes(): number {
    return this.arena.bytes;
  }

  /** Frees the device memory. */
  close(): void {
    this.arena.destroy();
  }

  /**
   * Takes one AdamW step of the given rate. Throws an `InputError` on a token id outside the
   * vocabulary. Throws a `RangeError` where the batch has another shape, or 64 steps wait for
   * {@link Trainer.drain}.
   */
  step(batch: HostBatch, rate: number): void {
    for (const [pass, update] of this.#passes(batch, rate)) this.gpu.submit([...pass, ...update]);
  }

  /**
   * Takes one step as {@link Trainer.step} does, but where it takes more than about a second, waits
   * for the device now and then. If `isStopped` says so at such a moment, it leaves the step off:
   * the models are those before it. Gives whether the step was taken.
   */
  async stepUnless(isStopped: () => boolean, batch: HostBatch, rate: number): Promise<boolean> {
    const { gpu } = this;
    let waiting = 0; // multiplications since the last wait
    let since = performance.now();
    let isUpdated = false; // whether models have changed, those of one group before those of others
    for (const [pass, update] of this.#passes(batch, rate)) {
      const parts = splitWork(pass, gpu.kind);
      for (const [i, part] of parts.entries()) {
        const updates = i === parts.length - 1 ? update : [];
        gpu.submit([...part, ...updates]);
        isUpdated ||= updates.length > 0;
        waiting += part.reduce((sum, { multiplications }) => sum + multiplications, 0);
        if (waiting < this.#patience) continue;
        await gpu.read([{ buffer: gpu.empty, bytes: 4 }]);
        const time = performance.now();
        this.#patience = waiting * WAIT_MS / (time - since);
        [waiting, since] = [0, time];
        if (isUpdated || !isStopped()) continue;
        this.#pending.pop();
        this.steps--;
        return false;
      }
    }
    return true;
  }

  /** Takes one step as {@link Trainer.step} does, and times its kernels. */
  async profile(batch: HostBatch, rate: number): Promise<KernelTime[]> {
    const times: KernelTime[] = [];
    for (const [pass, update] of this.#passes(batch, rate)) {
      times.push(...await this.gpu.profile([...pass, ...update]));
    }
    return times;
  }

  /**
   * Computes the NLL of a batch without learning from it: nats summed over the tokens that count,
   * and the tokens predicted, per model. A sequence of length 0 counts for nothing.
   */
  async evaluate(batch: HostBatch): Promise<{ nll: Float64Array; predicted: Uint32Array }> {
    const predicted = this.#shift(batch, true);
    for (const [{ evaluation }] of this.#uploads(batch, STEPS_PER_READ)) {
      this.gpu.submit(evaluation);
    }
    const nll = new Float64Array(this.models);
    const sums = await this.gpu.read(this.#groups.map(({ sums: buffer, size }) => {
      const bytes = this.options.batch * size * 4;
      return { buffer, byteOffset: STEPS_PER_READ * bytes, bytes };
    }));
    this.#groups.forEach(({ first, size }, g) => {
      new Float32Array(sums[g]).forEach((sum, i) => nll[first + i % size] += sum);
    });
    return { nll, predicted };
  }

  /** Waits for the device and returns the results of the steps since the last call. */
  async drain(): Promise<StepResult[]> {
    const { batch, micros, reports } = this.#shared;
    const [predicted, models] = [this.#pending, this.models];
    this.#pending = [];
    const results = predicted.map((_, i): StepResult => ({
      step: this.steps - predicted.length + i + 1,
      loss: new Float64Array(models),
      nll: new Float64Array(models),
      norm: new Float32Array(models),
      reports: Object.fromEntries(reports.map(({ name }) => [name, new Float64Array(models)])),
    }));
    const perStep = micros * reports.length;
    const buffers = await this.gpu.read(this.#groups.flatMap(({ sums, norms, reported, size }) => [
      { buffer: sums, bytes: predicted.length * batch * size * 4 },
      { buffer: norms, bytes: predicted.length * size * 4 },
      { buffer: reported, bytes: predicted.length * perStep * size * 4 },
    ]));
    this.#groups.forEach(({ first, size }, g) => {
      const [sums, norms, reported] = buffers.slice(3 * g, 3 * g + 3).map((part) =>
        new Float32Array(part)
      );
      sums.forEach((sum, i) => results[Math.floor(i / size / batch)].nll[first + i % size] += sum);
      norms.forEach((norm, i) => results[Math.floor(i / size)].norm[first + i % size] = norm);
      reported.forEach((value, i) => {
        const { name } = reports[Math.floor(i / size) % reports.length];
        results[Math.floor(i / size / perStep)].reports[name][first + i % size] += value;
      });
    });
    const added = new Set(reports.flatMap(({ name, loss }) => loss ? [name] : []));
    results.forEach(({ loss, nll, reports }, i) => {
      nll.forEach((sum, model) => loss[model] = nll[model] = sum / predicted[i][model]);
      for (const name of added) reports[name].forEach((value, model) => loss[model] += value);
    });
    return results;
  }

  /** Reads the weights. */
  weights(): Promise<Weights[]> {
    return this.#read("weights");
  }

  /** Reads the gradients of the last step, before clipping. */
  gradients(): Promise<Weights[]> {
    return this.#read("gradients");
  }

  /**
   * Reads everything that a later {@link createTrainer} needs to go on bit for bit. Take no step
   * until it has ended.
   */
  async state(): Promise<TrainerState> {
    const [weights, moments] = [await this.#read("weights"), await this.#read("moments")];
    return { step: this.steps, weights, moments, squares: await this.#read("squares") };
  }

  async #read(kind: keyof Group["tensors"]): Promise<Weights[]> {
    const parts: Weights[] = [];
    for (const { layout, tensors, size } of this.#groups) {
      parts.push(...await readTensors(this.gpu, layout, tensors[kind], size));
    }
    return parts;
  }

  /** Fills targets and loss weights, and returns the tokens predicted per model. */
  #shift(batch: HostBatch, sum: boolean): Uint32Array {
    const { length, config: { vocabulary } } = this.options;
    return shiftTargets(batch, this.models, length, vocabulary, this.#targets, this.#weights, {
      sum,
    });
  }

  /** Begins a step and yields what each of its uploads runs: a pass, and what updates models. */
  *#passes(batch: HostBatch, rate: number): Generator<[pass: Dispatch[], update: Dispatch[]]> {
    if (this.#pending.length === STEPS_PER_READ) {
      throw new RangeError(
        `Cannot take a step as at most ${STEPS_PER_READ} may wait to be drained`,
      );
    }
    this.#pending.push(this.#shift(batch, false));
    this.gpu.write(this.#shared.step, adamwStep(++this.steps, rate, this.options.settings));
    for (const [{ passes, update }, micro] of this.#uploads(batch, this.#pending.length - 1)) {
      const pass = passes[Math.min(micro, 1)];
      yield [pass, micro === this.#shared.micros - 1 ? update : []];
    }
  }

  /**
   * Uploads one micro-batch of one group after another; each must be submitted before the next.
   * Results go to place `index`.
   */
  *#uploads(hostBatch: HostBatch, index: number): Generator<[Group, number]> {
    const { slot, reportSlot, reports, batch, micros } = this.#shared;
    const { length, config: { vocabulary } } = this.options;
    const rows = batch / micros * length;
    for (const group of this.#groups) {
      for (let micro = 0; micro < micros; micro++) {
        const slice = <T extends Uint32Array | Float32Array>(values: T) =>
          copyMicroBatch(values, this.models, group, micro, micros);
        const tokens = slice(hostBatch.tokens);
        for (let start = 0; start < tokens.length; start += rows) {
          const end = start + rows;
          tokenOrder(tokens.subarray(start, end), vocabulary, this.#order.subarray(start, end));
        }
        this.gpu.write(this.#acts.tokens, tokens);
        this.gpu.write(this.#acts.lengths, slice(hostBatch.lengths));
        this.gpu.write(this.#acts.order, this.#order.subarray(0, tokens.length));
        this.gpu.write(this.#acts.targets, slice(this.#targets));
        this.gpu.write(this.#acts.weights, slice(this.#weights));
        this.gpu.write(slot, Uint32Array.of(index * batch + micro * batch / micros, index));
        this.gpu.write(reportSlot, Uint32Array.of((index * micros + micro) * reports.length));
        yield [group, micro];
      }
    }
  }
}

/**
 * Copies micro-batch `micro`, of `micros`, of every model of a group out of values
 * `[models, batch, …]`.
 */
function copyMicroBatch<T extends Uint32Array | Float32Array>(
  values: T,
  models: number,
  { first, size }: Group,
  micro: number,
  micros: number,
): T {
  const ofModel = values.length / models;
  const ofMicro = ofModel / micros;
  const all = values.subarray(first * ofModel, (first + size) * ofModel) as T;
  if (micros === 1) return all;
  const part = all.slice(0, size * ofMicro) as T;
  for (let model = 0; model < size; model++) {
    const start = model * ofModel + micro * ofMicro;
    part.set(all.subarray(start, start + ofMicro), model * ofMicro);
  }
  return part;
}
