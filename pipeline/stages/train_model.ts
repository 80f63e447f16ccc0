/**
 * What the stages that train a model share: an expert or a dense model, from its shards to a Hugging Face folder, with
 * checkpoints that a training goes on from, to the same bytes.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";
import * as v from "valibot";
import { InputError, RunError, say, setting, type TaskReference, type Text } from "../../kernels/errors.ts";
import { DeviceError } from "../../kernels/device/failures.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { MODEL_FILES, saveModelFolder } from "../checkpoints/checkpoint.ts";
import type { SafetensorsDtype } from "../checkpoints/safetensors.ts";
import { type TrainingCost, trainingFlops } from "../cost/cost.ts";
import { trainingMemory } from "../cost/memory.ts";
import { type ModelConfig, parameterCount, validateModelConfig } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { randomKeys } from "../random.ts";
import { checkLineage, fromBatch, lineageOf, readShards } from "../rows/arrow.ts";
import { type Columns, concatColumns, takeColumns } from "../rows/columns.ts";
import { epochs } from "../rows/shuffle.ts";
import { adoptionOf } from "../run/adoption.ts";
import {
  exists,
  type FileRecord,
  hashFile,
  oneLine,
  refuseLink,
  removeFiles,
  removeIfThere,
  sha256,
  wholeName,
} from "../run/files.ts";
import { isHeld } from "../run/lock.ts";
import { type Manifest, manifestPath, readManifest, type StageIdentity, stageKey } from "../run/manifest.ts";
import { conform, count, finite, share } from "../run/schema.ts";
import { measuredDevices } from "../run/measured.ts";
import { canonical } from "../run/seal.ts";
import { recordTime } from "../run/timing.ts";
import type { Vouched } from "../run/vouched.ts";
import { type Configuration, namesOf } from "../settings/configuration.ts";
import { EXPERTS } from "../settings/experts.ts";
import { OPTIMISER } from "../settings/optimiser.ts";
import { LossNotFiniteError, trainModel } from "../training/loop.ts";
import { longWarmup, type Recipe, recipeOf, startWeights } from "../training/recipe.ts";
import {
  type CheckpointContext,
  checkpointPath,
  listCheckpoints,
  loadCheckpointState,
  removeCheckpoints,
  removeOldCheckpoints,
  saveCheckpointState,
} from "../training/resume.ts";
import { cosineRate } from "../training/schedule.ts";
import type { MakeTrainer } from "../training/together.ts";
import type { Estimate, Made, RunContext, Stage, Work } from "./stage.ts";
import { commandOf } from "./command.ts";

/** How a model is trained in a run folder, besides the settings. */
export interface TrainingOptions {
  /** Accepts values that differ from those of earlier trainings. */
  force?: boolean;
  /** Goes on from the last checkpoint although values differ. */
  resume?: boolean;
  /** Keeps only layer inputs and computes the rest again in the backward pass: the same bits. */
  recompute?: boolean;
  /** Trains for a share of the steps at this rate instead, into `search/`, to compare rates; the warm-up shrinks alike. */
  trial?: { share: number; rate: number };
  /** Steps between two checkpoints; 0 for none. Default: 200. */
  checkpointEvery?: number;
  /** Minutes after which a checkpoint is made that no step brings; 0 for none. Default: 15. */
  checkpointMinutes?: number;
  /** Checkpoints that are kept. Default: 2. */
  keep?: number;
  /** Makes the trainer. Default: one of its own. */
  makeTrainer?: MakeTrainer;
}

const ROUTING = v.object({ balance: finite, dropped: share });

/**
 * What routing tokens among the experts of layers comes to, over all layers: `balance`, E · Σ f P, where f is the share of tokens sent
 * to an expert and P its mean probability (1 where all are equal, E where one gets all), and the share of tokens `dropped`, which no
 * expert took.
 *
 * @ignore
 */
export type Routing = v.InferOutput<typeof ROUTING>;

const MEMORY = { training: finite, expertTraining: finite, inference: finite, expertInference: finite };
const COST: v.GenericSchema<unknown, TrainingCost> = v.object({
  ...{ parameters: count, training: finite, mixture: finite, inference: finite, expertInference: finite },
  memory: v.object(MEMORY),
});

