/**
 * Plans a partition, or the training of experts, without running it: what would run, and about how long it
 * would take and how much space.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { say, setting, type Words, wordText } from "../../kernels/errors.ts";
import { adapterKindOf, type CostDevice, PLAIN_DEVICE } from "../cost/cost.ts";
import { usualDevice } from "../cost/device.ts";
import { narrowNotes, slowedFlops } from "../cost/flops.ts";
import { fittingMicroBatch } from "../cost/memory.ts";
import { modelShapes } from "../model/shapes.ts";
import { expertFolder, readPart } from "../partition/manifests.ts";
import { hasRouters } from "../partition/partitioners.ts";
import { type AdapterNote, readRunConfiguration } from "../run/configuration.ts";
import { askAll } from "../run/files.ts";
import { readTimes } from "../run/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { CORPORA } from "../text/corpora/corpus.ts";
import { checkLimit } from "../text/documents.ts";
import { expandInputs } from "../text/inputs.ts";
import { charactersPerToken } from "./cluster.ts";
import { resolveRun } from "./resolution.ts";
import { LEARN, roundFlops } from "./learn.ts";
import { needConfiguration } from "./run_folder.ts";
import { checkReused, type RunOptions } from "./session.ts";
import { settledSettings } from "./session_settings.ts";
import type { CorpusSize, Estimate, Stage } from "./stage.ts";
import { type States, statesOf } from "./state.ts";
import { besides, checkExpert } from "./train.ts";
import { expertTarget } from "./train_expert.ts";
import type { TrainingOptions } from "./training_target.ts";
import { trainingStage } from "./train_model.ts";

/** The estimate of one stage. */
export interface StageEstimate extends Estimate {
  /** The stage. */
  stage: string;
  /** What would happen to it. Where its manifest is damaged, nothing does before that is mended. */
  action: "up to date" | "would run" | "damaged";
}

/** The estimates of a partition, or of the training of experts. */
export interface PartitionPlan extends Estimate {
  /** Run folder. */
  run: string;
  /** Every stage, in order. */
  stages: StageEstimate[];
  /** What the estimates are based on, one line each. */
  assumptions: string[];
  /** Warnings about likely mistakes, one line each. */
  warnings: string[];
}

/** The options of a plan, besides where. */
export interface PlanOptions extends RunOptions {
  /**
   * The device. Default: the speed that rounds of this run were measured to reach, otherwise the usual
   * device.
   */
  device?: Partial<CostDevice>;
  /** Device memory that a micro-batch is to fit, in bytes. */
  memory?: number;
  /** Words settings in what is told. */
  words?: Words;
}

/** The options of a plan of experts. */
export interface ExpertsPlanOptions extends PlanOptions, TrainingOptions {
  /** Other runs whose same experts are trained beside them. */
  also?: readonly string[];
  /** Whether they are trained side by side, as those of several runs are in any case. */
  together?: boolean;
}

const RUNTIME_BYTES = 250e6;
const NOTHING: Estimate = { seconds: 0, diskBytes: 0, memoryBytes: 0 };
const number = (value: number) => Math.round(value).toLocaleString("en");

