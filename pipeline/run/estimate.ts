/**
 * Plans a partition, the training of models, or what else is requested of a stage, without running
 * it: what would run, and about how long it would take and how much space.
 *
 * @module
 */

import { say, setting, type Text, type Words, wordText } from "../../kernels/errors.ts";
import { charactersPerToken, roundFlops } from "../cost/cluster.ts";
import { adapterKind, type CostDevice, namedDevice, usualDevice } from "../cost/cost.ts";
import { narrowNotes, slowedFlops } from "../cost/flops.ts";
import { fittingMicroBatch } from "../cost/memory.ts";
import { modelShapes } from "../model/shape.ts";
import { findKind, hasRouters } from "../partition/partitioners.ts";
import type { AdapterNote } from "../graph/configuration.ts";
import { readTimes } from "../graph/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { CORPORA } from "../text/corpora/corpus.ts";
import type { Piece } from "../text/blocks.ts";
import { readTextCounts } from "../text/counts.ts";
import { changesText, type TextChanges } from "../stages/documents.ts";
import { GIVEN_TEXT } from "../stages/text.ts";
import { LEARN, TOKENIZER } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { checkExpert, type ChooseModels, needTrainingText } from "./models.ts";
import { needConfiguration } from "../stages/parts.ts";
import { listRequested, type Plan, type StageState, stageStates } from "./plan.ts";
import { planRun, type RunOptions } from "./run.ts";
import { resolveSettings, trainingSettings } from "./settings.ts";
import { sampleText } from "./text_sample.ts";
import type { Estimate, EstimateOf } from "../stages/stage.ts";
import { STAGES } from "../stages/stages.ts";
import { expertTarget, type TrainingOptions } from "../stages/targets.ts";
import type { TrainRequest } from "../stages/train.ts";

export type { Estimate };

/** What an estimate goes by, apart from the size of the text. */
type Speed = Pick<EstimateOf, "flops" | "kind">;

/** The estimate of one stage: of its `nodes` (blocks, routers, experts) some are `toMake`. */
export interface StageEstimate extends Estimate, Pick<StageState, "stage" | "nodes" | "toMake"> {
  /**
   * What would happen to it. Where a manifest of it is damaged, nothing does before that is mended.
   */
  action: "up to date" | "would run" | "damaged";
  /** Why. */
  because?: string;
}

/**
 * The estimates of a partition, or of the training of experts: what they are based on, and warnings
 * about likely mistakes, one line each.
 */
export interface PartitionPlan extends Estimate, Record<"assumptions" | "warnings", string[]> {
  /** Run folder. */
  run: string;
  /** Files of the text that are not as they were; null where nothing is made yet. */
  text: TextChanges | null;
  /** Every stage, in order. */
  stages: StageEstimate[];
}

/** The options of a plan, apart from where. */
export interface PlanOptions extends RunOptions {
  /**
   * The device. Default: the speed that rounds of this run were measured to reach, otherwise the
   * usual device.
   */
  device?: Partial<CostDevice>;
  /** Device memory that a micro-batch is to fit, in bytes. */
  memory?: number;
  /** Words settings in what is reported. */
  words?: Words;
}

/** The options of a plan of trainings. */
export interface ModelsPlanOptions extends PlanOptions, TrainingOptions {}

const RUNTIME_BYTES = 250e6;
const number = (value: number) => Math.round(value).toLocaleString("en");

/**
 * Plans a partition. Reads the run folder and the text, opens no GPU and writes nothing; throws as
 * `partition` does beforehand.
 */
export async function planPartition(options: PlanOptions): Promise<PartitionPlan> {
  const { configuration: c, adapter, plan, stages, changes, warnings } = await planRun(options);
  const text = await estimateText(options.run, c, plan);
  const { characters, sequences } = text;
  const { notes, ...speed } = await findSpeed(options, c, adapter);
  const { run } = options;
  const workload: EstimateOf = { run, configuration: c, characters, sequences, ...speed };
  const estimates = await Promise.all(
    stages.map(async (state) =>
      withState(state, await STAGES.get(state.stage)!.estimate(workload, {}))
    ),
  );
  const wanted = (c.rounds + 1) * c.roundSequences * c.experts;
  const learns = c.routers === "" && findKind(c).models === true;
  const isOften = learns && characters > 0 && wanted > 2 * sequences;
  const [rows, drawn, times] = [sequences, wanted, wanted / sequences].map(number);
  const isUnread = changes !== null && !options.check;
  const assumptions = [
    ...text.notes,
    isUnread && say`a file of the same size and time is the same; ${setting("check")} hashes them`,
    ...notes,
  ];
  return planned(options, changes, estimates, assumptions, [
    learnedAgain(stages, c, changes),
    changesText(changes) && `the text has changed: ${changesText(changes)}`,
    ...warnings,
    isOften &&
    `${c.rounds} rounds take ${drawn} sequences of about ${rows}: each is seen ${times} times; ` +
      "fewer rounds or sequences per round may do",
  ]);
}