const RESULT = v.object({
  folder: v.string(),
  steps: count,
  batch: count,
  tokens: count,
  loss: v.nullable(finite),
  validationLoss: v.nullable(finite),
  rate: finite,
  resumed: v.array(v.object({ step: count, key: v.string() })),
  cost: v.optional(COST),
  routing: v.optional(ROUTING),
});

/**
 * What training one model came to: folder of the checkpoint in the run folder, steps, sequences per step, real tokens trained on, the
 * training loss of the last line of metrics (nats per predicted token; null before there is one), mean NLL per predicted token of the
 * held-out sequences (nats; null where there are none), learning rate at its peak, the steps at which training went on under
 * other values, what training cost beside the mixture's, and what routing came to in the last line of metrics (for models that differ
 * from experts in more than batch and steps, and for those with experts in their layers).
 *
 * @ignore
 */
export type TrainResult = v.InferOutput<typeof RESULT>;

/** Reads what a training came to from its stage's manifest in a run. Throws an `InputError` where it lacks something. */
export function trainResult({ stage, result }: Manifest, run: string): TrainResult {
  try {
    return conform(RESULT, result);
  } catch (cause) {
    const where = manifestPath(run, stage);
    const what = `Cannot read "${where}" as its result must say what the training came to: ${oneLine(cause)}`;
    throw new InputError(what, { where, cause });
  }
}

/** The shards that a model learns from. */
export interface TrainingData {
  /** Paths of the training shards. */
  train: string[];
  /** Paths of the held-out shards. */
  test: string[];
  /** Training sequences. */
  sequences: number;
  /** Held-out sequences of the whole corpus, where it is all there. */
  heldOut?: number;
  /** Hash of the training shards. */
  shards: string;
  /** What the shards' manifest says of them, by path. */
  files: Record<string, FileRecord>;
}

/** How far two trainings of equal compute may be apart. */
const COMPUTE_APART = 0.01;

/** Says that the training of a model that is to cost as much as the mixture's does not; undefined where it does, or where that is not known. */
export function costApart(name: string, cost: TrainingCost | undefined): string | undefined {
  if (!cost || Math.abs(cost.training / cost.mixture - 1) <= COMPUTE_APART) return undefined;
  const [own, mixture] = [cost.training, cost.mixture].map((flops) => flops.toExponential(3));
  return `the training of ${name} takes ${own} FLOPs, that of the mixture ${mixture}: they are more than 1% apart`;
}

/** A setting that is the learning rate of some models. */
type RateName = Extract<keyof Configuration, `${string}Rate`>;

/** What sets one model apart from the others of a run. */
export interface Target {
  /** Name of its metrics, and of its stage after `train-`; for instance `expert-02`. */
  name: string;
  /** What the stage makes, in one sentence. */
  about: string;
  /** The task that trains it, and with which options. */
  command: NonNullable<Stage["command"]>;
  /** Stages that it stands on. */
  needs: readonly string[];
  /** Folder of its checkpoint, in the run folder. */
  folder: string;
  /** The settings that say its learning rate, the first of them that is not 0. */
  rates: readonly RateName[];
  /** Settings that it depends on besides those of every model. */
  settings?: readonly (keyof Configuration)[];
  /** Gives its shape. Default: an expert's. */
  model?(configuration: Configuration): ModelConfig;
  /** Sequences per step. */
  batch(configuration: Configuration): number;
  /** Counts its steps; `vocabularySize` is the tokenizer's. Throws an `InputError` where there is not one. */
  steps(configuration: Configuration, data: Pick<TrainingData, "sequences" | "heldOut">): number;
  /** Counts what its training costs beside the mixture's, where that is not a matter of tokens alone. */
  cost?(configuration: Configuration, data: TrainingData): TrainingCost;
  /** Whether a run is complete without it. */
  optional?: true;
  /** Whether it is to cost as many FLOPs as the mixture. */
  equalCompute?: true;
  /** Finds its shards, without reading them. Throws an `InputError` where they are missing. */
  data(context: RunContext): Promise<TrainingData>;
  /** Whether its checkpoint notes which shards it was trained on. */
  notesShards?: true;
}

/** Settings that every model's training depends on. */
const SETTINGS = [
  ...namesOf(EXPERTS, "expertRate", "denseRate", "denseStepsRate"),
  ...namesOf(OPTIMISER),
  "seed",
] as const;

