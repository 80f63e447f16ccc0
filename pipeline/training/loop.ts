/**
 * Trains models, experts or dense baselines, on streams of sequences: warm-up and cosine decay,
 * metrics, validation, checkpoints, and exact resume (SmallTalk LM, Algorithm 1, stage 2). Several
 * models of one shape share a bank, in which each has the bits that it has alone.
 */

import { InputError, RunError } from "../../kernels/errors.ts";
import type { AdamwSettings } from "../../kernels/adamw/adamw.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { Columns } from "../rows/columns.ts";
import {
  checkBatch,
  createHostBatch,
  type HostBatch,
  partOfBatch,
  placeSequence,
} from "../model/batch.ts";
import { type ModelConfig, validateModelConfig } from "../model/shape.ts";
import type { Weights } from "../model/parameters.ts";
import {
  createTrainer,
  freshState,
  joinStates,
  sliceState,
  type StepResult,
  STEPS_PER_READ,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
} from "../model/trainer.ts";
import type { StepMetrics } from "./metrics.ts";

/** The state of a training after a step: enough to go on bit for bit. */
export interface TrainingState {
  /** Weights, moments and steps. */
  trainer: TrainerState;
  /** Real tokens trained on so far. */
  tokens: number;
  /** Losses of the steps since the last line of metrics. */
  losses: number[];
  /** What sublayers report of these steps, by name. */
  reports?: Record<string, number[]>;
}

/** What {@link trainModel} takes. */
export interface TrainModelOptions
  extends AdamwSettings, Pick<TrainerOptions, "batch" | "microBatch" | "recompute" | "dtype"> {
  /** The open device. */
  gpu: Gpu;
  /** Shape of the model; its context is the length of the sequences. */
  model: ModelConfig;
  /** Weights to start from, or a state to resume from. */
  start: Weights | TrainingState;
  /** Steps in all. */
  steps: number;
  /** Returns the learning rate of a step; the first step is 1. */
  rateAt: (step: number) => number;
  /**
   * Opens the stream of sequences after `consumed` of them; the result returns the next `n`,
   * without end.
   */
  open(consumed: number): (n: number) => Promise<Columns>;
  /** Held-out sequences to validate on; none, or no rows, validates nothing. */
  validation?: Columns;
  /** Steps between two validations; 0 validates at the end alone. */
  validateEvery?: number;
  /** Steps between two lines of metrics; every validation and the last step make one too. */
  logEvery?: number;
  /** Steps between two checkpoints; 0 for none. */
  checkpointEvery?: number;
  /** Minutes after which a checkpoint is made between those that steps bring; 0 for none. */
  checkpointMinutes?: number;
  /** Called with every line of metrics. */
  onMetrics?(metrics: StepMetrics): Promise<void> | void;
  /**
   * Called at a checkpoint, and when `signal` ends the training between two or after the last step.
   * `read` reads the state from the device, which may take a while. `extra` says that the number of
   * steps did not bring it.
   */
  onCheckpoint?(read: () => Promise<TrainingState>, event: { extra: boolean }): Promise<void>;
  /** Called as steps finish. */
  onStep?(
    progress: { step: number; steps: number; loss: number; rate: number; tokens: number },
  ): void;
  /** Stops between steps, after a checkpoint. */
  signal?: AbortSignal;
}

/** A loss or a gradient norm is not finite. */
export class LossNotFiniteError extends RunError {
  /** The step at which that happened; the first is 1. */
  readonly step: number;
  /** Describes the step and its loss. */
  constructor(step: number, loss: number, norm: number) {
    super(
      "Cannot go on training as loss and gradient norm must be finite: they are " +
        `${loss} and ${norm} at step ${step}`,
    );
    this.step = step;
  }
}

/**
 * Trains a model and returns its weights. The same options give the same weights, in one go or
 * resumed.
 *
 * Throws `InputError` on impossible settings and {@link LossNotFiniteError} where a loss or a
 * gradient norm is not finite.
 */