/** Plans a partition. Reads the run folder and the sizes of the input, opens no GPU and writes nothing; throws as `partition` does. */
export async function planPartition(options: PlanOptions): Promise<PartitionPlan> {
  const { run, sources = {}, force = false } = options;
  await checkReused(options.reuse);
  const settled = await settledSettings(run, sources, force, { task: "partition" });
  const { configuration, changed, edited } = settled;
  checkLimit(configuration);
  const characters = await inputCharacters(configuration);
  const perToken = charactersPerToken(configuration);
  const tokens = Math.min(characters / perToken, configuration.maxTokens || Infinity);
  const sequences = Math.ceil(tokens / configuration.sequenceLength * 1.1);
  const states = statesOf({ run, configuration });
  const size = () => ({ characters, sequences });
  await states.graph.get("tokenizer")?.external?.({ run, configuration }); // whether one that is named is there
  const again = force && changed.length === 0 && !edited;
  const plan = await planStages(options, configuration, states.graph.partition, states, size, again);
  plan.assumptions.unshift(
    `${number(characters)} characters of text, ${perToken.toFixed(1)} per token: ${
      number(sequences)
    } sequences`,
  );
  if (configuration.maxDocuments > 0) {
    const limit = say`all documents are counted, although ${setting("maxDocuments")} takes some of them`;
    plan.assumptions.splice(1, 0, wordText(limit, options.words));
  }
  const wanted = (configuration.rounds + 1) * configuration.roundSequences * configuration.experts;
  if (configuration.routers === "" && characters > 0 && wanted > 2 * sequences) {
    plan.warnings.push(
      `${configuration.rounds} rounds take ${number(wanted)} sequences of about ${
        number(sequences)
      }: each is seen ${number(wanted / sequences)} times; fewer rounds or sequences per round may do`,
    );
  }
  return plan;
}

/**
 * Plans the training of experts of a run that is partitioned, and of the same experts of other runs, as {@linkcode planPartition}
 * plans a partition. Experts that are trained side by side take memory at once, as much as they may or the largest takes.
 */
export async function planExperts(
  experts: readonly number[],
  { also = [], together = false, ...options }: ExpertsPlanOptions,
): Promise<PartitionPlan> {
  if (also.length > 0) await besides(options.run, also, "train-expert");
  const plan = await planExpertsOf(experts, options);
  for (const run of also) {
    const other = await planExpertsOf(experts, { ...options, run });
    plan.stages.push(...other.stages.map((stage) => ({ ...stage, stage: `${stage.stage} of ${run}` })));
    plan.seconds += other.seconds;
    plan.diskBytes += other.diskBytes;
    plan.warnings.push(...other.warnings);
  }
  if (!together && also.length === 0) return plan;
  const needed = plan.stages.filter(({ action }) => action !== "up to date")
    .map(({ memoryBytes }) => memoryBytes - RUNTIME_BYTES);
  const most = Math.max(options.memory ?? Infinity, ...needed);
  const all = needed.reduce((sum, bytes) => sum + bytes, 0);
  return { ...plan, memoryBytes: needed.length === 0 ? 0 : RUNTIME_BYTES + Math.min(all, most) };
}

async function planExpertsOf(
  experts: readonly number[],
  options: PlanOptions & TrainingOptions,
): Promise<PartitionPlan> {
  const { run, sources = {}, force = false, resume = false, memory } = options;
  await needConfiguration(run, "train-expert", true);
  const { configuration } = await resolveRun(run, sources, force || resume);
  const states = statesOf({ run, configuration });
  const sizes = new Map<string, CorpusSize>();
  const stages: Stage[] = [];
  for (const expert of experts) {
    checkExpert("train", run, expert, configuration.experts);
    const stage = trainingStage(expertTarget(expert), options);
    const { train } = await readPart(`${run}/partition/${expertFolder(expert)}`);
    sizes.set(stage.name, { characters: 0, sequences: train.sequences });
    stages.push(stage);
  }
  const plan = await planStages(
    options,
    configuration,
    stages,
    states,
    ({ name }) => sizes.get(name)!,
    force,
  );
  const { expert } = modelShapes(configuration);
  const { expertBatch: batch, sequenceLength: length, dtype } = configuration;
  if (memory !== undefined) {
    const { recompute } = options;
    const kind = adapterKindOf(await deviceOf(options));
    const fits = fittingMicroBatch(expert, memory, { batch, length, recompute, dtype, kind });
    const size = `${number(memory / 2 ** 20)} MiB`;
    const text = fits === undefined
      ? say`not even one sequence at a time fits ${size}: a smaller model does, or ${setting("recompute")}`
      : say`${setting("microBatch", fits)} is the largest that fits ${size}`;
    plan.assumptions.push(wordText(text, options.words));
  }
  return plan;
}