/** Version of what training makes of the same inputs. */
const REVISION = 1;

/** What is known of a training before it begins. */
interface Known {
  data: TrainingData;
  recipe: Recipe;
  eos: number;
  tokenizer: string;
}

/** Makes the stage that trains a model. */
export function trainingStage(target: Target, options: TrainingOptions = {}): Stage {
  const { trial } = options;
  const name = trial ? `${target.name}-${trial.rate}` : target.name;
  const folder = trial ? `search/${name}` : target.folder;
  const metrics = trial ? `${folder}/metrics.jsonl` : `metrics/${name}.jsonl`;
  let known: Promise<Known> | undefined;
  const know = (context: RunContext) => known ??= readKnown(context, target, trial);
  let begin: ReturnType<typeof startWeights> | undefined; // a checkpoint is read once
  const startOf = async (context: RunContext) => {
    const { recipe, tokenizer } = await know(context);
    return await (begin ??= startWeights(context.configuration, recipe.model, tokenizer));
  };
  const stage: Stage = {
    name: `${trial ? "search" : "train"}-${name}`,
    about: target.about,
    command: target.command,
    needs: target.needs,
    onRequest: true,
    ...target.optional && { optional: true },
    alone: true,
    settings: [...SETTINGS, ...target.settings ?? [], ...target.rates],
    revision: REVISION,
    outputs: [`${folder}/`, metrics],
    async values(context) {
      const made = options.force || trial
        ? null
        : await readManifest(context.run, stage.name).catch(() => null);
      if (made && adoptionOf(made)) return made.configuration; // what another trainer made stands on no setting
      return { ...(await know(context)).recipe, saveDtype: context.configuration.saveDtype };
    },
    async inputs(context): Promise<Record<string, string>> {
      const { data, tokenizer } = await know(context);
      return { shards: data.shards, tokenizer };
    },
    external: async (context) => ({ init: (await startOf(context)).sha256 }),
    async begun(run) {
      const left = await Promise.all(
        ["config.json", "checkpoints"].map((file) => exists(`${run}/${folder}/${file}`)),
      );
      return left.includes(true) || await isHeld(run, stage.name);
    },
    estimate: (c, { sequences }, flops) => estimateOf(target, options, c, sequences, flops),
    async prepare(work, identity, before) {
      const { run, configuration, emit, force: again } = work;
      const { data, recipe, eos, tokenizer } = await know(work);
      const { force = false, resume = false, checkpointEvery = 200, checkpointMinutes = 15, keep = 2 } =
        options;
      const place: Place = { name, stage, folder: `${run}/${folder}`, metrics: `${run}/${metrics}`, recipe };
      if (recipe.batch % recipe.microBatch !== 0) {
        throw new InputError(
          `Cannot train as the batch must be a multiple of the micro-batch: batch is ${recipe.batch}, micro-batch is ${recipe.microBatch}`,
        );
      }
      const changes = force || resume || trial !== undefined;
      const { inputs } = identity;
      const sameInputs = (other: Record<string, string>) => canonical(other) === canonical(inputs);
      if (before && before.key !== identity.key && !changes && sameInputs(before.inputs)) {
        refuseChange(place, run, "it was trained", { revision: before.revision, ...before.configuration }, {
          revision: REVISION,
          ...identity.configuration,
        });
      }
      const gpu = await work.gpu();
      // Another adapter rounds differently: a checkpoint is continued on its own alone.
      const settings = { ...recipe, adapter: gpu.adapter, variants: gpu.variants };
      const key = stageKey(`${identity.stage} state`, REVISION, settings, inputs);
      const logged = await Deno.readFile(place.metrics).catch(() => new Uint8Array());
      const onDamaged = (what: Text) =>
        emit({ type: "warning", message: say`${what}; ${name} goes on from the one before` });
      let own = false; // whether a checkpoint was made with these very values: starting again loses nothing
      const saved = again
        ? undefined
        : await loadCheckpointState(statesOf(place), recipe.model, (context, step) => {
          const { metricsBytes, metricsSha256: written } = context;
          own ||= context.key === key;
          if (step > recipe.steps || metricsBytes > logged.length) return false;
          if (written !== undefined && sha256(logged.subarray(0, metricsBytes)) !== written) {
            onDamaged(
              `Cannot resume at step ${step} as the metrics up to it must be whole: "${place.metrics}" is not`,
            );
            return false;
          }
          if (context.key === key || resume) return true;
          if (!changes && sameInputs(context.inputs)) {
            refuseChange(place, run, `its checkpoint of step ${step} was made`, context.settings, {
              revision: REVISION,
              ...settings,
            });
          }
          return false;
        }, onDamaged);
      if (resume && !again && !saved && !own && before?.key !== identity.key) {
        await refuseLoss(place, before !== null);
      }
      const cost = trial
        ? undefined
        : target.cost?.({ ...configuration, vocabularySize: recipe.model.vocabulary }, data);
      const apart = target.equalCompute && costApart(name, cost);
      if (apart) emit({ type: "warning", message: `${apart}, as it takes whole steps` });
      const warning = trial ? undefined : longWarmup(name, recipe);
      if (warning) emit({ type: "warning", message: warning });
      const nameOf = (path: string) => path.slice(run.length + 1);
      const read = Object.fromEntries(
        Object.entries(data.files).map(([path, { sha256 }]) => [nameOf(path), sha256]),
      );
      work.files.add(".", data.files, nameOf);
      const start = await work.settle(async () => {
        await checkFiles(data.files, true); // before anything is touched; reading checks them anew
        return (await startOf(work)).weights;
      });
      work.files.note(read);
      const notes = { tokenizer, eos, ...(target.notesShards ? { partition: data.shards } : {}) };
      const { size } = await Deno.stat(`${run}/tokenizer.json`);
      work.files.add(run, { "tokenizer.json": { bytes: size, sha256: tokenizer } });
      return () =>
        makeModel(work, {
          ...{
            place,
            data,
            settings,
            key,
            inputs,
            notes,
            start,
            saved,
            checkpointEvery,
            checkpointMinutes,
            keep,
            cost,
          },
          recompute: options.recompute,
          makeTrainer: options.makeTrainer,
          smallerRate: (rate, more) => {
            const name = target.rates.find((rate) => configuration[rate] > 0) ?? "expertRate";
            return commandOf(stage, run, { [name]: rate, ...more });
          },
        });
    },
  };
  return stage;
}

