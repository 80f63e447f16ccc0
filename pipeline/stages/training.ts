/**
 * Trains models, with checkpoints that a training goes on from, to the same bytes.
 *
 * @module
 */

import { DeviceError } from "../../kernels/device/failures.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { variantRevision } from "../../kernels/device/variants.ts";
import {
  ensure,
  InputError,
  RunError,
  say,
  setting,
  task,
  type TaskReference,
  type Text,
} from "../../kernels/errors.ts";
import { saveModelFolder } from "../model/checkpoints/checkpoint.ts";
import { loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import type { SafetensorsDtype } from "../model/checkpoints/safetensors.ts";
import {
  comparedCost,
  readRouters,
  refuseLarge,
  type TrainingCost,
  trainingDoubts,
  trainingPace,
} from "../cost/mixture.ts";
import { listScratches, removeFolder } from "../graph/folder.ts";
import {
  hashFiles,
  type Making,
  readManifest,
  TOKENIZER,
  TOKENIZER_FILE,
  type Work,
} from "../graph/node.ts";
import { otherSetting } from "../graph/walk.ts";
import type { Weights } from "../model/parameters.ts";
import type { Columns } from "../rows/columns.ts";
import type { Rows } from "../rows/random_access.ts";
import { ifMissing, sha256, shortHash, writeAtomic, writing } from "../graph/files.ts";
import { canonical } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { LossNotFiniteError, type TrainModelOptions } from "../training/loop.ts";
import {
  METRICS_FILE,
  type MetricsFile,
  openMetrics,
  type StepMetrics,
  summarizeRouting,
} from "../training/metrics.ts";
import { gatherRecipe, type Recipe, startWeights } from "../training/recipe.ts";
import {
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
import { Bank } from "./bank.ts";
import {
  listNodeFiles,
  peakRate,
  type Target,
  textNode,
  type TrainingOptions,
  type TrainingText,
} from "./targets.ts";
import { drawing, openNeeded, putLast, readRows, replaying } from "./token_rows.ts";
import type { TrainResult } from "./train_result.ts";

/** What trainings have in common. */
interface Site {
  work: Work;
  configuration: Configuration;
  options: TrainingOptions;
  /** The nodes of all tokens. */
  tokens: readonly string[];
}

interface Model {
  making: Making;
  target: Target;
}

/**
 * Trains models, one by one or as banks; gives the error of one that failed, as the others go on.
 */
export async function trainAll(
  models: readonly Model[],
  site: Site,
): Promise<(Record<string, unknown> | Error)[]> {
  const { work, options } = site;
  const gpu = await work.gpu();
  using opened = options.bank ? undefined : new Bank(options);
  const bank = opened ?? options.bank!;
  const begun = await Promise.allSettled(models.map(async (model) => {
    const training = await Training.open({ ...model, ...site, gpu });
    return { training, steps: await training.begin() };
  }));
  const ready = begun.flatMap((beginning) =>
    beginning.status === "fulfilled" ? beginning.value : []
  );
  const weights = bank.train(ready.map(({ steps }) => steps));
  const ended = ready.map(({ training }, i) => training.end(weights[i]));
  const results = await Promise.allSettled(ended);
  return begun.map((beginning) => {
    const result = beginning.status === "fulfilled" ? results.shift()! : beginning;
    if (result.status === "fulfilled") return { ...result.value };
    if (result.reason instanceof Error) return result.reason;
    throw result.reason;
  });
}

type Saved = Awaited<ReturnType<typeof loadCheckpointState>>;

/** One training, from its sequences and its last checkpoint to its folder. */
class Training {
  #last = "";
  #extra?: string;
  #metrics!: MetricsFile;
  #result!: TrainResult;

  private constructor(
    private readonly setup: Site & Model & { gpu: Gpu },
    private readonly recipe: Recipe,
    private readonly material: {
      train: Rows;
      validation?: Columns;
      cost?: TrainingCost;
      start: () => Weights;
      /** What its steps depend on: a checkpoint of the same key is gone on from. */
      settings: Record<string, unknown>;
      key: string;
    },
  ) {}

  /** Opens the sequences and resolves what the model is trained with. */
  static async open(setup: Site & Model & { gpu: Gpu }): Promise<Training> {
    const { making, target, work, configuration, options, tokens, gpu } = setup;
    const files = listNodeFiles(target, tokens, making.manifest);
    const all = await openNeeded(making, files.train);
    const { node = "", moved } = target.predecessor ?? {};
    const train = moved
      ? await putLast(all, await openNeeded(making, [{ need: node, file: moved }]))
      : all;
    using test = await openNeeded(making, files.test);
    checkText(setup, train);
    const { vocabulary, tokenizer } = train.lineage!;
    const sized = { ...configuration, vocabularySize: vocabulary! };
    const routers = target.tellsCost ? await readRouters(configuration, work.run) : undefined;
    const init = target.predecessor ? making.path(target.predecessor.node) : configuration.init;
    const recipe = await resolveRecipe(
      target.predecessor ? await withShape(target, init) : target,
      sized,
      {
        sequences: train.count,
        heldOut: test.count,
        routers,
      },
      options,
    );
    refuseLarge(target.name, recipe, gpu, options);
    const cost = options.trial || !target.tellsCost
      ? undefined
      : comparedCost(sized, recipe.model, {
        batch: recipe.batch,
        steps: recipe.steps,
        routers,
        kind: gpu.kind,
        corpus: { train: train.count, test: test.count },
      });
    const unknownRouters = routers === undefined ? configuration.routers : undefined;
    for (
      const message of options.trial ? [] : trainingDoubts(target, recipe, { unknownRouters, cost })
    ) {
      work.emit({ type: "warning", message });
    }
    const start = await startWeights({ ...configuration, init }, recipe.model, tokenizer!);
    // Another adapter rounds differently: a checkpoint is continued on its own alone.
    const { adapter, variants } = gpu;
    const settings = { ...recipe, adapter, variants, ...variantRevision(variants) };
    const key = sha256(canonical({ node: making.key, settings }));
    return new Training(setup, recipe, {
      train,
      validation: sampleRows(test, configuration),
      cost,
      start,
      settings,
      key,
    });
  }

  /** Loads the last checkpoint and opens the metrics. Gives what its steps take. */
  async begin(): Promise<TrainModelOptions> {
    const {
      setup: { making, target, work, gpu, configuration, options },
      recipe,
      material,
    } = this;
    const { scratch, folder, node: { name } } = making;
    if (options.anew) {
      for (const old of await listScratches(work.run, name)) await removeFolder(old);
    }
    await writing(scratch, () => Deno.mkdir(scratch, { recursive: true }));
    const saved = await this.#loadSaved();
    const result = this.#resultBefore(saved);
    if (saved) {
      const { step } = saved.state.trainer;
      work.emit({
        type: "warning",
        message: `${target.name} goes on after step ${step} of ${recipe.steps}`,
      });
      await removeLaterCheckpoints(scratch, step);
      if (saved.context.interrupted) this.#extra = checkpointPath(scratch, step);
      // Metrics grow in the folder of this process alone: where locks do not hold, another one may
      // train the same.
      await writeAtomic(`${folder}/${METRICS_FILE}`, saved.metrics);
    }
    const metrics = await openMetrics(`${folder}/${METRICS_FILE}`, saved?.context.metricsBytes);
    this.#metrics = metrics;
    this.#result = result;
    const stage = `train-${target.name}`;
    const pace = await trainingPace(work.run, stage, recipe.model, gpu.adapter, result.tokens);
    const { train: { count }, start } = material;
    const { seed } = configuration;
    const draw = target.predecessor?.sequences
      ? replaying(count, seed, target.predecessor)
      : drawing(count, seed, "training");
    return {
      ...recipe,
      gpu,
      validation: material.validation,
      recompute: options.recompute,
      rateAt: (step) => cosineRate(step, { ...recipe, final: recipe.finalRate }),
      start: saved?.state ?? start(),
      open: (at) => (count) => {
        const rows = readRows(material.train, draw(at, count), listLearnedColumns(material.train));
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
        // From here on, an interruption waits.
        work.emit({ type: "checkpoint", stage, state: "started" });
        try {
          await metrics.flush();
          await this.#save(await read(), extra, metrics, result);
        } finally {
          work.emit({ type: "checkpoint", stage, state: "done" });
        }
      },
      onStep: ({ step, loss, rate }) =>
        work.emit({
          type: "progress",
          stage,
          done: step,
          total: recipe.steps,
          unit: "steps",
          loss,
          learningRate: rate,
          ...pace.latest,
        }),
      signal: work.signal,
    };
  }

  /** Waits for the weights and writes the model. */
  async end(weights: Promise<Weights>): Promise<TrainResult> {
    const { material: { cost, train } } = this;
    try {
      const trained = await weights;
      await this.#metrics.flush();
      await this.#writeModel(trained);
      return { ...this.#result, ...cost ? { cost } : {} };
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#metrics.close();
      train[Symbol.dispose]();
    }
  }

  async #writeModel(weights: Weights): Promise<void> {
    const { setup: { making, target, configuration: { saveDtype } }, recipe, material } = this;
    const { eos, tokenizer } = material.train.lineage!;
    const part = target.expert === undefined
      ? {}
      : { partition: hashFiles(making.manifest(textNode(target))) };
    const { predecessor } = target;
    const adopted = predecessor &&
      (await loadCheckpointConfig(making.path(predecessor.node))).notes.adopted;
    const records = await saveModelFolder(making.folder, recipe.model, weights, {
      // An adopted model may have a size of its own, also when it goes on.
      notes: { tokenizer, eos: eos!, ...part, ...adopted !== undefined && { adopted } },
      tokenizer: `${making.path(TOKENIZER)}/${TOKENIZER_FILE}`,
      dtype: saveDtype.toUpperCase() as SafetensorsDtype,
    });
    making.wrote(records);
  }

  /**
   * Loads the latest checkpoint that the training can go on from. Where it has none and `resume` is
   * given, loads that of the same model that was trained with other values. Gives also the metrics
   * up to it: another process may remove them at any time.
   */
  async #loadSaved() {
    const {
      setup: { making: { scratch, node: { name } }, target, work, options: { resume } },
      recipe,
    } = this;
    const otherScratches = (resume ? await listScratches(work.run, name) : []).filter((path) =>
      path !== scratch
    );
    const times = new Map(otherScratches.map((path) => [path, Number(Deno.statSync(path).mtime)]));
    const folders = [scratch, ...otherScratches.sort((a, b) => times.get(b)! - times.get(a)!)];
    const damaged: Text[] = [];
    let metrics = new Uint8Array();
    let saved: Saved;
    for (const folder of folders) {
      saved = await loadCheckpointState(folder, recipe.model, (context, step) => {
        if (step > recipe.steps) return false;
        const path = metricsPath(checkpointPath(folder, step));
        metrics = readIfThere(path);
        if (sha256(metrics) !== context.metricsSha256) {
          const fact = `Cannot resume at step ${step} as the metrics up to it must be whole`;
          damaged.push(`${fact}: "${path}" is not`);
          return false;
        }
        if (context.key === this.material.key || resume) return true;
        throw this.#otherDevice(step, context.settings);
      }, (fact) => void damaged.push(fact));
      if (saved) break;
    }
    const follows = saved ? "goes on from the one before" : "has no other to go on from";
    for (const fact of damaged) {
      work.emit({ type: "warning", message: say`${fact}; ${target.name} ${follows}` });
    }
    if (saved) return { ...saved, metrics };
    if (!resume) return undefined;
    const isBegun = (await Promise.all(folders.map(listCheckpoints))).some((states) =>
      states.length > 0
    );
    if (!isBegun && await readManifest(`${work.run}/${name}`) === null) return undefined;
    const rule =
      `a checkpoint of its model and of at most ${recipe.steps} steps must be there: there is none`;
    throw new InputError(`Cannot resume ${target.name} as ${rule}`, {
      where: scratch,
      remedy: say`train for more steps, or start again with ${setting("force")}`,
    });
  }

  /**
   * Gives what a training has come to before its first step here: what its checkpoint says, if
   * there is one.
   */
  #resultBefore(saved?: Pick<NonNullable<Saved>, "state" | "context">): TrainResult {
    const { setup: { making: { node } }, recipe: { steps, batch, rate }, material: { key } } = this;
    const { loss = null, validationLoss = null, routing, resumed = [], key: savedKey = key } =
      saved?.context ??
        {};
    return {
      folder: node.name,
      steps,
      batch,
      rate,
      resumed: savedKey === key
        ? resumed
        : [...resumed, { step: saved!.state.trainer.step, key: savedKey }],
      tokens: saved?.state.tokens ?? 0,
      loss,
      validationLoss,
      ...routing ? { routing } : {},
    };
  }

  async #save(
    state: Parameters<typeof saveCheckpointState>[2],
    isExtra: boolean,
    metrics: MetricsFile,
    { loss, validationLoss, routing, resumed }: TrainResult,
  ): Promise<void> {
    const { setup: { making: { folder, scratch }, options }, recipe, material: { key, settings } } =
      this;
    const path = checkpointPath(scratch, state.trainer.step);
    // The metrics go first: a state is nothing without them.
    await copy(`${folder}/${METRICS_FILE}`, metricsPath(path));
    await saveCheckpointState(scratch, recipe.model, state, {
      key,
      settings,
      metricsBytes: metrics.bytes,
      metricsSha256: metrics.sha256(),
      loss,
      validationLoss,
      resumed,
      ...routing ? { routing } : {},
      ...isExtra ? { interrupted: isExtra } : {},
    });
    this.#last = `${path} is the last good checkpoint`;
    if (this.#extra && this.#extra !== path) await removeCheckpoint(this.#extra);
    this.#extra = isExtra ? path : undefined;
    if (!isExtra) await removeOldCheckpoints(scratch, options.keep ?? 2);
  }

  /** Names the task that trains the model, with further options. */
  #command(further: Record<string, string | number | boolean> = {}): TaskReference {
    const { target: { command: { task: name, with: flags } }, work: { run } } = this.setup;
    return task(name, { run, ...flags, ...further });
  }

  #otherDevice(step: number, then: Record<string, unknown>): InputError {
    const { setup: { target }, material: { settings } } = this;
    const name = otherSetting({ settings }, { settings: then });
    const resume = this.#command({ resume: true });
    const article = name === "variants" ? "other" : "another";
    const fact = name === undefined
      ? "of other text"
      : `with ${article} ${name}: ${JSON.stringify(then[name])} then, ${
        JSON.stringify(settings[name])
      } now`;
    return new InputError(
      `Cannot train ${target.name} as its checkpoint of step ${step} was made ${fact}`,
      {
        remedy: say`go on from there with ${resume}, or start again with ${setting("force")}`,
      },
    );
  }

  /**
   * Gives the error that a training ends with: where the device or the numbers failed, it says how
   * to go on.
   */
  #explain(error: unknown): unknown {
    const { setup: { target, configuration }, recipe } = this;
    if (error instanceof DeviceError) {
      const command = this.#command();
      const further = this.#last
        ? say`${this.#last}; ${command} goes on from there`
        : say`there is no checkpoint yet; ${command} begins again`;
      const remedy = say`${further}; ${error.advice}`;
      return new RunError(error.what, { remedy, cause: error });
    }
    if (!(error instanceof LossNotFiniteError)) return error;
    const rate = target.rates.find((rate) => configuration[rate] > 0) ?? "expertRate";
    const smaller = { [rate]: Number((recipe.rate / 2).toPrecision(2)) };
    const command = this.#command({
      ...smaller,
      ...this.#last ? { resume: true } : { force: true },
    });
    const start = this.#last
      ? `${this.#last}; go on from it`
      : "there is no checkpoint yet; start again";
    const remedy = say`${start} with a smaller rate: ${command}`;
    return new RunError(`${error.message} of ${target.name}`, { remedy, cause: error });
  }
}

