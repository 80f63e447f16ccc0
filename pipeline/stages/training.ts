/**
 * Trains models, with checkpoints that a training goes on from, to the same bytes.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { basename } from "node:path";
import { DeviceError } from "../../kernels/device/failures.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { revisionOf } from "../../kernels/device/variants.ts";
import {
  InputError,
  RunError,
  say,
  setting,
  task,
  type TaskReference,
  type Text,
} from "../../kernels/errors.ts";
import { saveModelFolder } from "../checkpoints/model_folder.ts";
import type { SafetensorsDtype } from "../checkpoints/safetensors.ts";
import { besideMixture, type TrainingCost } from "../cost/beside_mixture.ts";
import { readRouters } from "../cost/mixture.ts";
import { refuseLarge, trainingDoubts, trainingPace } from "../cost/training.ts";
import { removeFolder, scratchesOf } from "../graph/folder.ts";
import { hashFiles, readManifest } from "../graph/manifest.ts";
import type { Making, Work } from "../graph/node.ts";
import type { Weights } from "../model/parameters.ts";
import type { Columns } from "../rows/columns.ts";
import { Order } from "../rows/order.ts";
import type { Rows } from "../rows/random_access.ts";
import { sha256, shortHash, writeAtomic, writing } from "../run/files.ts";
import { canonical } from "../run/seal.ts";
import type { Configuration } from "../settings/configuration.ts";
import { LossNotFiniteError, type trainModel, type TrainModelOptions } from "../training/loop.ts";
import { METRICS, openMetrics, type StepMetrics } from "../training/metrics.ts";
import { type Recipe, recipeOf, startWeights } from "../training/recipe.ts";
import {
  type CheckpointContext,
  checkpointPath,
  listCheckpoints,
  loadCheckpointState,
  metricsPath,
  removeCheckpoint,
  removeLaterCheckpoints,
  removeOldCheckpoints,
  saveCheckpointState,
} from "../training/resume.ts";
import { cosineRate } from "../training/schedule.ts";
import { createBank } from "./bank.ts";
import { routingOf, type TrainResult } from "./training_result.ts";
import { type Target, targetSettings, type TrainingText } from "./targets.ts";
import { drawing, openNeeded, readRows } from "./token_rows.ts";
import { TOKENIZER, TOKENIZER_FILE } from "../graph/places.ts";
import type { TrainingFiles, TrainingOptions } from "./train.ts";

/** Trains models, one by one or as banks; gives the error of one that failed, as the others go on. */
export async function trainAll(
  all: readonly Making[],
  models: readonly { target: Target; text: TrainingFiles }[],
  work: Work,
  configuration: Configuration,
  options: TrainingOptions,
): Promise<(Record<string, unknown> | Error)[]> {
  const gpu = await work.gpu();
  const bank = options.bank ?? createBank(options);
  const members = all.map(() => bank.member());
  options.began?.();
  const results = await Promise.allSettled(all.map(async (making, i) => {
    try {
      const training = await Training.open({ making, work, gpu, ...models[i] }, configuration, options);
      return { ...await training.run(members[i].train) };
    } finally {
      members[i].leave();
    }
  }));
  return results.map((result) => {
    if (result.status === "fulfilled") return result.value;
    if (result.reason instanceof Error) return result.reason;
    throw result.reason;
  });
}

/** What a training is of. */
interface Opened {
  making: Making;
  work: Work;
  gpu: Gpu;
  target: Target;
  text: TrainingFiles;
}

/** One training, from its sequences and its last checkpoint to its folder. */
class Training {
  #last = "";
  #extra?: string;

  private constructor(
    private readonly opened: Opened,
    private readonly configuration: Configuration,
    private readonly options: TrainingOptions,
    private readonly known: {
      recipe: Recipe;
      train: Rows;
      validation?: Columns;
      cost?: TrainingCost;
      start: () => Weights;
    },
  ) {}