/** Gives the shape of a model. */
function modelOf({ model }: Target, c: Configuration): ModelConfig {
  return model?.(c) ?? modelShapes(c).expert;
}

/** Estimates a training: its steps, its folder and its checkpoints, and the trainer's memory. */
function estimateOf(
  target: Target,
  { recompute, keep = 2, checkpointEvery = 200 }: TrainingOptions,
  c: Configuration,
  sequences: number,
  flops: number,
): Estimate {
  const model = modelOf(target, c);
  const batch = target.batch(c);
  const steps = target.steps(c, { sequences });
  const again = recompute ? 4 / 3 : 1; // a forward pass more to three
  const kept = checkpointEvery > 0 ? Math.min(keep, Math.floor(steps / checkpointEvery)) : 0;
  const parameters = parameterCount(model);
  const { microBatch, sequenceLength: length, dtype, saveDtype } = c;
  return {
    seconds: again * steps * trainingFlops(model, batch, length) / flops,
    diskBytes: parameters * ((saveDtype === "f32" ? 4 : 2) + 12 * kept), // weights, and two moments beside them
    memoryBytes:
      trainingMemory(model, { batch, microBatch: microBatch || c.expertBatch, length, recompute, dtype })
        .total,
  };
}

/** Reads what a training depends on, from the shards' manifest and the first of the shards. */
async function readKnown(
  context: RunContext,
  target: Target,
  trial: TrainingOptions["trial"],
): Promise<Known> {
  const { run, configuration: c } = context;
  const data = await target.data(context);
  await checkFiles(data.files);
  const { vocabulary, eos, tokenizer } = await readLineage(data, run, c);
  const own = { ...c, vocabularySize: vocabulary };
  const batch = target.batch(c);
  const all = target.steps(own, data);
  const steps = trial ? Math.max(1, Math.round(trial.share * all)) : all;
  const warmup = trial ? Math.ceil(c.expertWarmup * steps / all) : c.expertWarmup;
  const rate = trial?.rate ?? target.rates.map((name) => c[name]).find((rate) => rate > 0) ?? c.expertRate;
  const microBatch = c.microBatch || c.expertBatch;
  const model = modelOf(target, own);
  validateModelConfig(model, `the model "${target.name}"`);
  return { data, eos, tokenizer, recipe: recipeOf(c, model, { batch, microBatch, steps, rate, warmup }) };
}