/** Gives the device of estimates: the usual one, unless another is named. */
async function deviceOf({ run, device }: PlanOptions): Promise<CostDevice> {
  const usual = device?.flops === undefined
    ? await usualDevice((await adapterOf(run))?.description)
    : PLAIN_DEVICE;
  return { ...usual, ...device };
}

async function planStages(
  options: PlanOptions,
  configuration: Configuration,
  all: readonly Stage[],
  states: States,
  sizeOf: (stage: Stage) => CorpusSize,
  again: boolean,
): Promise<PartitionPlan> {
  const { run, device, words } = options;
  const { flops: peak, utilisation, name } = await deviceOf(options);
  const measured = device?.flops === undefined ? await measuredDevice(run, configuration) : undefined;
  const { flops, kind } = measured ?? { flops: peak * utilisation, kind: adapterKindOf({ flops: peak }) };
  const { router, expert } = modelShapes(configuration);
  const stages: StageEstimate[] = [];
  for (const stage of all) {
    const { state, error } = await states.of(stage);
    const estimate = stage.estimate?.(configuration, sizeOf(stage), flops, kind);
    const { memoryBytes, ...more } = estimate ?? NOTHING;
    const action = error ? "damaged" : state === "up to date" && !again ? "up to date" : "would run";
    stages.push({ stage: stage.name, action, ...more, memoryBytes: RUNTIME_BYTES + memoryBytes });
  }
  const running = stages.filter(({ action }) => action !== "up to date");
  const other = wordText(say`${setting("flops")} names another device`, words);
  const reached = `${(flops / 1e9).toPrecision(3)} GFLOP/s`;
  return {
    run,
    stages,
    seconds: running.reduce((sum, { seconds }) => sum + seconds, 0),
    diskBytes: running.reduce((sum, { diskBytes }) => sum + diskBytes, 0),
    memoryBytes: running.reduce((most, { memoryBytes }) => Math.max(most, memoryBytes), 0),
    assumptions: [
      measured !== undefined
        ? `${reached}, as this run's rounds were measured; ${other}`
        : name !== undefined
        ? `${reached}, ${+(100 * utilisation).toFixed(2)}% of what "${name}" was measured to reach; ${other}`
        : device?.flops === undefined
        ? `${reached}, two cores without a GPU; ${other}`
        : `${reached}, ${+(100 * utilisation).toFixed(2)}% of the device's peak`,
      ...narrowNotes(hasRouters(configuration) ? [router, expert] : [expert], kind),
    ],
    warnings: [],
  };
}

/** Gives the adapter that a run was made on; undefined where it does not say. */
async function adapterOf(run: string): Promise<AdapterNote | undefined> {
  return (await readRunConfiguration(run, { edited: true }).catch(() => null))?.adapter;
}

/**
 * Gives the kind of device that a run was made on, and the median FLOP/s that its rounds were measured to
 * reach, as those of a wider model; undefined where none was measured.
 */
async function measuredDevice(
  run: string,
  configuration: Configuration,
): Promise<{ flops: number; kind: AdapterKind } | undefined> {
  const rounds = (await readTimes(run)).filter(({ stage, round, member, seconds }) =>
    stage === LEARN && round && member === undefined && seconds > 0
  );
  const sorted = rounds.map(({ seconds }) => seconds).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const kind = (await adapterOf(run))?.kind === "gpu" ? "gpu" : "software";
  const flops = slowedFlops(roundFlops(configuration), modelShapes(configuration).router, kind);
  return { flops: flops / sorted[sorted.length >> 1], kind };
}

/** Estimates the characters of the input from the sizes of its files. */
async function inputCharacters(configuration: Configuration): Promise<number> {
  if (configuration.input.length === 0) {
    return CORPORA[configuration.corpus].sources.length * configuration.corpusCharacters;
  }
  const sizes = await askAll(await expandInputs(configuration.input, { again: true }), async (path) => {
    if (path === "-") return 0; // not known before it is read
    const { size } = await Deno.stat(path);
    return /\.(gz|zst|parquet)$/.test(path) ? 3 * size : size;
  });
  return sizes.reduce((a, b) => a + b, 0);
}