  /** Opens the sequences and resolves what the model is trained with. */
  static async open(
    opened: Opened,
    configuration: Configuration,
    options: TrainingOptions,
  ): Promise<Training> {
    const { making, target, text, gpu, work } = opened;
    const files = text.files(making);
    const train = await openNeeded(making, files.train);
    using test = await openNeeded(making, files.test);
    checkText(opened, train, configuration);
    const { vocabulary, tokenizer } = train.lineage!;
    const own = { ...configuration, vocabularySize: vocabulary! };
    const counts: TrainingText = {
      ...{ sequences: train.count, heldOut: test.count },
      ...target.tellsCost ? { routers: await readRouters(configuration, work.run) } : {},
    };
    if (counts.sequences === 0) {
      const where = making.path(text.needs[0]);
      throw new InputError(
        `Cannot train ${target.name} as its part must hold sequences: "${where}" holds none`,
        { where },
      );
    }
    const recipe = await resolveRecipe(target, own, counts, options);
    refuseLarge(target.name, recipe, gpu, options);
    const cost = options.trial || !target.tellsCost ? undefined : besideMixture(own, recipe.model, {
      ...{ batch: recipe.batch, steps: recipe.steps, routers: counts.routers, kind: gpu.kind },
      corpus: { train: counts.sequences, test: counts.heldOut! },
    });
    const unknownRouters = counts.routers === undefined ? configuration.routers : undefined;
    for (const message of options.trial ? [] : trainingDoubts(target, recipe, { unknownRouters, cost })) {
      work.emit({ type: "warning", message });
    }
    const { weights } = await startWeights(configuration, recipe.model, tokenizer!);
    const validation = sampleRows(test, configuration);
    return new Training(opened, configuration, options, { recipe, train, validation, cost, start: weights });
  }

  /** Trains the model by `train`, and writes its folder. */
  async run(train: typeof trainModel): Promise<TrainResult> {
    const { opened: { making, work, gpu, target }, configuration, options, known } = this;
    const { recipe, validation } = known;
    const { scratch, folder, node: { name } } = making;
    const { adapter, variants } = gpu;
    // Another adapter rounds differently: a checkpoint is continued on its own alone.
    const settings = { ...recipe, adapter, variants, ...revisionOf(variants) };
    const key = sha256(canonical({ node: making.key, settings }));
    if (options.anew) { for (const old of await scratchesOf(work.run, name)) await removeFolder(old); }
    await writing(scratch, () => Deno.mkdir(scratch, { recursive: true }));
    if (options.resume) await this.#adoptScratch();
    const saved = await this.#loadSaved(key, settings);
    if (saved) {
      const { step } = saved.state.trainer;
      work.emit({ type: "warning", message: `${target.name} goes on after step ${step} of ${recipe.steps}` });
      await removeLaterCheckpoints(scratch, step);
      if (saved.context.interrupted) this.#extra = checkpointPath(scratch, step);
    }
    const result = resultBefore(name, recipe, key, saved);
    // Metrics grow in the folder of this process alone: where locks do not hold, another one may train the same.
    if (saved) {
      await copy(metricsPath(checkpointPath(scratch, saved.state.trainer.step)), `${folder}/${METRICS}`);
    }
    const metrics = await openMetrics(`${folder}/${METRICS}`, saved?.context.metricsBytes);
    const stage = `train-${target.name}`;
    const pace = await trainingPace(work.run, stage, recipe.model, adapter, result.tokens);
    const draw = drawing(known.train.count, configuration.seed, "training");
    try {
      const weights = await train({
        ...recipe,
        rateAt: (step) => cosineRate(step, { ...recipe, final: recipe.finalRate }),
        ...{ gpu, validation, recompute: options.recompute, start: saved?.state ?? known.start() },
        open: (at) => (count) => {
          const rows = readRows(known.train, draw(at, count), ["sequence", "tokens", "length"]);
          at += count;
          return Promise.resolve(rows);
        },
        checkpointEvery: options.checkpointEvery ?? 200,
        checkpointMinutes: options.checkpointMinutes ?? 15,
        onMetrics: async (line) => {
          await metrics.append(line);
          noteMetrics(result, line, recipe);
          await pace.note(line);
        },
        onCheckpoint: async (read, { extra }) => {
          work.emit({ type: "checkpoint", stage, state: "started" }); // from here on, an interruption waits
          try {
            await metrics.flush();
            await this.#save(await read(), extra, { key, settings, metrics, result });
          } finally {
            work.emit({ type: "checkpoint", stage, state: "done" });
          }
        },
        onStep: ({ step, loss, rate }) =>
          work.emit({
            ...{
              type: "progress",
              stage,
              done: step,
              total: recipe.steps,
              unit: "steps",
              loss,
              learningRate: rate,
            },
            ...pace.latest,
          }),
        signal: work.signal,
      });
      await metrics.flush();
      await this.#writeModel(weights);
      return { ...result, ...known.cost ? { cost: known.cost } : {} };
    } catch (error) {
      throw this.#explain(error);
    } finally {
      metrics.close();
      known.train[Symbol.dispose]();
    }
  }