/** Adds up the stages of a plan, and words what is to be said of it. */
function planned(
  { run, words }: PlanOptions,
  text: TextChanges | null,
  stages: StageEstimate[],
  ...reported: (Text | false)[][]
): PartitionPlan {
  const [assumptions, warnings] = reported.map((texts) =>
    texts.flatMap((text) => text ? [wordText(text, words)] : [])
  );
  return { run, text, stages, ...addEstimates(stages), assumptions, warnings };
}

/** Reports what is learned again where the text has changed, and how it is kept. */
function learnedAgain(
  stages: readonly StageState[],
  { tokenizer, routers }: Configuration,
  changes: TextChanges | null,
): Text {
  const isAgain = ({ stage, state }: StageState) =>
    [TOKENIZER, LEARN].includes(stage) && state === "out of date";
  if (!changesText(changes) || !stages.some(isAgain) || tokenizer !== "" && routers !== "") {
    return "";
  }
  const names = say`${setting("tokenizer")} and ${setting("routers")}`;
  const keep = say`name them in a new run, with ${names}, to keep them`;
  return say`the tokenizer and the routers are learned again, as they are of the text; ${keep}`;
}

/** Scales what a whole stage takes to what of it would be made. */
function withState(
  { stage, state, nodes, toMake, because, manifests }: StageState,
  { seconds, diskBytes, memoryBytes }: Estimate,
): StageEstimate {
  const share = nodes === 0 ? Math.min(1, toMake) : toMake / nodes;
  const isDamaged = state === "damaged" && manifests.length < nodes && because.includes("manifest");
  return {
    stage,
    nodes,
    toMake,
    action: toMake === 0 ? "up to date" : isDamaged ? "damaged" : "would run",
    ...because ? { because } : {},
    seconds: share * seconds,
    diskBytes: share * diskBytes,
    memoryBytes: RUNTIME_BYTES + memoryBytes,
  };
}

/** Adds up what would run; memory is that of the stage that takes most. */
function addEstimates(stages: readonly StageEstimate[]): Estimate {
  const due = stages.filter(({ action }) => action !== "up to date");
  const sum = (figure: "seconds" | "diskBytes") =>
    due.reduce((all, stage) => all + stage[figure], 0);
  const memoryBytes = Math.max(0, ...due.map(({ memoryBytes }) => memoryBytes));
  return { seconds: sum("seconds"), diskBytes: sum("diskBytes"), memoryBytes };
}

/** Estimates the size of a text: by a sample of it, or by its bytes where it is not there yet. */
async function estimateText(
  run: string,
  configuration: Configuration,
  plan: Plan,
): Promise<Pick<EstimateOf, "characters" | "sequences"> & { notes: Text[] }> {
  const { maxDocuments, maxTokens, sequenceLength } = configuration;
  const sampled = await sampleText(run, configuration, plan.text);
  if (sampled) {
    const { documents, tokens } = sampled;
    const taken = Math.min(
      1,
      (maxDocuments || Infinity) / documents,
      (maxTokens || Infinity) / tokens,
    );
    const characters = taken * sampled.characters;
    const sequences = Math.ceil(taken * sampled.sequences);
    const all = `${number(characters)} characters of text, ${
      (characters / (taken * tokens)).toFixed(1)
    } per token: ${number(sequences)} sequences`;
    return {
      characters,
      sequences,
      notes: [`${all}, by a sample of ${number(sampled.sampled)} documents`],
    };
  }
  const characters = countCharacters(configuration, plan);
  const perToken = charactersPerToken(configuration);
  const tokens = Math.min(characters / perToken, maxTokens || Infinity);
  const sequences = Math.ceil(tokens / sequenceLength * 1.1);
  const all = `${number(characters)} characters of text, ${perToken.toFixed(1)} per token: ${
    number(sequences)
  } sequences`;
  const limit = say`all documents are counted, although ${
    setting("maxDocuments")
  } takes some of them`;
  return { characters, sequences, notes: [all, ...maxDocuments > 0 ? [limit] : []] };
}