/**
 * Throws an `InputError` where a model has no sequences, or they are of another tokenizer or length
 * than the run's.
 */
function checkText(
  { making, target, configuration }: Site & Model,
  { lineage, count }: Rows,
): void {
  const { tokenizer } = making.manifest(TOKENIZER).result;
  const { sequenceLength } = configuration;
  const cannot = `Cannot train ${target.name} as`;
  for (const [name, here] of Object.entries({ tokenizer, sequenceLength })) {
    const textValue = lineage?.[name as "tokenizer" | "sequenceLength"];
    if (textValue === undefined || textValue === here) continue;
    const [former, latter] = [textValue, here].map((value) => shortHash(String(value)));
    const rule = `its sequences and the run must have the same ${name}`;
    throw new InputError(`${cannot} ${rule}: it is ${former} there, ${latter} here`, {
      where: making.path(TOKENIZER),
      remedy: "copy config.json and tokenizer from the run that made the part",
    });
  }
  const where = making.path(textNode(target));
  ensure(count > 0, `${cannot} its part must hold sequences: "${where}" holds none`, { where });
}

/** Reads a file; one that is not there counts as empty. */
function readIfThere(path: string) {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    return ifMissing(new Uint8Array())(error);
  }
}

const copy = async (from: string, to: string) =>
  void await writeAtomic(to, await Deno.readFile(from));