  async #writeModel(weights: Weights): Promise<void> {
    const { opened: { making, target, text }, configuration: { saveDtype }, known: { recipe, train } } = this;
    const { eos, tokenizer } = train.lineage!;
    const part = target.expert === undefined ? {} : { partition: hashFiles(making.manifest(text.needs[0])) };
    const records = await saveModelFolder(making.folder, recipe.model, weights, {
      notes: { tokenizer, eos: eos!, ...part },
      tokenizer: `${making.path(TOKENIZER)}/${TOKENIZER_FILE}`,
      vouched: making.verified,
      dtype: saveDtype.toUpperCase() as SafetensorsDtype,
    });
    for (const [file, record] of Object.entries(records)) making.wrote(file, record);
  }

  /** Loads the latest checkpoint that the training can go on from. */
  async #loadSaved(key: string, settings: Record<string, unknown>): ReturnType<typeof loadCheckpointState> {
    const { opened: { making, target, work }, known: { recipe }, options: { resume } } = this;
    const { scratch, node } = making;
    const damaged: Text[] = [];
    const saved = await loadCheckpointState(scratch, recipe.model, (context, step) => {
      if (step > recipe.steps) return false;
      const path = metricsPath(checkpointPath(scratch, step));
      if (!existsSync(path) || sha256(Deno.readFileSync(path)) !== context.metricsSha256) {
        damaged.push(`Cannot resume at step ${step} as the metrics up to it must be whole: "${path}" is not`);
        return false;
      }
      if (context.key === key || resume) return true;
      throw this.#otherDevice(step, context.settings, settings);
    }, (what) => void damaged.push(what));
    const follows = saved ? "goes on from the one before" : "has no other to go on from";
    for (const what of damaged) {
      work.emit({ type: "warning", message: say`${what}; ${target.name} ${follows}` });
    }
    if (!resume || saved) return saved;
    const isBegun = (await listCheckpoints(scratch)).length > 0 ||
      await readManifest(`${work.run}/${node.name}`) !== null;
    if (isBegun) throw nothingToResume(target, scratch, recipe);
  }

  /** Takes over the checkpoints of the same model that was trained with other values, unless there are own ones. */
  async #adoptScratch(): Promise<void> {
    const { making: { folder, scratch, node: { name } }, work: { run } } = this.opened;
    if ((await listCheckpoints(scratch)).length > 0) return;
    const others: { states: string[]; time: number }[] = [];
    for (const path of await scratchesOf(run, name)) {
      const states = await listCheckpoints(path);
      if (states.length > 0) others.push({ states, time: Number((await Deno.stat(path)).mtime) });
    }
    const [latest] = others.sort((a, b) => b.time - a.time);
    // The latest checkpoint comes before others: a copying that was cut short is one that goes on from it.
    for (const path of latest?.states.flatMap((state) => [metricsPath(state), state]) ?? []) {
      await copy(path, `${folder}/${basename(path)}`);
      await this.#keep(basename(path));
    }
  }

  /** Moves a whole file from the folder of this process, where nobody else writes, to where the next one finds it. */
  async #keep(name: string): Promise<string> {
    const { folder, scratch } = this.opened.making, path = `${scratch}/${name}`;
    await writing(path, async () => {
      await Deno.mkdir(scratch, { recursive: true }); // one that has ended meanwhile has removed it
      await Deno.rename(`${folder}/${name}`, path);
    });
    return path;
  }

  async #save(
    state: Parameters<typeof saveCheckpointState>[2],
    isExtra: boolean,
    { key, settings, metrics, result }: {
      key: string;
      settings: Record<string, unknown>;
      metrics: { bytes: number; sha256(): string };
      result: TrainResult;
    },
  ): Promise<void> {
    const { folder, scratch } = this.opened.making;
    const { loss, validationLoss, routing, resumed } = result;
    const context: CheckpointContext = {
      ...{
        key,
        settings,
        inputs: {},
        metricsBytes: metrics.bytes,
        metricsSha256: metrics.sha256(),
        loss,
        validationLoss,
        resumed,
      },
      ...routing ? { routing } : {},
      ...isExtra ? { interrupted: isExtra } : {},
    };
    const saved = await saveCheckpointState(folder, this.known.recipe.model, state, context);
    await copy(`${folder}/${METRICS}`, metricsPath(saved));
    await this.#keep(basename(metricsPath(saved)));
    const path = await this.#keep(basename(saved));
    this.#last = `${path} is the last good checkpoint`;
    if (this.#extra && this.#extra !== path) await removeCheckpoint(this.#extra);
    this.#extra = isExtra ? path : undefined;
    if (!isExtra) await removeOldCheckpoints(scratch, this.options.keep ?? 2);
  }

  /** Names the task that trains the model, with further options. */
  #command(more: Record<string, string | number | boolean> = {}): TaskReference {
    const { target: { command: { task: name, with: flags } }, work: { run } } = this.opened;
    return task(name, { run, ...flags, ...more });
  }

  #otherDevice(step: number, then: Record<string, unknown>, now: Record<string, unknown>): InputError {
    const names = Object.keys({ ...then, ...now });
    const name = names.find((name) => canonical(then[name] ?? null) !== canonical(now[name] ?? null));
    const other = name === "variants" ? "other" : "another";
    const fact = name === undefined
      ? "of other text"
      : `with ${other} ${name}: ${JSON.stringify(then[name])} then, ${JSON.stringify(now[name])} now`;
    return new InputError(
      `Cannot train ${this.opened.target.name} as its checkpoint of step ${step} was made ${fact}`,
      {
        remedy: say`go on from there with ${this.#command({ resume: true })}, or start again with ${
          setting("force")
        }`,
      },
    );
  }

  /** Gives the error that a training ends with: where the device or the numbers failed, it says how to go on. */
  #explain(error: unknown): unknown {
    const { opened: { target }, known: { recipe } } = this;
    if (error instanceof DeviceError) {
      const from = this.#last || "there is no checkpoint yet";
      return new RunError(error.what, {
        remedy: say`${from}; ${this.#command()} goes on from there; ${error.remedy!}`,
        cause: error,
      });
    }
    if (!(error instanceof LossNotFiniteError)) return error;
    const rate = target.rates.find((rate) => this.configuration[rate] > 0) ?? "expertRate";
    const smaller = { [rate]: Number((recipe.rate / 2).toPrecision(2)) };
    return new RunError(`${error.message} of ${target.name}`, {
      remedy: this.#last
        ? say`${this.#last}; go on from it with a smaller rate: ${
          this.#command({ ...smaller, resume: true })
        }`
        : say`there is no checkpoint yet; start again with a smaller rate: ${
          this.#command({ ...smaller, force: true })
        }`,
      cause: error,
    });
  }
}