export async function trainModel(options: TrainModelOptions): Promise<Weights> {
  const [result] = await trainBank([options], options.gpu);
  if (result.status === "fulfilled") return result.value;
  throw result.reason;
}

/**
 * Trains models side by side as {@link trainModel} trains each, to the same bits. They have shape,
 * batch, AdamW's settings, rates and the step that they go on from in common. A training that fails
 * or is stopped leaves the others as they are; a step that fails fails all.
 */
export async function trainBank(
  all: readonly TrainModelOptions[],
  gpu: Gpu,
): Promise<PromiseSettledResult<Weights>[]> {
  let trainings: SingleTraining[] = [];
  try {
    all.forEach(check);
    const [{ model: config, batch, microBatch, recompute, dtype, ...settings }] = all;
    const length = config.context;
    const input = createHostBatch(all.length * batch, length);
    trainings = all.map((options, i) =>
      new SingleTraining(options, i, partOfBatch(input, i * batch, batch))
    );
    const trainer = createTrainer(gpu, {
      config,
      batch,
      microBatch,
      length,
      recompute,
      dtype,
      settings,
      start: joinStates(
        all.map(({ start }) => start instanceof Map ? freshState([start]) : start.trainer),
      ),
    });
    try {
      await gpu.read([{ buffer: gpu.empty }]); // too little memory shows here, not some steps later
      await takeSteps(trainings, input, trainer, gpu);
      const weights = trainings.every(({ failure }) => failure) ? [] : await trainer.weights();
      return trainings.map(({ failure }, i) =>
        failure ?? { status: "fulfilled", value: weights[i] }
      );
    } finally {
      trainer.close();
    }
  } catch (reason) {
    return all.map((_, i) => trainings[i]?.failure ?? { status: "rejected", reason });
  }
}

function check({ model, batch, steps, logEvery = 10 }: TrainModelOptions): void {
  validateModelConfig(model, "the model to train");
  for (const [name, value] of Object.entries({ batch, steps, logEvery })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new InputError(
      `Cannot train as ${name} must be a whole number >= 1: ${name} is ${value}`,
    );
  }
}

/** Takes all steps of a bank, while a training is left. Each fills its part of `input`. */
async function takeSteps(
  trainings: readonly SingleTraining[],
  input: HostBatch,
  trainer: Trainer,
  gpu: Gpu,
): Promise<void> {
  const [{ options: { steps, rateAt, batch } }] = trainings;
  const pace = startPace(gpu.kind);
  const first = trainer.steps;
  const active = () => trainings.filter(({ failure }) => !failure);
  const isStopped = () => active().every(({ options: { signal } }) => signal?.aborted);
  /** Runs `work` for each training. One that fails ends, and its part of the batch stays empty. */
  const each = (work: (training: SingleTraining) => Promise<void> | void) =>
    Promise.all(active().map((training) => training.orEnd(() => work(training))));
  const save = async (step: number) => {
    let state: Promise<TrainerState> | undefined; // of all models, which is read once
    await each((training) => training.save(step, () => state ??= trainer.state()));
  };
  /** Ends all trainings after the last step that was taken whole. */
  const saveStopped = async () => {
    const step = trainer.steps;
    const results = await trainer.drain();
    if (results.length > 0) await each((training) => training.note(results, rateAt(step)));
    if (step > first) await save(step);
    else await each(({ options: { signal } }) => signal?.throwIfAborted());
  };
  while (trainer.steps < steps) {
    await each((training) => training.take(trainer.steps));
    if (active().length === 0) return;
    const step = trainer.steps + 1;
    const rate = rateAt(step);
    if (!await trainer.stepUnless(isStopped, input, rate)) {
      await each((training) => training.leaveOff());
      return await saveStopped();
    }
    if (!pace.step() && !active().some((training) => training.looksAt(step))) continue;
    const results = await trainer.drain();
    pace.looked();
    await each((training) => training.note(results, rate));
    const most = () => Math.max(0, ...active().map((training) => training.due(step).heldOut));
    for (let row = 0; row < most(); row += batch) {
      await each((training) => training.holdOut(row, training.due(step).heldOut));
      const { nll, predicted } = await trainer.evaluate(input);
      for (const { index, heldOut } of active()) {
        heldOut.nll += nll[index];
        heldOut.predicted += predicted[index];
      }
    }
    await each((training) => training.log(step, rate));
    await save(step);
  }
}