/**
 * Gives a model that goes on the shape that it has in a folder: that of an adopted one may be
 * another than the others'.
 */
async function withShape(target: Target, folder: string): Promise<Target> {
  const { config: shape } = await loadCheckpointConfig(folder);
  return {
    ...target,
    model: async (configuration) => ({
      ...shape,
      context: (await target.model(configuration)).context,
    }),
  };
}

async function resolveRecipe(
  target: Target,
  configuration: Configuration,
  counts: TrainingText,
  { trial }: TrainingOptions,
): Promise<Recipe> {
  const { expertWarmup, expertBatch } = configuration;
  const batch = target.batch(configuration);
  const microBatch = configuration.microBatch || expertBatch;
  const all = await target.steps(configuration, counts);
  const steps = trial ? Math.max(1, Math.round(trial.share * all)) : all;
  // A trial warms up as slowly as the training, as a faster rise does harm that the training does
  // not see. It does so for half of its steps at most, or for the share of them that the training
  // takes, where that is more.
  const most = Math.max(Math.ceil(expertWarmup * steps / all), Math.ceil(steps / 2));
  const least = target.predecessor ? Math.min(expertWarmup, Math.ceil(steps / 5)) : expertWarmup;
  const warmup = trial ? Math.min(expertWarmup, most) : least;
  const rate = trial?.rate ?? peakRate(target, configuration);
  const model = await target.model(configuration);
  return gatherRecipe(configuration, model, { batch, microBatch, steps, rate, warmup });
}

/** Reads a sample of held-out rows, the same for the same rows and seed. */
function sampleRows(
  rows: Rows,
  { validationSequences: most, seed }: Configuration,
): Columns | undefined {
  if (most === 0 || rows.count === 0) return undefined;
  const numbers = drawing(rows.count, seed, "validation")(0, Math.min(most, rows.count));
  return readRows(rows, numbers, listLearnedColumns(rows));
}

const listLearnedColumns = (rows: Rows) =>
  (["sequence", "tokens", "length", "begin"] as const).filter((name) =>
    name !== "begin" || rows.has(name)
  );

function noteMetrics(result: TrainResult, line: StepMetrics, { model }: Recipe): void {
  result.loss = line.loss;
  result.tokens = line.tokens;
  if (line.reports && model.switch) result.routing = summarizeRouting(line.reports, model);
  if (typeof line.validationLoss === "number") result.validationLoss = line.validationLoss;
}
