/**
 * Trains experts and dense baselines in a run folder. An expert reads the run's `config.json`, `tokenizer.json` and its own
 * `partition/expert-NN/`, nothing else: a folder that holds these three trains it anywhere.
 *
 * @module
 */

import { dirname } from "node:path";
import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import { type Configuration, FIELDS, type Sources } from "../config.ts";
import { checkLineage, fromBatch, lineageOf, readShards } from "../data/arrow.ts";
import { type Columns, concatColumns, sliceColumns } from "../data/columns.ts";
import { epochs } from "../data/shuffle.ts";
import { loadCheckpoint, saveModelFolder } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { initialWeights, type Weights } from "../model/parameters.ts";
import type { SafetensorsDtype } from "../model/safetensors.ts";
import { expertFolder, partHash, type PartManifest } from "../routing/split.ts";
import { readRunConfiguration, resolveRun, writeRunConfiguration } from "../run/configuration.ts";
import { exists, type FileRecord, hashFile, removeIfThere } from "../run/files.ts";
import { lockRun } from "../run/lock.ts";
import {
  manifestPath,
  outputsHash,
  readManifest,
  stageKey,
  upToDate,
  writeManifest,
} from "../run/manifest.ts";
import { VERSION } from "../run/version.ts";
import { type PartitionEvent, recordTime } from "../run/work.ts";
import { type CheckpointContext, loadCheckpointState, saveCheckpointState } from "./checkpoints.ts";
import { cosineRate } from "./schedule.ts";
import { LossNotFiniteError, trainModel } from "./train.ts";

/** What {@link trainExpert} and {@link trainDense} take. */
export interface TrainOptions {
  /** Run folder. */
  run: string;
  /** Where values of the configuration come from. */
  sources?: Sources;
  /** Accepts values that differ from those of earlier trainings; without any, trains again from the start. */
  force?: boolean;
  /** Goes on from the last checkpoint although values differ. */
  resume?: boolean;
  /** `high-performance`, `low-power`, or part of the name that the adapter must have. */
  adapter?: string;
  /** An open device to use instead of opening one; it stays open. */
  gpu?: Gpu;
  /** Keeps only layer inputs and computes the rest again in the backward pass: the same bits. */
  recompute?: boolean;
  /** Trains for a share of the steps at this rate instead, into `search/`, to compare rates; the warm-up shrinks alike. */
  trial?: { share: number; rate: number };
  /** Steps between two checkpoints; 0 for none. Default: 200. */
  checkpointEvery?: number;
  /** Checkpoints that are kept. Default: 2. */
  keep?: number;
  /** Tells what happens. */
  onEvent?: (event: PartitionEvent) => void;
  /** Ends the training after a checkpoint. */
  signal?: AbortSignal;
}

/** What training one model came to. */
export interface TrainResult {
  /** Folder of the checkpoint, in the run folder. */
  folder: string;
  /** Steps. */
  steps: number;
  /** Sequences per step. */
  batch: number;
  /** Real tokens trained on. */
  tokens: number;
  /** Mean training NLL per predicted token over the last steps, nats. */
  loss: number;
  /** Mean NLL per predicted token of the held-out sequences, nats; null where there are none. */
  validationLoss: number | null;
  /** Learning rate at its peak. */
  rate: number;
  /** Steps at which training went on under other values. */
  resumed: { step: number; key: string }[];
}

/** What sets one model apart from the others of a run. */
interface Target {
  /** Name of its stage, metrics and events, for instance `expert-02`. */
  name: string;
  /** The command that trains it. */
  command: string;
  /** Folder of its checkpoint, in the run folder. */
  folder: string;
  /** Training shards. */
  train: string[];
  /** Held-out shards. */
  test: string[];
  /** Training sequences. */
  sequences: number;
  /** Hash of the training shards. */
  shards: string;
  /** Sequences per step. */
  batch: number;
  /** Sequences that run at once. */
  microBatch: number;
  /** Times the expert's steps. */
  times: number;
  /** Learning rate at its peak. */
  rate: number;
  /** What its checkpoint notes about the data. */
  notes: { partition?: string };
}

/**
 * Trains expert `expert` on its own part, unless that is up to date.
 *
 * Throws a `RangeError` where there is no such part, values contradict earlier ones, or files do not belong together, a `SyntaxError` on
 * damaged files, and an `Error` that says how to go on where a loss is not finite.
 */
