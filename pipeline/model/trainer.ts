/**
 * Training steps for a bank of models that learn independently of one another: E routers at once, or one expert.
 * Plans are made once; a step uploads tokens and submits, and results are read once per many steps.
 */

import { adamw, adamwScratch, type AdamwSettings, adamwStep } from "../../kernels/adamw.ts";
import { sequenceSum } from "../../kernels/cross_entropy.ts";
import { tokenOrder } from "../../kernels/embedding.ts";
import type { Dispatch, Gpu, GpuBuffer, KernelTime } from "../../kernels/gpu.ts";
import type { Dtype } from "../../kernels/storage.ts";
import { type HostBatch, shiftTargets } from "./batch.ts";
import type { ModelConfig } from "./shape.ts";
import { type Bank, createBank, readTensors, type Weights, writeTensors } from "./parameters.ts";
import {
  createActivations,
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
  /** Mean NLL per predicted token of the whole batch before the step, nats, and what sublayers add to the loss. */
  loss: Float64Array;
  /** Global gradient norm before clipping. */
  norm: Float32Array;
  /** What sublayers report, by name, where they do. */
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
   * Takes one AdamW step of the given rate. Throws a `RangeError` where the batch has another shape, and where 64 steps wait
   * for {@link Trainer.drain}.
   */
  step(batch: HostBatch, rate: number): void;
  /**
   * Computes the NLL of a batch without learning from it: nats summed over the batch, and the tokens predicted, per model. A
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

interface Group {
  first: number;
  size: number;
  bank: Bank;
  gradients: GpuBuffer[];
  moments: GpuBuffer[];
  squares: GpuBuffer[];
  sums: GpuBuffer;
  norms: GpuBuffer;
  reported: GpuBuffer;
  /** First micro-batch (writes gradients) and the others (add to them). */
  passes: [Dispatch[], Dispatch[]];
  /** Forward pass and loss alone, into `evaluated`. */
  evaluation: Dispatch[];
  evaluated: GpuBuffer;
  update: Dispatch[];
}