/** Most steps between two reads, by kind of adapter. */
const MOST_STEPS: Record<AdapterKind, number> = { software: 8, gpu: STEPS_PER_READ };
const MOST_MS = 400; // an interruption has an effect only at a read

/**
 * Counts steps, and decides when their results are read back. A read waits for all steps that the
 * device still works on, and costs as much as a small step. Results are read after the first step,
 * and then about every 0.4 s, but at least every 8 steps, or every 64 on a GPU.
 */
export function startPace(kind: AdapterKind) {
  let [steps, every, since] = [0, 1, performance.now()];
  return {
    /** Counts a step. Returns whether to read the results now. */
    step() {
      if (steps++ === 0) since = performance.now();
      return steps >= every;
    },
    /** Notes that all steps so far are done. */
    looked() {
      const fitting = Math.floor(MOST_MS * steps / (performance.now() - since));
      if (steps > 0) every = Math.max(1, Math.min(MOST_STEPS[kind], fitting));
      steps = 0;
    },
  };
}

const average = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** One training of a bank: its data, metrics and checkpoints. */
class SingleTraining {
  failure?: PromiseRejectedResult; // why it ended before its last step
  /** Sums over the sequences of a validation: NLL in nats, and the tokens that it is of. */
  readonly heldOut = { nll: 0, predicted: 0 };
  #next?: (n: number) => Promise<Columns>;
  #tokens = 0;
  #losses: number[] = [];
  #reports?: Record<string, number[]>;
  #norm = NaN;
  #saved = performance.now();

  /** `input` is its part of the batch. */
  constructor(
    readonly options: TrainModelOptions,
    readonly index: number,
    private readonly input: HostBatch,
  ) {
    const { start } = options;
    if (start instanceof Map) return;
    this.#tokens = start.tokens;
    this.#losses = [...start.losses];
    this.#reports = structuredClone(start.reports);
  }

  /** Runs `work`. Ends the training where it fails. */
  async orEnd(work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (reason) {
      this.failure = { status: "rejected", reason };
      this.input.lengths.fill(0);
      this.input.tokens.fill(0);
    }
  }

  /**
   * Returns what is due after a step: held-out sequences to read, a line of metrics, a checkpoint.
   */
  due(step: number): { heldOut: number; log: boolean; checkpoint: boolean } {
    const {
      validation,
      validateEvery = 0,
      logEvery = 10,
      checkpointEvery = 0,
      onCheckpoint,
      steps,
    } = this.options;
    const every = (count: number) => count > 0 && step % count === 0;
    const heldOut = every(validateEvery) || step === steps ? validation?.rows ?? 0 : 0;
    const log = every(logEvery) || heldOut > 0 || step === steps;
    return { heldOut, log, checkpoint: every(checkpointEvery) && onCheckpoint !== undefined };
  }

  /** Returns whether results are needed after a step. */
  looksAt(step: number): boolean {
    const { log, checkpoint } = this.due(step);
    return log || checkpoint || Boolean(this.options.signal?.aborted);
  }

  async take(steps: number): Promise<void> {
    const { batch, open } = this.options;
    this.#next ??= open(steps * batch);
    this.#fill(await this.#next(batch), 0, batch);
    this.#tokens += this.input.lengths.reduce((sum, n) => sum + n, 0);
  }