export async function trainExpert(expert: number, options: TrainOptions): Promise<TrainResult> {
  const { run } = options;
  return await inRun(options, `train-expert ${expert}`, async (configuration) => {
    const folder = `${run}/partition/${expertFolder(expert)}`;
    const { experts, expertBatch, microBatch, expertRate } = configuration;
    if (!(Number.isSafeInteger(expert) && expert >= 0 && expert < experts)) {
      throw new RangeError(
        `Cannot train expert ${expert} as it must be one of 0 to ${
          experts - 1
        }: the run "${run}" has ${experts} experts`,
      );
    }
    const part = await readPart(folder, run);
    await checkFiles(folder, part.files);
    const paths = (kind: string) =>
      part.files.filter(({ name }) => name.startsWith(`${kind}-`)).map(({ name }) => `${folder}/${name}`);
    const shards = partHash(part);
    return {
      name: expertFolder(expert),
      command: `deno task train-expert --run ${run} --expert ${expert}`,
      folder: `experts/${expertFolder(expert)}`,
      train: paths("train"),
      test: paths("test"),
      sequences: part.train.sequences,
      shards,
      batch: expertBatch,
      microBatch: microBatch || expertBatch,
      times: 1,
      rate: expertRate,
      notes: { partition: shards },
    };
  });
}

/**
 * Trains a dense baseline on the whole training set in its shuffled order, unless that is up to date: with E times the expert's
 * batch and its steps (`batch`, the paper's protocol), or with its batch and E times its steps (`steps`). Tokens, training FLOPs and
 * inference cost equal those of the mixture. Throws as {@link trainExpert} does.
 */
export async function trainDense(match: "batch" | "steps", options: TrainOptions): Promise<TrainResult> {
  const { run } = options;
  return await inRun(options, `train-dense --match ${match}`, async (configuration) => {
    const tokenize = await readManifest(run, "tokenize");
    if (!tokenize) {
      throw new RangeError(
        `Cannot train a dense model in "${run}" as its text must be there as tokens: "tokenize" has not run; run deno task ` +
          `partition --run ${run} first`,
      );
    }
    const files = Object.entries(tokenize.outputs).map(([name, file]) => ({ name, ...file }));
    await checkFiles(run, files);
    const paths = (kind: string) =>
      files.map(({ name }) => name).filter((name) => name.startsWith(`tokens/${kind}-`))
        .sort((a, b) => a.length - b.length || (a < b ? -1 : 1)).map((name) => `${run}/${name}`);
    const { experts, expertBatch, microBatch, expertRate, denseRate, denseStepsRate } = configuration;
    const name = match === "batch" ? "dense" : "dense-steps";
    return {
      name,
      command: `deno task train-dense --run ${run} --match ${match}`,
      folder: name,
      train: paths("train"),
      test: paths("test"),
      sequences: Number(tokenize.result.trainSequences),
      shards: outputsHash(tokenize, "tokens/train-"),
      batch: match === "batch" ? expertBatch * experts : expertBatch,
      microBatch: microBatch || expertBatch,
      times: match === "batch" ? 1 : experts,
      rate: (match === "batch" ? denseRate : denseStepsRate) || expertRate,
      notes: {},
    };
  });
}

/** Reads how many experts a run has, from its configuration. Throws a `RangeError` where it is no run folder. */
export async function expertsOf(run: string): Promise<number> {
  return (await needConfiguration(run)).experts;
}

async function needConfiguration(run: string): Promise<Configuration> {
  const existing = await readRunConfiguration(run);
  if (existing) return existing.configuration;
  throw new RangeError(
    `Cannot train in "${run}" as it must be a run folder: there is no config.json; run deno task partition --run ${run} first`,
  );
}