/** Plans training steps of one shape. Throws `RangeError` where a tensor cannot fit the adapter or the batch does not split. */
export function createTrainer(gpu: Gpu, options: TrainerOptions): Trainer {
  const { config, start, batch, length, settings, microBatch = batch, recompute, dtype } = options;
  if (batch % microBatch !== 0) {
    throw new RangeError(
      `Cannot train as the batch must be a multiple of the micro-batch: batch is ${batch}, micro-batch is ${microBatch}`,
    );
  }
  const state = "weights" in start ? start : undefined;
  const weights = "weights" in start ? start.weights : start;
  const models = weights.length;
  const micros = batch / microBatch;
  const arena = gpu.arena();
  const shape = { models, batch: microBatch, length };
  const perBank = modelsPerBank(config, shape, gpu.maxBindingBytes);
  const acts = createActivations(arena, config, { ...shape, models: perBank }, {
    training: true,
    recompute,
    dtype,
  });
  const step = arena.buffer("step values", 16);
  const slot = arena.buffer("slot", 8);
  const reports = reportsOf(config);
  const reportSlot = arena.buffer("report slot", 4);

  const groups: Group[] = [];
  for (let first = 0; first < models; first += perBank) {
    const part = weights.slice(first, first + perBank);
    const size = part.length;
    const bank = createBank(gpu, arena, config, part, dtype);
    const { segments } = bank.layout;
    const like = (label: string) =>
      segments.map((segment, i) => arena.buffer(`${label} ${i}`, segment.size * size * 4));
    const [gradients, moments, squares] = [like("gradients"), like("first moments"), like("second moments")];
    if (state) {
      writeTensors(gpu, bank.layout, moments, state.moments.slice(first, first + size));
      writeTensors(gpu, bank.layout, squares, state.squares.slice(first, first + size));
    }
    const own = { ...acts, shape: { ...acts.shape, models: size } };
    const sums = arena.buffer("sequence sums", STEPS_PER_READ * batch * size * 4);
    const norms = arena.buffer("gradient norms", STEPS_PER_READ * size * 4);
    const reported = arena.buffer("reported", STEPS_PER_READ * micros * reports.length * size * 4);
    const report = { values: own.reports, slot: reportSlot, sums: reported, models: size, length: 1 };
    const pass = (accumulate: boolean) => [
      ...planForward(gpu, bank, own),
      ...planLoss(gpu, bank, own, { buffers: gradients, accumulate }),
      ...planBackward(gpu, bank, own, { buffers: gradients, accumulate }),
      sequenceSum(gpu, { values: own.nll, slot, sums, models: size, batch: microBatch, length }),
      ...reports.length > 0 ? [sequenceSum(gpu, { ...report, batch: reports.length })] : [],
    ];
    const evaluated = arena.buffer("evaluated sums", batch * size * 4);
    const transposes = planTransposes(gpu, bank);
    groups.push({
      first,
      size,
      bank,
      gradients,
      moments,
      squares,
      sums,
      norms,
      reported,
      passes: [pass(false), micros > 1 ? pass(true) : []],
      evaluation: [
        ...planForward(gpu, bank, own, "score"),
        ...planLoss(gpu, bank, own),
        sequenceSum(gpu, { values: own.nll, slot, sums: evaluated, models: size, batch: microBatch, length }),
      ],
      evaluated,
      update: [
        ...adamw(gpu, {
          ...settings,
          models: size,
          segments: segments.map((segment, i) => ({
            ...segment,
            weights: bank.weights[i],
            gradients: gradients[i],
            moments: moments[i],
            squares: squares[i],
          })),
          partial: arena.buffer("norm sums", adamwScratch(segments, size) * 4),
          scale: arena.buffer("clip", size * 4),
          step,
          slot,
          norms,
        }),
        ...transposes,
      ],
    });
    gpu.submit(transposes);
  }

  let steps = state?.step ?? 0;
  let pending: { predicted: Uint32Array }[] = [];
  const targets = new Uint32Array(models * batch * length);
  const lossWeights = new Float32Array(models * batch * length);
  const order = new Uint32Array(perBank * microBatch * length);

  /** Copies sequences `micro` of every model of the group out of `[models, batch, …]`. */
  function slice<T extends Uint32Array | Float32Array>(values: T, { first, size }: Group, micro: number): T {
    const length = values.length / (models * batch);
    if (micros === 1) {
      return values.subarray(first * batch * length, (first + size) * batch * length) as T;
    }
    const row = microBatch * length;
    const part = new (values.constructor as new (size: number) => T)(size * row);
    for (let model = 0; model < size; model++) {
      const start = ((first + model) * batch + micro * microBatch) * length;
      part.set(values.subarray(start, start + row), model * row);
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

  function prepare(hostBatch: HostBatch, rate: number) {
    if (pending.length === STEPS_PER_READ) {
      throw new RangeError(`Cannot take a step as at most ${STEPS_PER_READ} may wait to be drained`);
    }
    pending.push({ predicted: shift(hostBatch, false) });
    steps++;
    gpu.write(step, adamwStep(steps, rate, settings));
  }

  function upload(hostBatch: HostBatch, group: Group, micro: number, index: number) {
    const tokens = slice(hostBatch.tokens, group, micro);
    const rows = microBatch * length;
    for (let model = 0; model < group.size; model++) {
      const part = tokens.subarray(model * rows, (model + 1) * rows);
      tokenOrder(part, config.vocabulary, order.subarray(model * rows, (model + 1) * rows));
    }
    gpu.write(acts.tokens, tokens);
    gpu.write(acts.lengths, slice(hostBatch.lengths, group, micro));
    gpu.write(acts.order, order.subarray(0, group.size * rows));
    gpu.write(acts.targets, slice(targets, group, micro));
    gpu.write(acts.weights, slice(lossWeights, group, micro));
    gpu.write(slot, Uint32Array.of(index * batch + micro * microBatch, index));
    gpu.write(reportSlot, Uint32Array.of((index * micros + micro) * reports.length));
  }

  const read = async (pick: (group: Group) => GpuBuffer[]) => {
    const parts: Weights[] = [];
    for (const group of groups) parts.push(...await readTensors(gpu, group.bank.layout, pick(group)));
    return parts;
  };

  const trainer: Trainer = {
    models,
    get steps() {
      return steps;
    },
    get bytes() {
      return arena.bytes;
    },
    step(hostBatch, rate) {
      prepare(hostBatch, rate);
      for (const group of groups) {
        for (let micro = 0; micro < micros; micro++) {
          upload(hostBatch, group, micro, pending.length - 1);
          const pass = group.passes[Math.min(micro, 1)];
          gpu.submit(micro === micros - 1 ? [...pass, ...group.update] : pass);
        }
      }
    },
    async profile(hostBatch, rate) {
      prepare(hostBatch, rate);
      const times: KernelTime[] = [];
      for (const group of groups) {
        for (let micro = 0; micro < micros; micro++) {
          upload(hostBatch, group, micro, pending.length - 1);
          const pass = group.passes[Math.min(micro, 1)];
          times.push(...await gpu.profile(micro === micros - 1 ? [...pass, ...group.update] : pass));
        }
      }
      return times;
    },
    async evaluate(hostBatch) {
      const predicted = shift(hostBatch, true);
      const nll = new Float64Array(models);
      for (const group of groups) {
        for (let micro = 0; micro < micros; micro++) {
          upload(hostBatch, group, micro, 0);
          gpu.submit(group.evaluation);
        }
      }
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
      const first = steps - taken.length + 1;
      const perStep = micros * reports.length;
      const buffers = await gpu.read(groups.flatMap(({ sums, norms, reported, size }) => [
        { buffer: sums, bytes: taken.length * batch * size * 4 },
        { buffer: norms, bytes: taken.length * size * 4 },
        { buffer: reported, bytes: taken.length * perStep * size * 4 },
      ]));
      return taken.map(({ predicted }, i): StepResult => {
        const loss = new Float64Array(models);
        const norm = new Float32Array(models);
        const sumsOf = Object.fromEntries(reports.map(({ name }) => [name, new Float64Array(models)]));
        groups.forEach((group, g) => {
          const [sums, norms, reported] = buffers.slice(3 * g, 3 * g + 3).map((part) =>
            new Float32Array(part)
          );
          for (let model = 0; model < group.size; model++) {
            let total = 0;
            for (let sequence = 0; sequence < batch; sequence++) {
              total += sums[(i * batch + sequence) * group.size + model];
            }
            loss[group.first + model] = total / predicted[group.first + model];
            norm[group.first + model] = norms[i * group.size + model];
            for (let place = 0; place < perStep; place++) {
              const value = reported[(i * perStep + place) * group.size + model];
              const { name, loss: counts } = reports[place % reports.length];
              sumsOf[name][group.first + model] += value;
              if (counts) loss[group.first + model] += value;
            }
          }
        });
        return { step: first + i, loss, norm, reports: sumsOf };
      });
    },
    weights: () => read(({ bank }) => bank.weights),
    gradients: () => read(({ gradients }) => gradients),
    async state() {
      return {
        step: steps,
        weights: await trainer.weights(),
        moments: await read(({ moments }) => moments),
        squares: await read(({ squares }) => squares),
      };
    },
    close: () => arena.destroy(),
  };
  return trainer;
}
