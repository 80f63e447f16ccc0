/**
 * Plans a partition, or the training of experts, without running it: what would run, and about how
 * long it would take and how much space.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { say, setting, type Text, type Words, wordText } from "../../kernels/errors.ts";
import {
  charactersPerToken,
  roundFlops,
  scoreBytes,
  SEQUENCES_PER_SECOND,
  tokenBytes,
  TOKENIZED_CHARACTERS_PER_SECOND,
} from "../cost/cluster.ts";
import { adapterKind, type CostDevice, namedDevice, usualDevice } from "../cost/cost.ts";
import { forwardFlops, narrowNotes, slowedFlops, trainingFlops } from "../cost/flops.ts";
import { fittingMicroBatch, routerMemory, routingMemory, trainingMemory } from "../cost/memory.ts";
import { rowsPerPass } from "../model/passes.ts";
import { modelShapes, parameterCount } from "../model/shape.ts";
import { findKind, hasRouters } from "../partition/partitioners.ts";
import type { AdapterNote } from "../graph/configuration.ts";
import { readTimes } from "../graph/timing.ts";
import { countPasses, listWidths } from "../partition/tree/branches.ts";
import type { Configuration } from "../settings/configuration.ts";
import { routedTokens, trainedTokens } from "../settings/partitioner.ts";
import { CORPORA } from "../text/corpora/corpus.ts";
import type { Piece } from "../text/blocks.ts";
import { changesText, type TextChanges } from "../stages/documents.ts";
import { GIVEN_TEXT } from "../stages/text.ts";
import { LEARN, TOKENIZER } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { checkExpert, needTrainingText } from "./models.ts";
import { needConfiguration, partIn } from "../stages/parts.ts";
import { type Plan, requestGraph, type StageState, stageStates } from "./plan.ts";
import { planRun, type RunOptions } from "./run.ts";
import { resolveSettings, trainingSettings } from "./settings.ts";
import { expertTarget, type TrainingOptions } from "../stages/targets.ts";
import { trainingNodes } from "../stages/train.ts";

/** What a stage takes: seconds, bytes of disk of its outputs, and bytes of memory at its peak. */
export type Estimate = Record<"seconds" | "diskBytes" | "memoryBytes", number>;

/** Characters of a corpus, and the sequences that they make. */
type CorpusSize = { characters: number; sequences: number };

/**
 * FLOP/s that a device reaches, and what it is: narrow models take a processor longer than their
 * FLOPs tell.
 */
type Speed = { flops: number; kind?: AdapterKind };

/** What a stage, or a training, takes. */
type Taken = [seconds: number, diskBytes: number, memoryBytes: number];

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

/** The options of a plan of experts. */
export interface ExpertsPlanOptions extends PlanOptions, TrainingOptions {}

const RUNTIME_BYTES = 250e6;
const number = (value: number) => Math.round(value).toLocaleString("en");

/**
 * Plans a partition. Reads the run folder and the text, opens no GPU and writes nothing; throws as
 * `partition` does beforehand.
 */