/** Counts the characters of a text from the sizes of its files. */
function countCharacters(
  { input, corpus, corpusCharacters }: Configuration,
  { text: { blocks }, nodes: [first] }: Plan,
): number {
  if (!blocks) {
    return input.length > 0 || first.name === GIVEN_TEXT
      ? 0
      : CORPORA[corpus].sources.length * corpusCharacters;
  }
  const charactersIn = ({ bytes, file: { compression, format } }: Piece) =>
    (compression || format === "parquet" ? 3 : 1) * bytes;
  return blocks.flatMap(({ pieces }) => pieces).reduce(
    (sum, piece) => sum + charactersIn(piece),
    0,
  );
}

/**
 * Plans the training of experts of a run that is partitioned, as {@linkcode planPartition} plans a
 * partition. Experts that are trained side by side take memory at once, as much as they may or the
 * largest takes.
 */
export const planExperts = (
  experts: readonly number[],
  options: ModelsPlanOptions,
): Promise<PartitionPlan> =>
  planModels((configuration) => {
    for (const expert of experts) {
      checkExpert("train", options.run, expert, configuration.experts);
    }
    return experts.map((expert) => expertTarget(expert, configuration));
  }, options);

/** Plans the training of models of a run that is partitioned. */
export async function planModels(
  choose: ChooseModels,
  { together = false, ...options }: ModelsPlanOptions,
): Promise<PartitionPlan> {
  const { run, force = false, resume = false, memory = Infinity } = options;
  const { workload, notes } = await estimateOfRun(options, resume ? trainingSettings() : []);
  const { configuration } = workload;
  const targets = choose(configuration);
  const request: TrainRequest = { targets, options };
  const graph = await listRequested(run, configuration, "train-expert", request);
  await needTrainingText(run, graph);
  const renewed = force && !resume ? graph.flatMap(({ asked, name }) => asked ? name : []) : [];
  const states = await stageStates(new Walk(run, graph, { renewed }));
  const { estimate } = STAGES.get("train-expert")!;
  const stages = await Promise.all(targets.map(async (target, i) => {
    const single: TrainRequest = { targets: [target], options };
    return withState(states[i], await estimate(workload, single));
  }));
  const fits = options.memory === undefined
    ? []
    : [microBatchNote(workload, options.memory, options)];
  const plan = planned(options, null, stages, [...notes, ...fits], []);
  if (!together) return plan;
  const needed = stages.filter(({ action }) => action !== "up to date")
    .map(({ memoryBytes }) => memoryBytes - RUNTIME_BYTES);
  const most = Math.max(memory, ...needed);
  const all = needed.reduce((sum, bytes) => sum + bytes, 0);
  return { ...plan, memoryBytes: needed.length === 0 ? 0 : RUNTIME_BYTES + Math.min(all, most) };
}

/** Tells which micro-batch of an expert fits so much memory. */
function microBatchNote(
  { configuration, kind, loss }: EstimateOf,
  memory: number,
  { recompute }: TrainingOptions,
): Text {
  const { expertBatch: batch, sequenceLength: length, dtype } = configuration;
  const { expert } = modelShapes(configuration);
  const fits = fittingMicroBatch(expert, memory, { batch, length, dtype, recompute, kind, loss });
  const size = `${number(memory / 2 ** 20)} MiB`;
  return fits === undefined
    ? say`not even one sequence at a time fits ${size}: a smaller model does, or ${
      setting("recompute")
    }`
    : say`${setting("microBatch", fits)} is the largest that fits ${size}`;
}

/**
 * Plans what is requested of a stage on request, as {@linkcode planPartition} plans a partition.
 * What the stage needs must be there.
 */