/** Resolves the run's configuration, takes the locks, opens the device when it is needed, and trains. */
async function inRun(
  options: TrainOptions,
  task: string,
  describe: (configuration: Configuration) => Promise<Target>,
): Promise<TrainResult> {
  const { run, sources = {}, force = false, resume = false } = options;
  await needConfiguration(run);
  const trained = new Set(await trainedFolders(run));
  const isFree = (name: keyof Configuration) =>
    options.trial !== undefined || name === "denseRate" && !trained.has("dense") ||
    name === "denseStepsRate" && !trained.has("dense-steps") ||
    trained.size === 0 && FIELDS[name].section === "Experts";
  const { configuration, changed } = await resolveRun(run, sources, force || resume, isFree);
  const target = await describe(configuration);
  const release = await lockRun(run, task, { shared: true });
  let releaseOwn: (() => Promise<void>) | undefined;
  let gpu = options.gpu;
  try {
    releaseOwn = await lockRun(`${run}/${target.folder}`, task);
    const settle = async () => {
      if (options.trial) return;
      await writeRunConfiguration(run, configuration, (await readRunConfiguration(run))?.adapter);
    };
    const open = async () => {
      if (gpu) return gpu;
      gpu = await openGpu({ adapter: options.adapter || undefined });
      options.onEvent?.({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
      return gpu;
    };
    const forced = { ...options, force: force && changed.length === 0 };
    return await train(
      options.trial ? onTrial(target, options.trial.rate) : target,
      configuration,
      { open, settle },
      forced,
    );
  } finally {
    if (!options.gpu) gpu?.close();
    await releaseOwn?.();
    await release();
  }
}

/** Gives a trial of a rate a place of its own. */
function onTrial(target: Target, rate: number): Target {
  const name = `${target.name}-${rate}`;
  return { ...target, name, folder: `search/${name}`, rate };
}

/** Lists the folders that hold a trained model or a checkpoint of one: the values that it was trained with hold from then on. */
async function trainedFolders(run: string): Promise<string[]> {
  const folders = ["dense", "dense-steps"];
  if (await exists(`${run}/experts`)) {
    for await (const { name } of Deno.readDir(`${run}/experts`)) folders.push(`experts/${name}`);
  }
  const found: string[] = [];
  for (const folder of folders) {
    const files = [`${run}/${folder}/config.json`, `${run}/${folder}/checkpoints`];
    if (await exists(files[0]) || await exists(files[1])) found.push(folder);
  }
  return found;
}

async function readPart(folder: string, run: string): Promise<PartManifest> {
  const path = `${folder}/manifest.json`;
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) throw error;
    throw new RangeError(
      `Cannot train an expert as its part must be there: there is no "${path}"; run deno task partition --run ${run} first`,
    );
  }
  try {
    const part: PartManifest = JSON.parse(text);
    if (!Array.isArray(part.files) || typeof part.train?.sequences !== "number") {
      throw new Error("fields are missing");
    }
    return part;
  } catch (error) {
    throw new SyntaxError(
      `Cannot read "${path}" as it must be a part's manifest: ${(error as Error).message}`,
    );
  }
}

/** Throws where a file is missing or has another size than its record says. */
async function checkFiles(folder: string, files: readonly (FileRecord & { name: string })[]): Promise<void> {
  for (const { name, bytes } of files) {
    const size = await Deno.stat(`${folder}/${name}`).then(({ size }) => size, () => null);
    if (size === bytes) continue;
    throw new RangeError(
      `Cannot train as "${folder}/${name}" must be whole: ${
        size === null ? "it is missing" : `it has ${size} bytes`
      }, its ` +
        `manifest says ${bytes} bytes; copy it again or rerun the partition`,
    );
  }
}

/** Counts the steps of an expert: by tokens, by passes over its sequences, or as configured. */
function stepsOf(
  { expertTokens, expertEpochs, expertSteps }: Configuration,
  target: Target,
  length: number,
): number {
  if (expertTokens > 0 && expertEpochs > 0) {
    throw new RangeError(
      `Cannot train as only one of --tokens and --epochs may be given: tokens is ${expertTokens}, epochs is ${expertEpochs}`,
    );
  }
  const perExpert = target.batch / target.times;
  const steps = expertTokens > 0
    ? Math.floor(expertTokens * target.times / (target.batch * length))
    : expertEpochs > 0
    ? Math.floor(expertEpochs * target.sequences / target.batch)
    : expertSteps * target.times;
  if (steps >= 1) return steps;
  throw new RangeError(
    `Cannot train as there must be at least one step: ${target.sequences} sequences in batches of ${target.batch} for ` +
      (expertTokens > 0 ? `${expertTokens} tokens` : `${expertEpochs} epochs`) +
      ` make none; batch per expert is ${perExpert}`,
  );
}

/** Reads at most `limit` held-out rows, in their order. */
async function readRows(paths: string[], limit: number): Promise<Columns | undefined> {
  const parts: Columns[] = [];
  let left = limit;
  if (left > 0 && paths.length > 0) {
    for await (const batch of readShards(paths)) {
      const rows = fromBatch(batch);
      parts.push(sliceColumns(rows, 0, Math.min(left, rows.rows)));
      left -= rows.rows;
      if (left <= 0) break;
    }
  }
  return parts.length === 0 ? undefined : concatColumns(parts);
}