/** Throws where a file is missing or has another size, or with `deeply` another content, than its record says. */
async function checkFiles(files: Record<string, FileRecord>, deeply = false): Promise<void> {
  for (const [where, { bytes, sha256 }] of Object.entries(files)) {
    const size = await Deno.stat(where).then(({ size }) => size, () => null);
    const what = size === null
      ? "it is missing"
      : size !== bytes
      ? `it has ${size} bytes, its manifest says ${bytes}`
      : deeply && (await hashFile(where)).sha256 !== sha256
      ? "its SHA-256 is not that of its manifest"
      : null;
    if (what === null) continue;
    throw new InputError(`Cannot train as "${where}" must be whole: ${what}`, {
      where,
      remedy: "copy it again or rerun the partition",
    });
  }
}

/** Reads a sample of at most `limit` held-out rows, the same for the same rows, limit and seed, in memory for `limit` alone. */
async function sampleRows(
  paths: string[],
  limit: number,
  seed: number,
  vouched: Vouched,
): Promise<Columns | undefined> {
  let sample: Columns | undefined;
  if (limit === 0 || paths.length === 0) return;
  for await (const batch of readShards(paths, vouched)) {
    const { nll: _, ...rows } = fromBatch(batch);
    const all = sample ? concatColumns([sample, rows]) : rows;
    const keys = randomKeys(seed, "validation", all.sequence);
    const order = Uint32Array.from(keys, (_, row) => row);
    if (all.rows > limit) order.sort((a, b) => keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0);
    sample = takeColumns(all, order.subarray(0, limit));
  }
  return sample;
}

/** Reads what the shards say about their tokens, and checks it against the run's tokenizer and settings. */
async function readLineage(
  { train }: TrainingData,
  run: string,
  { sequenceLength }: Configuration,
): Promise<{ vocabulary: number; eos: number; tokenizer: string }> {
  const where = `${run}/tokenizer.json`;
  if (!await exists(where)) {
    throw new InputError(`Cannot train in "${run}" as its tokenizer must be there: there is no "${where}"`, {
      where,
      remedy: "copy it from the run that made the shards",
    });
  }
  const { sha256: tokenizer } = await hashFile(where);
  for await (const batch of readShards(train)) {
    checkLineage(batch, { tokenizer, sequenceLength }, `the run "${run}"`);
    const { vocabulary, eos } = lineageOf(batch) ?? {};
    if (vocabulary === undefined || eos === undefined) break;
    return { vocabulary, eos, tokenizer };
  }
  throw new InputError(
    `Cannot train on "${train[0] ?? run}" as it must hold rows and say their vocabulary and EOS: it does not`,
    { where: train[0] },
  );
}

/** Where a model's training lies. */
interface Place {
  /** Name of the model. */
  name: string;
  stage: Stage;
  /** Path of its folder. */
  folder: string;
  /** Path of its metrics. */
  metrics: string;
  recipe: Recipe;
}

const MADE = new RegExp(`^(${MODEL_FILES.source}|checkpoints/step-\\d{8,}\\.safetensors)$`);
const statesOf = ({ folder }: Place): string => `${folder}/checkpoints`;

/** Whether a file, by its path in a model's folder, is one that a training had begun. */
export function isBegun(path: string): boolean {
  return MADE.test(wholeName(path) ?? "");
}

/** Removes a model, its states and its metrics. */
export async function removeModel(run: string, { name, folder }: Target): Promise<void> {
  await refuseLink(`${run}/${folder}`);
  await removeFiles(`${run}/${folder}`, "", (path) => MADE.test(path) || isBegun(path));
  await removeIfThere(`${run}/metrics/${name}.jsonl`);
}