/** Throws an `InputError` where sequences were made with another tokenizer or of another length than the run's. */
function checkText({ making, target }: Opened, { lineage }: Rows, { sequenceLength }: Configuration): void {
  const { tokenizer } = making.manifest(TOKENIZER).result;
  const own = { tokenizer, sequenceLength }, theirs: Partial<typeof own> = lineage ?? {};
  for (const name of ["tokenizer", "sequenceLength"] as const) {
    if (theirs[name] === undefined || theirs[name] === own[name]) continue;
    const [former, latter] = [theirs, own].map((of) => shortHash(String(of[name])));
    throw new InputError(
      `Cannot train ${target.name} as its sequences and the run must have the same ${name}: it is ${former} there, ${latter} here`,
      {
        where: making.path(TOKENIZER),
        remedy: "copy config.json and tokenizer from the run that made the part",
      },
    );
  }
}

const copy = async (from: string, to: string) => void await writeAtomic(to, await Deno.readFile(from));

async function resolveRecipe(
  target: Target,
  configuration: Configuration,
  counts: TrainingText,
  { trial }: TrainingOptions,
): Promise<Recipe> {
  const { expertWarmup, expertBatch } = configuration;
  const batch = target.batch(configuration), microBatch = configuration.microBatch || expertBatch;
  const all = await target.steps(configuration, counts);
  const steps = trial ? Math.max(1, Math.round(trial.share * all)) : all;
  // A trial warms up as slowly as the training, as a faster rise does harm that the training does not see. It does so
  // for half of its steps at most, or for the share of them that the training takes, where that is more.
  const most = Math.max(Math.ceil(expertWarmup * steps / all), Math.ceil(steps / 2));
  const warmup = trial ? Math.min(expertWarmup, most) : expertWarmup;
  const rate = trial?.rate ?? Number(targetSettings(target, configuration).rate);
  const model = await target.model(configuration);
  return recipeOf(configuration, model, { batch, microBatch, steps, rate, warmup });
}