/** Reads what the shards say about their tokens, and checks it against the run's tokenizer and configuration. */
async function readLineage(target: Target, run: string, c: Configuration): Promise<{
  vocabulary: number;
  eos: number;
  tokenizer: string;
}> {
  const path = `${run}/tokenizer.json`;
  if (!await exists(path)) {
    throw new RangeError(
      `Cannot train in "${run}" as its tokenizer must be there: there is no "${path}"; copy it from the run that made the shards`,
    );
  }
  const { sha256 } = await hashFile(path);
  for await (const batch of readShards(target.train)) {
    checkLineage(batch, { tokenizer: sha256, sequenceLength: c.sequenceLength }, `the run "${run}"`);
    const { vocabulary, eos } = lineageOf(batch) ?? {};
    if (vocabulary === undefined || eos === undefined) break;
    return { vocabulary, eos, tokenizer: sha256 };
  }
  throw new RangeError(
    `Cannot train on "${
      target.train[0] ?? target.name
    }" as it must hold rows and say their vocabulary and EOS: it does not`,
  );
}

/** Loads the weights to start from: those of `--init`, or new ones. */
async function startWeights(
  c: Configuration,
  model: ModelConfig,
  tokenizer: string,
): Promise<{ weights: Weights; sha256: string }> {
  if (c.init === "") return { weights: initialWeights(model, c.seed), sha256: "" };
  const { config, weights, notes, sha256 } = await loadCheckpoint(c.init);
  for (const name of ["vocabulary", "hidden", "layers", "heads"] as const) {
    if (config[name] === model[name]) continue;
    throw new RangeError(
      `Cannot start from "${c.init}" as its ${name} must be that of the model to train: there it is ${
        config[name]
      }, here it is ` +
        `${model[name]}`,
    );
  }
  if (notes.tokenizer !== undefined && notes.tokenizer !== tokenizer) {
    throw new RangeError(
      `Cannot start from "${c.init}" as its tokenizer must be the run's: SHA-256 is ${notes.tokenizer} there, ${tokenizer} here`,
    );
  }
  return { weights, sha256 };
}

