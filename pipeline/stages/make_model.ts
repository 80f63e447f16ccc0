/**
 * Trains a model from its start or its saved state, with metrics and checkpoints on the way, and writes its folder.
 *
 * @module
 */

import { DeviceError } from "../../kernels/device/failures.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { RunError, say, type TaskReference } from "../../kernels/errors.ts";
import { MODEL_FILES, saveModelFolder } from "../checkpoints/model_folder.ts";
import type { SafetensorsDtype } from "../checkpoints/safetensors.ts";
import type { TrainingCost } from "../cost/beside_mixture.ts";
import { trainingPace } from "../cost/training.ts";
import { epochs } from "../rows/shuffle.ts";
import {
  type FileRecord,
  hashFile,
  removeFiles,
  removeIfEmpty,
  removeIfThere,
  wholeName,
} from "../run/files.ts";
import type { StageIdentity } from "../run/manifest.ts";
import { LossNotFiniteError, type TrainingState, trainModel } from "../training/loop.ts";
import { type MetricsFile, openMetrics } from "../training/metrics.ts";
import { type Recipe, startWeights } from "../training/recipe.ts";
import {
  CHECKPOINT,
  type CheckpointContext,
  checkpointPath,
  loadCheckpointState,
  removeLaterCheckpoints,
  removeOldCheckpoints,
  saveCheckpointState,
} from "../training/resume.ts";
import { cosineRate } from "../training/schedule.ts";
import { commandOf } from "./command.ts";
import type { Made, Work } from "./stage.ts";
import { sampleRows } from "./training_inputs.ts";
import { routingOf, type TrainResult } from "../nodes/training_result.ts";
import {
  type Place,
  statesOf,
  type Target,
  TRAINING_REVISION,
  type TrainingData,
} from "./training_target.ts";

const MADE = new RegExp(`^(${MODEL_FILES.source}|checkpoints/step-\\d{8,}\\.safetensors)$`);

/** Whether a file, by its path in a model's folder, is one that a training had begun. */
export function isBegun(path: string): boolean {
  return MADE.test(wholeName(path) ?? "");
}

/** Removes a model, its states and its metrics. */
export async function removeModel(run: string, { name, folder }: Target): Promise<void> {
  await removeFiles(`${run}/${folder}`, "", (path) => MADE.test(path) || isBegun(path));
  await removeIfThere(`${run}/metrics/${name}.jsonl`);
}

/** Everything that is decided before a model is trained. */
interface Plan {
  place: Place;
  data: TrainingData;
  /** Everything that a state depends on except the data; `key` hashes both. */
  settings: Recipe & { adapter: string; variants: Partial<Variants> };
  key: string;
  inputs: StageIdentity["inputs"];
  /** What its checkpoint notes about itself. */
  notes: { tokenizer: string; eos: number; partition?: string };
  /** Weights to start from, unless a state is saved. */
  start: Awaited<ReturnType<typeof startWeights>>["weights"];
  saved: Awaited<ReturnType<typeof loadCheckpointState>>;
  checkpointEvery: number;
  checkpointMinutes: number;
  keep: number;
  cost?: TrainingCost;
  recompute?: boolean;
  train?: typeof trainModel;
  /** Names the command that trains it with a smaller rate. */
  smallerRate(rate: number, more: TaskReference["with"]): TaskReference;
}

/** Trains a model, from its saved state where there is one, and writes its folder. */
export async function makeModel(work: Work, plan: Plan): Promise<Made> {
  const { run, configuration, signal, emit } = work;
  const { place, data, settings, start, saved, checkpointEvery, checkpointMinutes } = plan;
  const { name, stage, folder } = place;
  const { model, rate, warmup, steps, finalRate } = settings;
  const { seed, validationSequences, saveDtype } = configuration;
  await removeFiles(folder, "", isBegun);
  if (saved) {
    emit({ type: "warning", message: `${name} goes on after step ${saved.state.trainer.step} of ${steps}` });
    await removeLaterCheckpoints(statesOf(place), saved.state.trainer.step);
  } else await removeCheckpoints(statesOf(place));
  const metrics = await openMetrics(place.metrics, saved?.context.metricsBytes);
  const result = resultBefore(run, plan);
  const checkpoints = checkpointsOf(plan, metrics, result);
  const gpu = await work.gpu();
  const pace = await trainingPace(run, stage.name, model, gpu.adapter, result.tokens);
  try {
    const weights = await (plan.train ?? trainModel)({
      ...settings,
      rateAt: (step) => cosineRate(step, { rate, warmup, steps, final: finalRate }),
      gpu,
      start: saved?.state ?? start(),
      recompute: plan.recompute,
      open: (consumed) => epochs(data.train, seed, consumed, work.files),
      validation: await sampleRows(data.test, validationSequences, seed, work.files),
      checkpointEvery,
      checkpointMinutes,
      onMetrics: async (line) => {
        await metrics.append(line);
        result.loss = line.loss;
        result.tokens = line.tokens;
        if (line.reports && model.switch) result.routing = routingOf(line.reports, model);
        if (line.validationLoss !== undefined) result.validationLoss = line.validationLoss;
        await pace.note(line);
      },
      onCheckpoint: async (read, { extra }) => {
        emit({ type: "checkpoint", stage: stage.name, state: "started" }); // from here on, an interruption waits
        try {
          await checkpoints.save(await read(), extra);
        } finally {
          emit({ type: "checkpoint", stage: stage.name, state: "done" });
        }
      },
      onStep: ({ step, loss, rate }) => {
        const at = { stage: stage.name, done: step, total: steps, unit: "steps" } as const;
        emit({ type: "progress", ...at, loss, learningRate: rate, ...pace.latest });
      },
      signal,
    });
    const records = await saveModelFolder(folder, model, weights, {
      notes: plan.notes,
      tokenizer: `${run}/tokenizer.json`,
      vouched: work.files,
      dtype: saveDtype.toUpperCase() as SafetensorsDtype,
    });
    const outputs: Record<string, FileRecord> = {};
    for (const [file, record] of Object.entries(records)) outputs[`${result.folder}/${file}`] = record;
    outputs[place.metrics.slice(run.length + 1)] = await hashFile(place.metrics);
    return {
      outputs,
      result: { ...result, ...plan.cost && { cost: plan.cost } },
      afterwards: checkpoints.removeExtra,
    };
  } catch (error) {
    throw failureOf(error, run, plan, checkpoints.last);
  } finally {
    metrics.close();
  }
}

