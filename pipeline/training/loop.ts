/**
 * Trains one model, an expert or a dense baseline, on a stream of sequences: warm-up and cosine decay,
 * metrics, validation, checkpoints, and exact resume (SmallTalk LM, Algorithm 1, stage 2).
 */

import { InputError, RunError } from "../../kernels/errors.ts";
import type { AdamwSettings } from "../../kernels/adamw/adamw.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Columns } from "../rows/columns.ts";
import { emptyBatch, type HostBatch, placeSequence } from "../model/batch.ts";
import { type ModelConfig, validateModelConfig } from "../model/shape.ts";
import type { Weights } from "../model/parameters.ts";
import { startPace } from "./pace.ts";
import { createTrainer, type TrainerOptions } from "../model/trainer.ts";
import type { TrainerState } from "../model/trainer_group.ts";
import type { LoopTrainer, MakeTrainer } from "./together.ts";
import type { StepMetrics } from "./metrics.ts";

/** Where a training stands after a step: enough to go on bit for bit. */
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
  /** Gives the learning rate of a step, the first is 1. */
  rateAt: (step: number) => number;
  /** Opens the stream of sequences after `consumed` of them; the result returns the next `n`, without end. */
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
  /** Makes the trainer. Default: one of its own. */
  makeTrainer?: MakeTrainer;
  /** Called with every line of metrics. */
  onMetrics?(metrics: StepMetrics): Promise<void> | void;
  /**
   * Called at a checkpoint, and when `signal` ends the training between two or after the last step. `read` reads
   * the state from the device, which may take a while. `extra` says that the number of steps did not bring it.
   */
  onCheckpoint?(read: () => Promise<TrainingState>, event: { extra: boolean }): Promise<void>;
  /** Called as steps finish. */
  onStep?(progress: { step: number; steps: number; loss: number; rate: number; tokens: number }): void;
  /** Stops between steps, after a checkpoint. */
  signal?: AbortSignal;
}

/** Says that a loss is not a number; carries the step. */
export class LossNotFiniteError extends RunError {
  /** Step whose loss or gradient norm is not finite. */
  readonly step: number;
  /** Describes the step and its loss. */
  constructor(step: number, loss: number, norm: number) {
    super(
      `Cannot go on training as loss and gradient norm must be finite: they are ${loss} and ${norm} at step ${step}`,
    );
    this.step = step;
  }
}

/**
 * Trains a model and returns its weights. The same options give the same weights, in one go or resumed.
 *
 * Throws `InputError` on impossible settings and {@link LossNotFiniteError} where a loss or a gradient norm
 * is not finite.
 */
export async function trainModel(options: TrainModelOptions): Promise<Weights> {
  const { gpu, model, start, batch, microBatch, recompute, dtype, steps, validation, signal } = options;
  const { validateEvery = 0, logEvery = 10, checkpointEvery = 0, checkpointMinutes = 0 } = options;
  validateModelConfig(model, "the model to train");
  for (const [name, value] of Object.entries({ batch, steps, logEvery })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new InputError(`Cannot train as ${name} must be a whole number >= 1: ${name} is ${value}`);
  }
  const resumed = start instanceof Map ? undefined : start;
  const length = model.context;
  const make: MakeTrainer = options.makeTrainer ??
    ((gpu, options) => Promise.resolve(createTrainer(gpu, options)));
  const trainer = await make(
    gpu,
    {
      config: model,
      start: resumed ? resumed.trainer : [start as Weights],
      settings: options,
      ...{ batch, microBatch, length, recompute, dtype },
    },
    options,
  );
  const due = (every: number, step: number) => every > 0 && step % every === 0;
  const validates = (step: number) => validation?.rows && (due(validateEvery, step) || step === steps);
  const logs = (step: number) => due(logEvery, step) || validates(step) || step === steps;
  const checkpoints = (step: number) => due(checkpointEvery, step) && options.onCheckpoint;

  try {
    await gpu.read([{ buffer: gpu.empty }]); // too little memory shows here, not some steps later
    const next = options.open(trainer.steps * batch);
    let tokens = resumed?.tokens ?? 0;
    let losses = [...resumed?.losses ?? []];
    let reports: Record<string, number[]> | undefined = structuredClone(resumed?.reports);
    const state = async () => ({ trainer: await trainer.state(), tokens, losses, ...reports && { reports } });
    const input = emptyBatch(batch, length);
    const pace = startPace(undefined, gpu.kind);
    let saved = performance.now();
    const isLate = () => checkpointMinutes > 0 && performance.now() - saved >= 60e3 * checkpointMinutes;
    while (trainer.steps < steps) {
      fill(input, await next(batch), 0, batch, length);
      const step = trainer.steps + 1;
      const rate = options.rateAt(step);
      trainer.step(input, rate);
      tokens += input.lengths.reduce((sum, n) => sum + n, 0);
      if (!pace.step() && !logs(step) && !checkpoints(step) && !signal?.aborted) continue;

      let last = { loss: NaN, norm: NaN };
      for (
        const { step: at, loss: [loss], nll: [nll], norm: [norm], reports: own } of await trainer.drain()
      ) {
        if (!Number.isFinite(loss) || !Number.isFinite(norm)) throw new LossNotFiniteError(at, loss, norm);
        losses.push(nll);
        for (const [name, [value]] of Object.entries(own)) ((reports ??= {})[name] ??= []).push(value);
        last = { loss: nll, norm };
      }
      pace.looked();
      options.onStep?.({ step, steps, loss: last.loss, rate, tokens });
      if (logs(step)) {
        const loss = meanOf(losses);
        const means = reports && Object.entries(reports).map(([name, values]) => [name, meanOf(values)]);
        losses = [];
        reports = undefined;
        const metrics: StepMetrics = { step, tokens, loss, rate, norm: last.norm };
        if (means) metrics.reports = Object.fromEntries(means);
        if (validates(step)) metrics.validationLoss = await meanNll(trainer, validation!, batch, length);
        await options.onMetrics?.(metrics);
      }
      if (checkpoints(step) || signal?.aborted || step < steps && isLate()) {
        await options.onCheckpoint?.(state, { extra: !checkpoints(step) });
        saved = performance.now();
      }
      signal?.throwIfAborted();
    }
    return (await trainer.weights())[0];
  } finally {
    trainer.close();
  }
}

const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Copies `count` rows from `first` on into a batch. The rest of the batch gets length 0. */
function fill(input: HostBatch, rows: Columns, first: number, count: number, length: number): void {
  const stride = rows.rows === 0 ? 0 : rows.tokens!.length / rows.rows;
  if (rows.rows < first + count || (count > 0 && stride > length)) {
    const fact = `there are ${rows.rows - first} of ${stride}`;
    throw new InputError(
      `Cannot train as there must be ${count} sequences of at most ${length} tokens: ${fact}`,
    );
  }
  for (let i = 0; i < input.lengths.length; i++) {
    const real = i < count ? Math.min(stride, rows.length[first + i]) : 0;
    placeSequence(input, i, rows.tokens!, (first + i) * stride, real);
  }
}

/** Computes the mean NLL per predicted token, nats. */
async function meanNll(trainer: LoopTrainer, rows: Columns, batch: number, length: number): Promise<number> {
  const input = emptyBatch(batch, length);
  let [nll, predicted] = [0, 0];
  for (let first = 0; first < rows.rows; first += batch) {
    fill(input, rows, first, Math.min(batch, rows.rows - first), length);
    const part = await trainer.evaluate(input);
    nll += part.nll[0];
    predicted += part.predicted[0];
  }
  return nll / predicted;
}