  /** Forgets the batch that was taken last, as no step has learnt from it. */
  leaveOff(): void {
    this.#tokens -= this.input.lengths.reduce((sum, n) => sum + n, 0);
  }

  /**
   * Fills the batch with held-out sequences from number `first` on; after the last one with none.
   */
  holdOut(first: number, rows: number): void {
    if (first === 0) Object.assign(this.heldOut, { nll: 0, predicted: 0 });
    const count = Math.max(0, Math.min(this.options.batch, rows - first));
    if (count > 0) this.#fill(this.options.validation!, first, count);
    else this.input.lengths.fill(0);
  }

  /** Copies `count` rows from `first` on into the batch. The rest of the batch gets length 0. */
  #fill(rows: Columns, first: number, count: number): void {
    const { batch, model: { context: length, vocabulary } } = this.options;
    const stride = rows.rows === 0 ? 0 : rows.tokens!.length / rows.rows;
    if (rows.rows < first + count || (count > 0 && stride > length)) {
      const fact = `there are ${rows.rows - first} of ${stride}`;
      throw new InputError(
        `Cannot train as there must be ${count} sequences of at most ${length} tokens: ${fact}`,
      );
    }
    for (let i = 0; i < batch; i++) {
      const real = i < count ? Math.min(stride, rows.length[first + i]) : 0;
      placeSequence(
        this.input,
        i,
        rows.tokens!,
        (first + i) * stride,
        real,
        rows.begin?.[first + i],
      );
    }
    checkBatch(this.input, { sequences: batch, length, vocabulary });
  }

  /** Notes results of steps of the bank, the last of which took `rate`. */
  note(results: readonly StepResult[], rate: number): void {
    const { options: { steps, onStep }, index } = this;
    for (const { step, loss, nll, norm, reports } of results) {
      if (!Number.isFinite(loss[index]) || !Number.isFinite(norm[index])) {
        throw new LossNotFiniteError(step, loss[index], norm[index]);
      }
      this.#losses.push(nll[index]);
      this.#norm = norm[index];
      for (const [name, values] of Object.entries(reports)) {
        ((this.#reports ??= {})[name] ??= []).push(values[index]);
      }
    }
    const [{ step, nll }] = results.slice(-1);
    onStep?.({ step, steps, loss: nll[index], rate, tokens: this.#tokens });
  }

  /** Makes a line of metrics if one is due. */
  async log(step: number, rate: number): Promise<void> {
    const { heldOut, log } = this.due(step);
    if (!log) return;
    const reports = this.#reports &&
      Object.fromEntries(
        Object.entries(this.#reports).map(([name, values]) => [name, average(values)]),
      );
    const metrics: StepMetrics = {
      step,
      tokens: this.#tokens,
      loss: average(this.#losses),
      rate,
      norm: this.#norm,
      ...reports && { reports },
      ...heldOut > 0 && { validationLoss: this.heldOut.nll / this.heldOut.predicted },
    };
    this.#losses = [];
    this.#reports = undefined;
    await this.options.onMetrics?.(metrics);
  }

  /** Makes a checkpoint of what `read` returns, if one is due. Throws where `signal` is aborted. */
  async save(step: number, read: () => Promise<TrainerState>): Promise<void> {
    const { steps, checkpointMinutes = 0, onCheckpoint, signal } = this.options;
    const { checkpoint } = this.due(step);
    const isLate = checkpointMinutes > 0 &&
      performance.now() - this.#saved >= 60e3 * checkpointMinutes;
    if (checkpoint || signal?.aborted || step < steps && isLate) {
      const state = async () => ({
        trainer: sliceState(await read(), this.index, 1),
        tokens: this.#tokens,
        losses: this.#losses,
        ...this.#reports && { reports: this.#reports },
      });
      await onCheckpoint?.(state, { extra: !checkpoint });
      this.#saved = performance.now();
    }
    signal?.throwIfAborted();
  }
}