/** Gives what a training has come to before its first step here: what its saved state says, if there is one. */
function resultBefore(run: string, { place, settings, key, saved }: Plan): TrainResult {
  const { steps, batch, rate } = settings;
  const resumed = [...saved?.context.resumed ?? []];
  if (saved && saved.context.key !== key) {
    resumed.push({ step: saved.state.trainer.step, key: saved.context.key });
  }
  return {
    folder: place.folder.slice(run.length + 1),
    steps,
    batch,
    tokens: saved?.state.tokens ?? 0,
    loss: saved?.context.loss ?? null,
    validationLoss: saved?.context.validationLoss ?? null,
    rate,
    resumed,
    ...saved?.context.routing && { routing: saved.context.routing },
  };
}

/** Writes the checkpoints of a training, and removes those that are no longer needed. */
function checkpointsOf(plan: Plan, metrics: MetricsFile, result: TrainResult) {
  const { place, settings, key, inputs, saved, keep } = plan;
  const states = statesOf(place);
  /**
   * Path of the checkpoint that no step brought. It is removed once another one, or the model, follows it.
   */
  let extra = saved?.context.interrupted && checkpointPath(states, saved.state.trainer.step);
  let last = saved ? `${states} holds that of step ${saved.state.trainer.step}` : "";
  const removeExtra = async () => {
    if (extra) await removeIfThere(extra);
    extra = undefined;
  };
  return {
    /** Says which checkpoint is the last one; "" where there is none. */
    get last() {
      return last;
    },
    removeExtra,
    /** Writes a checkpoint; `isExtra` says that no step brought it. */
    async save(state: TrainingState, isExtra: boolean) {
      const context: CheckpointContext = {
        key,
        settings: { revision: TRAINING_REVISION, ...settings },
        inputs,
        metricsBytes: metrics.bytes,
        metricsSha256: metrics.sha256(),
        loss: result.loss,
        validationLoss: result.validationLoss,
        ...(result.routing ? { routing: result.routing } : {}),
        ...(isExtra ? { interrupted: isExtra } : {}),
        resumed: result.resumed,
      };
      await metrics.flush();
      const path = await saveCheckpointState(states, settings.model, state, context);
      last = `${path} is the last good checkpoint`;
      if (extra !== path) await removeExtra();
      if (isExtra) extra = path;
      else await removeOldCheckpoints(states, keep);
    },
  };
}

/** Gives the error that a training ends with: where the device or the numbers failed, it says how to go on from the last checkpoint. */
function failureOf(
  error: unknown,
  run: string,
  { place, settings, smallerRate }: Plan,
  last: string,
): unknown {
  if (error instanceof DeviceError) {
    const again = commandOf(place.stage, run);
    const from = last || "there is no checkpoint yet";
    return new RunError(error.what, {
      remedy: say`${from}; ${again} goes on from there; ${error.remedy!}`,
      cause: error,
    });
  }
  if (!(error instanceof LossNotFiniteError)) return error;
  const smaller = Number((settings.rate / 2).toPrecision(2));
  return new RunError(`${error.message} of ${place.name}`, {
    remedy: last
      ? say`${last}; go on from it with a smaller rate: ${smallerRate(smaller, { resume: true })}`
      : say`there is no checkpoint yet; start again with a smaller rate: ${
        smallerRate(smaller, { force: true })
      }`,
    cause: error,
  });
}

/** Removes all checkpoints, and those that were not finished. */
async function removeCheckpoints(folder: string): Promise<void> {
  await removeFiles(folder, "", (path) => CHECKPOINT.test(wholeName(path) ?? path));
  await removeIfEmpty(folder);
}
