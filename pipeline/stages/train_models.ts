/**
 * Trains experts and dense baselines in a run folder. An expert reads the run's `config.json`, `tokenizer.json` and its own
 * `partition/expert-NN/`, nothing else: a folder that holds these three trains it anywhere.
 *
 * @module
 */

import { dirname } from "node:path";
import * as v from "valibot";
import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import type { Dtype } from "../../kernels/storage.ts";
import type { Variants } from "../../kernels/variants.ts";
import { type Configuration, FIELDS, type Sources } from "../settings/configuration.ts";
import { checkLineage, fromBatch, lineageOf, readShards } from "../rows/arrow.ts";
import { type Columns, concatColumns, takeColumns } from "../rows/columns.ts";
import { randomKeys } from "../random.ts";
import { epochs } from "../rows/shuffle.ts";
import { loadCheckpoint, saveModelFolder } from "../checkpoints/checkpoint.ts";
import type { ModelConfig } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { initialWeights, type Weights } from "../model/parameters.ts";
import type { SafetensorsDtype } from "../checkpoints/safetensors.ts";
import { expertFolder, partHash, type PartManifest } from "../partition/split.ts";
import { readRunConfiguration, resolveRun, trainedFolders, writeRunConfiguration } from "./configuration.ts";
import { exists, type FileRecord, hashFile, removeIfThere, removePartials } from "../run/files.ts";
import { GLANCE_MS, lockRun } from "../run/lock.ts";
import { canonical, commandOf, outputsHash, outputsUnder, readManifest, stageKey } from "../run/manifest.ts";
import { configurationRemedy, partitionRemedy } from "./parts_alone.ts";
import type { RunEvent } from "../run/events.ts";
import { conform } from "../run/schema.ts";
import { VERSION } from "../run/version.ts";
import { type Made, makeStage, recordTime, reuseStage } from "./work.ts";
import {
  type CheckpointContext,
  checkpointPath,
  loadCheckpointState,
  removeOldCheckpoints,
  saveCheckpointState,
} from "../training/resume.ts";
import { cosineRate } from "../training/schedule.ts";
import { trainingSteps } from "../training/steps.ts";
import { LossNotFiniteError, trainModel } from "../training/loop.ts";

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
  /** Forms of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
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
  onEvent?: (event: RunEvent) => void;
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
  /** The training loss of the last line of metrics, nats per predicted token; null before there is one. */
  loss: number | null;
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
  /** Reads every shard and throws where one is not as it was written. */
  verify: () => Promise<void>;
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
  await needConfiguration(run, configurationRemedy);
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
    if (part.train.sequences === 0) {
      throw new RangeError(
        `Cannot train expert ${expert} as its part must hold sequences: "${folder}" holds none`,
      );
    }
    const paths = (kind: string) =>
      part.files.filter(({ name }) => name.startsWith(`${kind}-`)).map(({ name }) => `${folder}/${name}`);
    const shards = partHash(part);
    return {
      name: expertFolder(expert),
      command: commandOf(run, `train-${expertFolder(expert)}`)!,
      folder: `experts/${expertFolder(expert)}`,
      train: paths("train"),
      test: paths("test"),
      sequences: part.train.sequences,
      shards,
      verify: () => checkFiles(folder, part.files, true),
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
  await needConfiguration(run, partitionRemedy);
  return await inRun(options, `train-dense --match ${match}`, async (configuration) => {
    const tokenize = await readManifest(run, "tokenize");
    if (!tokenize) {
      throw new RangeError(
        `Cannot train a dense model in "${run}" as its text must be there as tokens: "tokenize" has not run; ${await partitionRemedy(
          run,
        )}`,
      );
    }
    const files = Object.entries(tokenize.outputs).map(([name, file]) => ({ name, ...file }));
    await checkFiles(run, files);
    const paths = (kind: string) => outputsUnder(tokenize, `tokens/${kind}-`).map((name) => `${run}/${name}`);
    const { experts, expertBatch, microBatch, expertRate, denseRate, denseStepsRate } = configuration;
    const name = match === "batch" ? "dense" : "dense-steps";
    return {
      name,
      command: commandOf(run, `train-${name}`)!,
      folder: name,
      train: paths("train"),
      test: paths("test"),
      sequences: Number(tokenize.result.trainSequences),
      shards: outputsHash(tokenize, "tokens/train-"),
      verify: () => checkFiles(run, files, true),
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
  return (await needConfiguration(run, configurationRemedy)).experts;
}

async function needConfiguration(
  run: string,
  remedy: (run: string) => Promise<string>,
): Promise<Configuration> {
  const existing = await readRunConfiguration(run);
  if (existing) return existing.configuration;
  throw new RangeError(
    `Cannot train in "${run}" as it must be a run folder: there is no config.json; ${await remedy(run)}`,
  );
}

/** Settling values takes moments, but for opening the device. */
const SETTLING_MS = 10_000;

/** Resolves the run's configuration, takes the locks, opens the device when it is needed, and trains. */
async function inRun(
  options: TrainOptions,
  task: string,
  describe: (configuration: Configuration) => Promise<Target>,
): Promise<TrainResult> {
  const { run, sources = {}, force = false, resume = false } = options;
  const release = await lockRun(run, task, { shared: true });
  // Values are settled by one process at a time: a second one finds those of the first.
  let releaseSettling: (() => Promise<void>) | undefined;
  let releaseOwn: (() => Promise<void>) | undefined;
  let gpu = options.gpu;
  try {
    releaseSettling = await lockRun(`${run}/metrics`, task, { patience: SETTLING_MS });
    const trained = new Set(await trainedFolders(run));
    const isFree = (name: keyof Configuration) =>
      options.trial !== undefined || name === "denseRate" && !trained.has("dense") ||
      name === "denseStepsRate" && !trained.has("dense-steps") ||
      trained.size === 0 && FIELDS[name].section === "Experts";
    const { configuration, changed } = await resolveRun(run, sources, force || resume, isFree);
    const target = await describe(configuration);
    releaseOwn = await lockRun(`${run}/${target.folder}`, task, { patience: GLANCE_MS });
    const settle = async () => {
      if (!options.trial) {
        await writeRunConfiguration(run, configuration, (await readRunConfiguration(run))?.adapter);
      }
      await releaseSettling?.();
    };
    const open = async () => {
      if (gpu) return gpu;
      gpu = await openGpu({ adapter: options.adapter || undefined, variants: options.variants });
      options.onEvent?.({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
      return gpu;
    };
    const again = force && changed.length === 0;
    return await train(
      options.trial ? onTrial(target, options.trial.rate) : target,
      configuration,
      { open, settle, again },
      options,
    );
  } finally {
    if (!options.gpu) gpu?.close();
    await releaseOwn?.();
    await releaseSettling?.();
    await release();
  }
}

/** Gives a trial of a rate a place of its own. */
function onTrial(target: Target, rate: number): Target {
  const name = `${target.name}-${rate}`;
  return { ...target, name, folder: `search/${name}`, rate };
}

async function readPart(folder: string, run: string): Promise<PartManifest> {
  const path = `${folder}/manifest.json`;
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) throw error;
    throw new RangeError(
      `Cannot train an expert as its part must be there: there is no "${path}"; ${await partitionRemedy(
        run,
      )}`,
    );
  }
  try {
    return conform(PART, JSON.parse(text)) as unknown as PartManifest;
  } catch (error) {
    throw new SyntaxError(
      `Cannot read "${path}" as it must be a part's manifest: ${(error as Error).message}`,
    );
  }
}

const NATURAL = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** What training reads of a part's manifest. */
const PART = v.looseObject({
  files: v.array(v.looseObject({
    name: v.pipe(v.string(), v.regex(/^(train|test)-\d{5,}\.arrow$/)),
    bytes: NATURAL,
    sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  })),
  train: v.looseObject({ sequences: NATURAL }),
});

/** Throws where a file is missing or has another size, or with `deeply` another content, than its record says. */
async function checkFiles(
  folder: string,
  files: readonly (FileRecord & { name: string })[],
  deeply = false,
): Promise<void> {
  for (const { name, bytes, sha256 } of files) {
    const path = `${folder}/${name}`;
    const size = await Deno.stat(path).then(({ size }) => size, () => null);
    const what = size === null
      ? "it is missing"
      : size !== bytes
      ? `it has ${size} bytes, its manifest says ${bytes}`
      : deeply && (await hashFile(path)).sha256 !== sha256
      ? "its SHA-256 is not that of its manifest"
      : null;
    if (what === null) continue;
    throw new RangeError(
      `Cannot train as "${path}" must be whole: ${what}; copy it again or rerun the partition`,
    );
  }
}

/** Reads a sample of at most `limit` held-out rows, the same for the same rows, limit and seed, in memory for `limit` alone. */
async function sampleRows(paths: string[], limit: number, seed: number): Promise<Columns | undefined> {
  let sample: Columns | undefined;
  if (limit === 0 || paths.length === 0) return;
  for await (const batch of readShards(paths)) {
    const { nll: _, ...rows } = fromBatch(batch);
    const all = sample ? concatColumns([sample, rows]) : rows;
    const keys = randomKeys(seed, "validation", all.sequence);
    const order = Uint32Array.from(keys, (_, row) => row);
    if (all.rows > limit) order.sort((a, b) => keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0);
    sample = takeColumns(all, order.subarray(0, limit));
  }
  return sample;
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

/** Finds the weights to start from: those of `--init`, or new ones, made when they are needed. */
async function startWeights(
  c: Configuration,
  model: ModelConfig,
  tokenizer: string,
): Promise<{ weights: () => Weights; sha256: string }> {
  if (c.init === "") return { weights: () => initialWeights(model, c.seed), sha256: "" };
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
  return { weights: () => weights, sha256 };
}

async function train(
  target: Target,
  c: Configuration,
  { open, settle, again }: { open: () => Promise<Gpu>; settle: () => Promise<void>; again: boolean },
  options: TrainOptions,
): Promise<TrainResult> {
  const {
    run,
    force = false,
    resume = false,
    trial,
    checkpointEvery = 200,
    keep = 2,
    onEvent: emit = () => {},
  } = options;
  const { name, folder, batch, microBatch } = target;
  const stage = trial ? `search-${name}` : `train-${name}`;
  const { vocabulary, eos, tokenizer } = await readLineage(target, run, c);
  const model = modelShapes({ ...c, vocabularySize: vocabulary }).expert;
  const allSteps = trainingSteps(c, target);
  const steps = trial ? Math.max(1, Math.round(trial.share * allSteps)) : allSteps;
  const start = await startWeights(c, model, tokenizer);
  const inputs = { shards: target.shards, tokenizer, init: start.sha256 };
  const warmup = trial ? Math.ceil(c.expertWarmup * steps / allSteps) : c.expertWarmup;
  const settings = settingsOf(c, target, { model, steps, warmup });
  const configuration = { ...settings, saveDtype: c.saveDtype };
  const key = stageKey(stage, configuration, inputs);
  const current = await reuseStage({ run, emit }, stage, key, again);
  if (current) return current.result as unknown as TrainResult;
  if (batch % microBatch !== 0) {
    throw new RangeError(
      `Cannot train as the batch must be a multiple of the micro-batch: batch is ${batch}, micro-batch is ${microBatch}`,
    );
  }
  const states = `${run}/${folder}/checkpoints`;
  const metrics = trial ? `${run}/${folder}/metrics.jsonl` : `${run}/metrics/${name}.jsonl`;
  const may = force || resume || trial !== undefined;
  const before = await readManifest(run, stage);
  if (before && before.key !== key && !may && canonical(before.inputs) === canonical(inputs)) {
    refuseChange(target, "it was trained", { code: before.code, ...before.configuration }, {
      code: VERSION,
      ...configuration,
    });
  }
  const gpu = await open();
  // Another adapter rounds differently: a checkpoint is continued on its own alone.
  const { adapter, variants } = gpu;
  const stateSettings = { ...settings, adapter, variants };
  const stateKey = stageKey(`${stage} state`, stateSettings, inputs);
  const metricsLength = await Deno.stat(metrics).then(({ size }) => size, () => 0);
  const saved = again ? undefined : await loadCheckpointState(states, model, (context, step) => {
    if (step > steps || context.metricsBytes > metricsLength) return false;
    if (context.key === stateKey || resume) return true;
    if (!may && canonical(context.inputs) === canonical(inputs)) {
      refuseChange(target, `its checkpoint of step ${step} was made`, context.settings, {
        code: VERSION,
        ...stateSettings,
      });
    }
    return false;
  });
  if (!trial && steps < warmup) emit({ type: "warning", message: longWarmup(target, { steps, warmup }) });
  await settle();
  await target.verify();
  const plan = {
    target,
    c,
    stage,
    model,
    eos,
    tokenizer,
    settings: stateSettings,
    stateKey,
    inputs,
    states,
    metrics,
    gpu,
    saved,
  };
  const manifest = await makeStage(
    { run, emit },
    { stage, key, configuration, inputs },
    () => makeModel({ ...plan, start: start.weights }, { ...options, checkpointEvery, keep, onEvent: emit }),
  );
  return manifest.result as unknown as TrainResult;
}

/** Says that a training ends before its rate has reached its peak. */
function longWarmup(
  { name, rate }: Target,
  { steps, warmup }: { steps: number; warmup: number },
): string {
  const last = cosineRate(steps, { rate, warmup, steps, final: 1 });
  return `${name} warms up for ${warmup} steps and trains for ${steps}: its rate ends at ${
    last.toExponential(1)
  } while it still rises to ${
    rate.toExponential(1)
  }; give a smaller --${FIELDS.expertWarmup.flag} or more steps`;
}

/** Gathers what a model's weights and metrics depend on, but for its data and the device. */
function settingsOf(
  c: Configuration,
  { batch, microBatch, rate }: Target,
  { model, steps, warmup }: { model: ModelConfig; steps: number; warmup: number },
) {
  const { clip, beta1, beta2, epsilon, weightDecay } = c;
  return {
    model,
    batch,
    microBatch,
    steps,
    rate,
    warmup,
    finalRate: c.expertFinalRate,
    clip,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    ...(c.dtype === "f32" ? {} : { dtype: c.dtype as Dtype }), // none is f32, as before there was a choice
    seed: c.seed,
    logEvery: c.logEvery,
    validateEvery: c.validateEvery,
    validationSequences: c.validationSequences,
  };
}

/** What is settled before a model is trained. */
interface Plan {
  target: Target;
  c: Configuration;
  /** Name of its stage. */
  stage: string;
  /** Its shape. */
  model: ModelConfig;
  /** Id of the token that ends a document. */
  eos: number;
  /** SHA-256 of the tokenizer. */
  tokenizer: string;
  /** All that a state depends on but for the data, and the hash of both. */
  settings: ReturnType<typeof settingsOf> & { adapter: string; variants: Partial<Variants> };
  stateKey: string;
  /** Hashes of what it is trained on. */
  inputs: Record<string, string>;
  /** Folder of its checkpoints. */
  states: string;
  /** File of its metrics. */
  metrics: string;
  gpu: Gpu;
  /** Weights to start from, unless a state is saved. */
  start: () => Weights;
  saved: Awaited<ReturnType<typeof loadCheckpointState>>;
}

/** Trains a model, from its saved state where there is one, and writes its folder. */
async function makeModel(
  plan: Plan,
  options: TrainOptions & Required<Pick<TrainOptions, "checkpointEvery" | "keep" | "onEvent">>,
): Promise<Made> {
  const { target, c, stage, model, settings, stateKey, inputs, states, metrics, gpu, start, saved } = plan;
  const { run, checkpointEvery, keep, signal, onEvent: emit } = options;
  const { name, folder, rate } = target;
  const { batch, steps } = settings;
  await removePartials(`${run}/${folder}`);
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
  let undue = saved?.context.interrupted && checkpointPath(states, saved.state.trainer.step);
  const removeUndue = async () => {
    if (undue) await removeIfThere(undue);
    undue = undefined;
  };
  let lastSaved = saved ? `${states} holds that of step ${saved.state.trainer.step}` : "";
  const result = {
    folder,
    steps,
    batch,
    tokens: saved?.state.tokens ?? 0,
    loss: saved?.context.loss ?? null,
    validationLoss: saved?.context.validationLoss ?? null,
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
      start: saved?.state ?? start(),
      recompute: options.recompute,
      open: (consumed) => epochs(target.train, c.seed, consumed),
      validation: await sampleRows(target.test, c.validationSequences, c.seed),
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
      onCheckpoint: async (state, { interrupted }) => {
        const context: CheckpointContext = {
          key: stateKey,
          settings: { code: VERSION, ...settings },
          inputs,
          metricsBytes,
          loss: result.loss,
          validationLoss: result.validationLoss,
          ...(interrupted ? { interrupted } : {}),
          resumed,
        };
        await log.syncData();
        const path = await saveCheckpointState(states, model, state, context);
        lastSaved = `${path} is the last good checkpoint`;
        if (undue !== path) await removeUndue();
        if (interrupted) undue = path;
        else await removeOldCheckpoints(states, keep);
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
      notes: { tokenizer: plan.tokenizer, eos: plan.eos, ...target.notes },
      tokenizer: `${run}/tokenizer.json`,
      dtype: c.saveDtype.toUpperCase() as SafetensorsDtype,
    });
    const outputs: Record<string, FileRecord> = {};
    for (const [file, record] of Object.entries(records)) outputs[`${folder}/${file}`] = record;
    outputs[metrics.slice(run.length + 1)] = await hashFile(metrics);
    await removeUndue();
    return { outputs, result: { ...result } };
  } catch (error) {
    if (!(error instanceof LossNotFiniteError)) throw error;
    const smaller = `${target.command} --${rateFlag(name, c)} ${Number((rate / 2).toPrecision(2))}`;
    throw new Error(
      `${error.message} of ${name}; ` +
        (lastSaved
          ? `${lastSaved}; go on from it with a smaller rate: ${smaller} --resume`
          : `there is no checkpoint yet; start again with a smaller rate: ${smaller} --force`),
      { cause: error },
    );
  } finally {
    log.close();
  }
}

/** Throws a `RangeError` with both values of the first setting that differs. */
function refuseChange(
  { name, command }: Target,
  what: string,
  then: Record<string, unknown>,
  now: Record<string, unknown>,
): never {
  [then, now] = [then, now].map((settings) => ({ dtype: "f32", ...settings }));
  const differs = (key: string) => canonical(then[key] ?? null) !== canonical(now[key] ?? null);
  const key = Object.keys({ ...then, ...now }).find(differs) ?? "data";
  throw new RangeError(
    `Cannot train ${name} as ${what} with ${key === "variants" ? "other" : "another"} ${key}: ${
      JSON.stringify(then[key])
    } then, ${JSON.stringify(now[key])} ` +
      `now; go on from there with ${command} --resume, or start again with --force`,
  );
}

function rateFlag(name: string, { denseRate, denseStepsRate }: Configuration): string {
  if (name === "dense" && denseRate > 0) return FIELDS.denseRate.flag;
  if (name === "dense-steps" && denseStepsRate > 0) return FIELDS.denseStepsRate.flag;
  return FIELDS.expertRate.flag;
}