/** Reads a sample of held-out rows, the same for the same rows and seed. */
function sampleRows(
  rows: Rows,
  { validationSequences: most, seed }: Configuration,
): TrainModelOptions["validation"] {
  if (most === 0 || rows.count === 0) return undefined;
  const order = new Order(rows.count, { seed, purpose: "validation" });
  const numbers = Float64Array.from({ length: Math.min(most, rows.count) }, (_, i) => order.at(i));
  return readRows(rows, numbers, ["sequence", "tokens", "length"]);
}

/** Gives what a training has come to before its first step here: what its checkpoint says, if there is one. */
function resultBefore(
  folder: string,
  { steps, batch, rate }: Recipe,
  key: string,
  saved: Awaited<ReturnType<typeof loadCheckpointState>>,
): TrainResult {
  const { state, context } = saved ?? {};
  const resumed = [...context?.resumed ?? []];
  if (state && context!.key !== key) resumed.push({ step: state.trainer.step, key: context!.key });
  return {
    ...{ folder, steps, batch, rate, resumed, tokens: state?.tokens ?? 0 },
    ...{ loss: context?.loss ?? null, validationLoss: context?.validationLoss ?? null },
    ...context?.routing ? { routing: context.routing } : {},
  };
}

function noteMetrics(result: TrainResult, line: StepMetrics, { model }: Recipe): void {
  result.loss = line.loss;
  result.tokens = line.tokens;
  if (line.reports && model.switch) result.routing = routingOf(line.reports, model);
  if (typeof line.validationLoss === "number") result.validationLoss = line.validationLoss;
}

function nothingToResume({ name }: Target, where: string, { steps }: Recipe): InputError {
  return new InputError(
    `Cannot resume ${name} as a checkpoint of its model and of at most ${steps} steps must be there: there is none`,
    { where, remedy: say`train for more steps, or start again with ${setting("force")}` },
  );
}