/** What is settled before a model is trained. */
interface Plan {
  place: Place;
  data: TrainingData;
  /** All that a state depends on but for the data, and the hash of both. */
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
  makeTrainer?: MakeTrainer;
  /** Names the command that trains it with a smaller rate. */
  smallerRate(rate: number, more: TaskReference["with"]): TaskReference;
}

/** Trains a model, from its saved state where there is one, and writes its folder. */
async function makeModel(work: Work, plan: Plan): Promise<Made> {
  const { run, configuration: c, signal, emit } = work;
  const { place, data, settings, key, inputs, start, saved, checkpointEvery, checkpointMinutes, keep } = plan;
  const { name, stage, folder, metrics } = place;
  const { batch, steps, rate } = settings;
  const states = statesOf(place);
  await removeFiles(folder, "", isBegun);
  const resumed = [...saved?.context.resumed ?? []];
  if (saved) {
    const at = saved.state.trainer.step;
    emit({ type: "warning", message: `${name} goes on after step ${at} of ${steps}` });
    if (saved.context.key !== key) resumed.push({ step: at, key: saved.context.key });
  } else await removeCheckpoints(states);
  await Deno.mkdir(dirname(metrics), { recursive: true });
  await refuseLink(metrics);
  const log = await Deno.open(metrics, { write: true, create: true });
  let metricsBytes = saved?.context.metricsBytes ?? 0;
  const logged = createHash("sha256").update((await Deno.readFile(metrics)).subarray(0, metricsBytes));
  await log.truncate(metricsBytes);
  await log.seek(metricsBytes, Deno.SeekMode.Start);
  /** A checkpoint that no step brought; it goes once something follows it. */
  let extra = saved?.context.interrupted && checkpointPath(states, saved.state.trainer.step);
  const removeExtra = async () => {
    if (extra) await removeIfThere(extra);
    extra = undefined;
  };
  let lastSaved = saved ? `${states} holds that of step ${saved.state.trainer.step}` : "";
  const result: TrainResult = {
    folder: folder.slice(run.length + 1),
    steps,
    batch,
    tokens: saved?.state.tokens ?? 0,
    loss: saved?.context.loss ?? null,
    validationLoss: saved?.context.validationLoss ?? null,
    rate,
    resumed,
    ...saved?.context.routing && { routing: saved.context.routing },
  };
  let [lastTime, lastTokens] = [performance.now(), result.tokens];
  let speed: { tokensPerSecond?: number; utilisation?: number } = {};
  const gpu = await work.gpu();
  const measured = (await measuredDevices())[gpu.adapter];
  const flopsPerToken = trainingFlops(settings.model, 1, settings.model.context) / settings.model.context;
  try {
    const weights = await trainModel({
      ...settings,
      rateAt: (step) => cosineRate(step, { rate, warmup: settings.warmup, steps, final: settings.finalRate }),
      gpu,
      start: saved?.state ?? start(),
      recompute: plan.recompute,
      makeTrainer: plan.makeTrainer,
      open: (consumed) => epochs(data.train, c.seed, consumed, work.files),
      validation: await sampleRows(data.test, c.validationSequences, c.seed, work.files),
      checkpointEvery,
      checkpointMinutes,
      onMetrics: async (line) => {
        const text = new TextEncoder().encode(JSON.stringify(line) + "\n");
        for (let at = 0; at < text.length;) at += await log.write(text.subarray(at));
        logged.update(text);
        metricsBytes += text.length;
        result.loss = line.loss;
        result.tokens = line.tokens;
        if (line.reports && settings.model.switch) result.routing = routingOf(line.reports, settings.model);
        if (line.validationLoss !== undefined) result.validationLoss = line.validationLoss;
        const now = performance.now();
        const seconds = (now - lastTime) / 1000;
        const tokensPerSecond = (line.tokens - lastTokens) / seconds;
        const utilisation = measured && tokensPerSecond * flopsPerToken / (measured.gflops * 1e9);
        speed = { tokensPerSecond, utilisation };
        await recordTime(run, { stage: stage.name, step: line.step, seconds, ...speed });
        [lastTime, lastTokens] = [now, line.tokens];
      },
      onCheckpoint: async (state, { extra: isExtra }) => {
        emit({ type: "checkpoint", stage: stage.name, state: "started" });
        const context: CheckpointContext = {
          key,
          settings: { revision: REVISION, ...settings },
          inputs,
          metricsBytes,
          metricsSha256: logged.copy().digest("hex"),
          loss: result.loss,
          validationLoss: result.validationLoss,
          ...(result.routing ? { routing: result.routing } : {}),
          ...(isExtra ? { interrupted: isExtra } : {}),
          resumed,
        };
        await log.syncData();
        const path = await saveCheckpointState(states, settings.model, state, context);
        lastSaved = `${path} is the last good checkpoint`;
        if (extra !== path) await removeExtra();
        if (isExtra) extra = path;
        else await removeOldCheckpoints(states, keep);
        emit({ type: "checkpoint", stage: stage.name, state: "done" });
      },
      onStep: ({ step, loss, rate }) =>
        emit({
          type: "progress",
          stage: stage.name,
          done: step,
          total: steps,
          unit: "steps",
          loss,
          learningRate: rate,
          ...speed,
        }),
      signal,
    });
    const records = await saveModelFolder(folder, settings.model, weights, {
      notes: plan.notes,
      tokenizer: `${run}/tokenizer.json`,
      vouched: work.files,
      dtype: c.saveDtype.toUpperCase() as SafetensorsDtype,
    });
    const outputs: Record<string, FileRecord> = {};
    for (const [file, record] of Object.entries(records)) outputs[`${result.folder}/${file}`] = record;
    outputs[metrics.slice(run.length + 1)] = await hashFile(metrics);
    await removeExtra();
    return { outputs, result: { ...result, ...plan.cost && { cost: plan.cost } } };
  } catch (error) {
    const again = commandOf(stage, run);
    if (error instanceof DeviceError) {
      throw new RunError(error.what, {
        remedy: say`${lastSaved || "there is no checkpoint yet"}; ${again} goes on from there; ${error
          .remedy!}`,
        cause: error,
      });
    }
    if (!(error instanceof LossNotFiniteError)) throw error;
    const smaller = Number((rate / 2).toPrecision(2));
    throw new RunError(`${error.message} of ${name}`, {
      remedy: lastSaved
        ? say`${lastSaved}; go on from it with a smaller rate: ${plan.smallerRate(smaller, { resume: true })}`
        : say`there is no checkpoint yet; start again with a smaller rate: ${
          plan.smallerRate(smaller, { force: true })
        }`,
      cause: error,
    });
  } finally {
    log.close();
  }
}