export async function planPartition(options: PlanOptions): Promise<PartitionPlan> {
  const { configuration: c, adapter, plan, stages, changes, warnings } = await planRun(options);
  const characters = countCharacters(c, plan);
  const perToken = charactersPerToken(c);
  const tokens = Math.min(characters / perToken, c.maxTokens || Infinity);
  const sequences = Math.ceil(tokens / c.sequenceLength * 1.1);
  const { notes, ...speed } = await findSpeed(options, c, adapter);
  const size = { characters, sequences };
  const estimates = stages.map((state) =>
    withState(state, ESTIMATES[state.stage]?.(c, size, speed))
  );
  const wanted = (c.rounds + 1) * c.roundSequences * c.experts;
  const learns = c.routers === "" && findKind(c).models === true;
  const isOften = learns && characters > 0 && wanted > 2 * sequences;
  const [text, rows, drawn, times] = [characters, sequences, wanted, wanted / sequences].map(
    number,
  );
  const assumptions = [
    `${text} characters of text, ${perToken.toFixed(1)} per token: ${rows} sequences`,
    c.maxDocuments > 0 &&
    say`all documents are counted, although ${setting("maxDocuments")} takes some of them`,
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

/** Scales what a whole stage takes, if that is known, to what of it would be made. */
function withState(
  { stage, state, nodes, toMake, because, manifests }: StageState,
  [seconds, diskBytes, memoryBytes]: Taken = [0, 0, 0],
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
  const sum = (of: "seconds" | "diskBytes") => due.reduce((all, stage) => all + stage[of], 0);
  const memoryBytes = Math.max(0, ...due.map(({ memoryBytes }) => memoryBytes));
  return { seconds: sum("seconds"), diskBytes: sum("diskBytes"), memoryBytes };
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
export async function planExperts(
  experts: readonly number[],
  { together = false, ...options }: ExpertsPlanOptions,
): Promise<PartitionPlan> {
  const { memory = Infinity } = options;
  const { stages, notes } = await estimateExperts(experts, options);
  const plan = planned(options, null, stages, notes, []);
  if (!together) return plan;
  const needed = stages.filter(({ action }) => action !== "up to date")
    .map(({ memoryBytes }) => memoryBytes - RUNTIME_BYTES);
  const most = Math.max(memory, ...needed);
  const all = needed.reduce((sum, bytes) => sum + bytes, 0);
  return { ...plan, memoryBytes: needed.length === 0 ? 0 : RUNTIME_BYTES + Math.min(all, most) };
}

async function estimateExperts(experts: readonly number[], options: PlanOptions & TrainingOptions) {
  const { run, sources = {}, force = false, resume = false, memory } = options;
  await needConfiguration(run);
  const accepted = resume ? trainingSettings() : [];
  const { configuration, adapter } = await resolveSettings(run, sources, force, accepted);
  const { notes, ...speed } = await findSpeed(options, configuration, adapter);
  for (const expert of experts) checkExpert("train", run, expert, configuration.experts);
  const targets = experts.map((expert) => expertTarget(expert, configuration));
  const of = requestGraph(run, configuration);
  const graph = await trainingNodes(of, { targets, options });
  await needTrainingText(run, graph);
  const nodes = graph.filter(({ asked }) => asked);
  const again = force && !resume ? nodes.map(({ name }) => name) : [];
  const walk = new Walk(run, graph, { again });
  const states = await stageStates(walk);
  const stages: StageEstimate[] = [];
  for (const [i, { part = "" }] of targets.entries()) {
    const { train: { sequences } } = partIn(part, (await walk.of(walk.node(part))).manifest!);
    stages.push(
      withState(states[i], await estimateTraining(configuration, sequences, speed, options)),
    );
  }
  if (memory === undefined) return { stages, notes };
  const fits = fittingMicroBatch(
    modelShapes(configuration).expert,
    memory,
    trainingSizes(configuration, speed, options),
  );
  const size = `${number(memory / 2 ** 20)} MiB`;
  const fact = fits === undefined
    ? say`not even one sequence at a time fits ${size}: a smaller model does, or ${
      setting("recompute")
    }`
    : say`${setting("microBatch", fits)} is the largest that fits ${size}`;
  return { stages, notes: [...notes, fact] };
}

/**
 * Gives what the memory of training an expert depends on, apart from its shape and its micro-batch.
 */
const trainingSizes = (
  { expertBatch: batch, sequenceLength: length, dtype }: Configuration,
  { kind }: Speed,
  { recompute, variants }: PlanOptions & TrainingOptions,
) => ({ batch, length, dtype, recompute, kind, loss: variants?.loss });

/**
 * Estimates the training of an expert: its steps, its folder and its checkpoints, and the trainer's
 * memory.
 */
async function estimateTraining(
  configuration: Configuration,
  sequences: number,
  speed: Speed,
  options: PlanOptions & TrainingOptions,
): Promise<Taken> {
  const { recompute, keep = 2, checkpointEvery = 200 } = options;
  const { microBatch, sequenceLength, saveDtype, expertBatch: batch } = configuration;
  const target = expertTarget(0, configuration);
  const model = await target.model(configuration);
  const steps = await target.steps(configuration, { sequences });
  const again = recompute ? 4 / 3 : 1; // a forward pass more to three
  const kept = checkpointEvery > 0 ? Math.min(keep, Math.floor(steps / checkpointEvery)) : 0;
  const sizes = trainingSizes(configuration, speed, options);
  return [
    slowedFlops(again * steps * trainingFlops(model, batch, sequenceLength), model, speed.kind) /
    speed.flops,
    // Weights, and two moments next to them.
    parameterCount(model) * ((saveDtype === "f32" ? 4 : 2) + 12 * kept),
    trainingMemory(model, { ...sizes, microBatch: microBatch || batch }).total,
  ];
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
  const other = say`${setting("flops")} names another device`;
  const reported = measured
    ? say`${reached}, as this run's rounds were measured; ${other}`
    : name !== undefined
    ? say`${reached}, ${share} of what "${name}" was measured to reach; ${other}`
    : isNamed
    ? `${reached}, ${share} of the device's peak`
    : say`${reached}, two cores without a GPU; ${other}`;
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

const CHUNK = 65_536; // sequences that are assigned together
const READ_PER_SECOND = 50e6; // bytes of text
const DIMENSIONS = 100; // of an embedding

/** What each stage of the project's own takes. */
const ESTIMATES: Record<string, (c: Configuration, size: CorpusSize, speed: Speed) => Taken> = {
  corpus: ({ input }, { characters }) => [
    characters / READ_PER_SECOND,
    input.length === 0 || input.includes("-") ? characters * 1.1 : 0,
    0,
  ],
  tokenizer({ tokenizer, tokenizerSample, vocabularySize }, { characters }) {
    const sample = tokenizer ? 0 : Math.min(characters, tokenizerSample);
    return [sample / TOKENIZED_CHARACTERS_PER_SECOND, 60 * vocabularySize, 20 * sample];
  },
  tokenize: (c, { characters, sequences }) => [
    characters / TOKENIZED_CHARACTERS_PER_SECOND,
    tokenBytes(c, sequences),
    100e6,
  ],
  "train-routers"(c, { sequences }, { flops, kind }) {
    const { partitionerSample, sequenceLength, vocabularySize } = c;
    if (!findKind(c).models) { // it learns on a sample of sequences, by sparse products
      const tokens = Math.min(sequences, partitionerSample) * sequenceLength;
      const seconds = tokens * (16 * DIMENSIONS + 80 * c.experts) / flops * 10;
      return [
        seconds,
        4 * DIMENSIONS * vocabularySize,
        12 * tokens + 40 * DIMENSIONS * vocabularySize,
      ];
    }
    const { router } = modelShapes(c);
    const { prefix, routerBatch: batch } = c;
    const widths = listWidths(c);
    const models = Math.max(...widths); // one branch of a tree after another
    const { total } = routerMemory(router, {
      batch,
      length: trainedTokens(c),
      models,
      prefix,
      kind,
    });
    const sampled = models * c.roundSequences * routedTokens(c, true) * 4;
    return [
      c.rounds * slowedFlops(roundFlops(c), router, kind) / flops,
      16 * parameterCount(router) * models * widths.length,
      total + sampled,
    ];
  },
  score(c, { sequences }, { flops, kind }) {
    const passes = countPasses(c);
    const diskBytes = scoreBytes(passes, sequences);
    if (!hasRouters(c)) return [sequences / 5_000, diskBytes, 50e6];
    const { router } = modelShapes(c);
    const { prefix } = c;
    const models = Math.max(...listWidths(c));
    const work = sequences * passes * forwardFlops(router, 1, prefix);
    const batch = rowsPerPass(Infinity, router, prefix, c.scoreBatch || undefined);
    const { total } = routingMemory(router, { prefix, batch, models, kind });
    return [slowedFlops(work, router, kind) / flops, diskBytes, total];
  },
  assign: ({ experts, method }, { sequences }) => [
    sequences / SEQUENCES_PER_SECOND,
    24 * sequences,
    12 * experts * (method === "optimal" ? Math.max(CHUNK, sequences) : CHUNK),
  ],
  split: (c, { sequences }) => [
    sequences / SEQUENCES_PER_SECOND,
    tokenBytes(c, sequences),
    32e6 + 512 * c.sequenceLength * 4,
  ],
};