async function train(
  target: Target,
  c: Configuration,
  { open, settle }: { open: () => Promise<Gpu>; settle: () => Promise<void> },
  options: TrainOptions,
): Promise<TrainResult> {
  const { run, force, resume, checkpointEvery = 200, keep = 2, signal, onEvent: emit = () => {} } = options;
  const { name, folder, batch, microBatch, rate } = target;
  const stage = options.trial ? `search-${name}` : `train-${name}`;
  const { vocabulary, eos, tokenizer } = await readLineage(target, run, c);
  const model: ModelConfig = {
    vocabulary,
    hidden: c.expertHidden,
    layers: c.expertLayers,
    heads: c.expertHeads,
    context: c.sequenceLength,
  };
  const allSteps = stepsOf(c, target, c.sequenceLength);
  const steps = options.trial ? Math.max(1, Math.round(options.trial.share * allSteps)) : allSteps;
  const start = await startWeights(c, model, tokenizer);
  const inputs = { shards: target.shards, tokenizer, init: start.sha256 };
  const { clip, beta1, beta2, epsilon, weightDecay } = c;
  const settings = {
    model,
    batch,
    microBatch,
    steps,
    rate,
    warmup: options.trial ? Math.ceil(c.expertWarmup * steps / allSteps) : c.expertWarmup,
    finalRate: c.expertFinalRate,
    clip,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    seed: c.seed,
    logEvery: c.logEvery,
    validateEvery: c.validateEvery,
    validationSequences: c.validationSequences,
  };
  const configuration = { ...settings, saveDtype: c.saveDtype };
  const key = stageKey(stage, configuration, inputs);
  const current = force ? null : await upToDate(run, stage, key);
  if (current) {
    emit({ type: "stage", stage, state: "up to date", result: current.result });
    return current.result as unknown as TrainResult;
  }
  if (batch % microBatch !== 0) {
    throw new RangeError(
      `Cannot train as the batch must be a multiple of the micro-batch: batch is ${batch}, micro-batch is ${microBatch}`,
    );
  }
  await settle();
  emit({ type: "stage", stage, state: "started" });
  const began = performance.now();
  await removeIfThere(manifestPath(run, stage));
  const gpu = await open();
  // Another adapter rounds differently: a checkpoint is continued on its own alone.
  const { adapter, variants } = gpu;
  const stateKey = stageKey(`${stage} state`, { ...settings, adapter, variants }, inputs);
  const states = `${run}/${folder}/checkpoints`;
  const metrics = options.trial ? `${run}/${folder}/metrics.jsonl` : `${run}/metrics/${name}.jsonl`;
  const saved = force ? undefined : await loadCheckpointState(
    states,
    model,
    (context, step) => step <= steps && (context.key === stateKey || resume === true),
  );
  const resumed = [...saved?.context.resumed ?? []];
  if (saved) {
    const at = saved.state.trainer.step;
    emit({ type: "warning", message: `${name} goes on after step ${at} of ${steps}` });
    if (saved.context.key !== stateKey) resumed.push({ step: at, key: saved.context.key });
  } else await removeIfThere(states);
  await Deno.mkdir(dirname(metrics), { recursive: true });
  const log = await Deno.open(metrics, { write: true, create: true });
  let metricsBytes = saved?.context.metricsBytes ?? 0;
  await log.truncate(metricsBytes);
  await log.seek(metricsBytes, Deno.SeekMode.Start);
  let lastSaved = saved ? `${states} holds that of step ${saved.state.trainer.step}` : "there is none yet";
  const result = {
    folder,
    steps,
    batch,
    tokens: saved?.state.tokens ?? 0,
    loss: NaN,
    validationLoss: null as number | null,
    rate,
    resumed,
  };
  let [lastTime, lastTokens] = [performance.now(), result.tokens];
  let speed = "";
  try {
    const weights = await trainModel({
      ...settings,
      rateAt: (step) => cosineRate(step, { rate, warmup: settings.warmup, steps, final: settings.finalRate }),
      gpu,
      start: saved?.state ?? start.weights,
      recompute: options.recompute,
      open: (consumed) => epochs(target.train, c.seed, consumed),
      validation: await readRows(target.test, c.validationSequences),
      checkpointEvery,
      onMetrics: async (line) => {
        const text = new TextEncoder().encode(JSON.stringify(line) + "\n");
        for (let at = 0; at < text.length;) at += await log.write(text.subarray(at));
        metricsBytes += text.length;
        result.loss = line.loss;
        result.tokens = line.tokens;
        if (line.validationLoss !== undefined) result.validationLoss = line.validationLoss;
        const now = performance.now();
        const seconds = (now - lastTime) / 1000;
        const tokensPerSecond = (line.tokens - lastTokens) / seconds;
        speed = `, ${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s`;
        await recordTime(run, { stage, step: line.step, seconds, tokensPerSecond });
        [lastTime, lastTokens] = [now, line.tokens];
      },
      onCheckpoint: async (state) => {
        const context: CheckpointContext = { key: stateKey, metricsBytes, resumed };
        await log.syncData();
        lastSaved = `${await saveCheckpointState(states, model, state, context, keep)} is the last good one`;
      },
      onStep: ({ step, loss, rate }) =>
        emit({
          type: "progress",
          stage,
          done: step,
          total: steps,
          unit: "steps",
          note: `loss ${loss.toFixed(3)}, learning rate ${rate.toExponential(1)}${speed}`,
        }),
      signal,
    });
    const records = await saveModelFolder(`${run}/${folder}`, model, weights, {
      notes: { tokenizer, eos, ...target.notes },
      tokenizer: `${run}/tokenizer.json`,
      dtype: c.saveDtype.toUpperCase() as SafetensorsDtype,
    });
    const outputs: Record<string, FileRecord> = {};
    for (const [file, record] of Object.entries(records)) outputs[`${folder}/${file}`] = record;
    outputs[metrics.slice(run.length + 1)] = await hashFile(metrics);
    await writeManifest(run, {
      stage,
      key,
      code: VERSION,
      configuration,
      inputs,
      outputs,
      result: { ...result },
    });
  } catch (error) {
    if (!(error instanceof LossNotFiniteError)) throw error;
    throw new Error(
      `${error.message} of ${name}; its checkpoint: ${lastSaved}; go on with a smaller rate: ${target.command} ` +
        `--${rateFlag(name, c)} ${Number((rate / 2).toPrecision(2))} --resume`,
      { cause: error },
    );
  } finally {
    log.close();
  }
  const seconds = (performance.now() - began) / 1000;
  await recordTime(run, { stage, seconds });
  emit({ type: "stage", stage, state: "done", seconds, result: { ...result } });
  return result;
}

function rateFlag(name: string, { denseRate, denseStepsRate }: Configuration): string {
  if (name === "dense" && denseRate > 0) return FIELDS.denseRate.flag;
  if (name === "dense-steps" && denseStepsRate > 0) return FIELDS.denseStepsRate.flag;
  return FIELDS.expertRate.flag;
}