/** Says what routing came to, from what the sublayers of all layers report. */
function routingOf({ balance, routed, dropped }: Record<string, number>, { layers }: ModelConfig): Routing {
  return { balance: balance / layers, dropped: dropped / routed };
}

/** Throws an `InputError` where there is a training: none of its checkpoints can be gone on from, and a new one would replace it. */
async function refuseLoss(place: Place, trained: boolean): Promise<void> {
  const where = statesOf(place);
  const [last] = await listCheckpoints(where);
  if (last === undefined && !trained) return;
  const { name, recipe: { steps } } = place;
  const fact = last === undefined ? "there is none" : `the last is ${basename(last)}`;
  throw new InputError(
    `Cannot resume ${name} as a checkpoint of its model and of at most ${steps} steps must be there: ${fact}`,
    { where, remedy: say`train for more steps, or start again with ${setting("force")}` },
  );
}

/** Throws an `InputError` with both values of the first setting that differs. */
function refuseChange(
  { name, stage }: Place,
  run: string,
  what: string,
  before: Record<string, unknown>,
  now: Record<string, unknown>,
): never {
  const whole = ({ code: _, ...settings }: Record<string, unknown>) => ({
    revision: 1,
    dtype: "f32",
    ...settings,
  });
  const [then, today]: Record<string, unknown>[] = [whole(before), whole(now)];
  const differs = (key: string) => canonical(then[key] ?? null) !== canonical(today[key] ?? null);
  const key = Object.keys({ ...then, ...today }).find(differs) ?? "data";
  throw new InputError(
    `Cannot train ${name} as ${what} with ${key === "variants" ? "other" : "another"} ${key}: ${
      JSON.stringify(then[key])
    } then, ${JSON.stringify(today[key])} now`,
    {
      remedy: say`go on from there with ${commandOf(stage, run, { resume: true })}, or start again with ${
        setting("force")
      }`,
    },
  );
}