export async function planRequests(
  { stage, requests = [{}], ...options }: PlanOptions & {
    stage: string;
    requests?: readonly object[];
  },
): Promise<PartitionPlan> {
  const { run, check, force } = options;
  const { workload, notes } = await estimateOfRun(options);
  const stages: StageEstimate[] = [];
  for (const request of requests) {
    const graph = await listRequested(run, workload.configuration, stage, request, { check });
    const renewed = force ? graph.flatMap(({ name, given }) => given ? [] : name) : [];
    const states = await stageStates(new Walk(run, graph, { check, renewed }));
    const all = await STAGES.get(stage)!.estimate(workload, request);
    const nodes = states.reduce((sum, state) => sum + state.nodes, 0);
    for (const state of states) {
      const share = state.nodes / nodes;
      const ownShare = { seconds: share * all.seconds, diskBytes: share * all.diskBytes };
      stages.push(withState(state, { ...all, ...ownShare }));
    }
  }
  return planned(options, null, stages, notes, []);
}

/** Finds out what estimates go by in a run that is there, and what is to be said of that. */
async function estimateOfRun(
  options: PlanOptions,
  accepted: readonly (keyof Configuration)[] = [],
): Promise<{ workload: EstimateOf; notes: Text[] }> {
  const { run, sources = {}, force = false, variants } = options;
  await needConfiguration(run);
  const { configuration, adapter } = await resolveSettings(run, sources, force, accepted);
  const { notes, ...speed } = await findSpeed(options, configuration, adapter);
  const { tokens, trainSequences, testSequences } = await readTextCounts(run) ??
    { tokens: 0, trainSequences: 0, testSequences: 0 };
  const workload: EstimateOf = {
    run,
    configuration,
    characters: tokens * charactersPerToken(configuration),
    sequences: trainSequences + testSequences,
    loss: variants?.loss,
    ...speed,
  };
  return { workload, notes };
}

/**
 * Finds the speed of estimates, and notes where it comes from: of this run's rounds, of the usual
 * device, or of the one that is named; and which models are too narrow for it.
 */
async function findSpeed(
  { run, device = {} }: PlanOptions,
  configuration: Configuration,
  adapter: AdapterNote | undefined,
): Promise<Required<Speed> & { notes: Text[] }> {
  const isNamed = device.flops !== undefined;
  const usual = await usualDevice(adapter?.description);
  const named = namedDevice(device, usual);
  const { flops: peak, utilisation, name } = named;
  const measured = isNamed ? undefined : await measuredSpeed(run, configuration, adapter);
  const { flops, kind } = measured ?? { flops: peak * utilisation, kind: adapterKind(named) };
  const reached = `${(flops / 1e9).toPrecision(3)} GFLOP/s`;
  const share = `${+(100 * utilisation).toFixed(2)}%`;
  const otherDevice = say`${setting("flops")} names another device`;
  const reported = measured
    ? say`${reached}, as this run's rounds were measured; ${otherDevice}`
    : name !== undefined
    ? say`${reached}, ${share} of what "${name}" was measured to reach; ${otherDevice}`
    : isNamed
    ? `${reached}, ${share} of the device's peak`
    : say`${reached}, two cores without a GPU; ${otherDevice}`;
  const { router, expert } = modelShapes(configuration);
  const models = [expert];
  if (hasRouters(configuration)) models.push(router);
  return { flops, kind, notes: [reported, ...narrowNotes(models, kind)] };
}

/**
 * Gives the median FLOP/s that the rounds of a run were measured to reach, as those of a wider
 * model.
 */
async function measuredSpeed(
  run: string,
  configuration: Configuration,
  adapter?: AdapterNote,
): Promise<Required<Speed> | undefined> {
  const experts = configuration.levels[0] ?? configuration.experts;
  const root = { ...configuration, experts, levels: [] };
  const seconds = (await readTimes(run)).filter(({ stage, nodes = [], seconds }) =>
    stage === LEARN && nodes.length === experts && nodes[0].startsWith("rounds/") && seconds > 0
  ).map(({ seconds }) => seconds).sort((a, b) => a - b);
  if (seconds.length === 0) return undefined;
  const kind = adapter?.kind === "gpu" ? "gpu" : "software";
  const flops = slowedFlops(roundFlops(root), modelShapes(configuration).router, kind);
  return { flops: flops / seconds[seconds.length >> 1], kind };
}
