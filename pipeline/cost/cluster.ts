/**
 * Counts on paper what a run on many machines takes: time, disk, traffic and files of a corpus
 * larger than any that is at hand.
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { ensure, say, setting } from "../../kernels/errors.ts";
import { type ModelConfig, modelShapes, parameterCount } from "../model/shape.ts";
import type { Configuration } from "../settings/configuration.ts";
import { routedTokens, trainedTokens } from "../settings/partitioner.ts";
import { findKind } from "../partition/partitioners.ts";
import { countPasses, listWidths } from "../partition/tree/branches.ts";
import { tokenArray } from "../rows/columns.ts";
import { denseStepBytes } from "./mixture.ts";
import { forwardFlops, slowedFlops, trainingFlops } from "./flops.ts";

/** Characters that are tokenized a second on two cores. */
export const TOKENIZED_CHARACTERS_PER_SECOND = 1.5e6;
/** Sequences that are assigned, or gathered, a second on two cores. */
export const SEQUENCES_PER_SECOND = 50_000;

/**
 * The corpus, in tokens of training text, and the cluster: machines, FLOP/s that the device of each
 * reaches, and bytes that the shared disk reads and writes a second, for all machines together.
 */
interface ClusterOptions
  extends Record<"tokens" | "machines" | "flops" | "diskBytesPerSecond", number> {
  /**
   * What a device is: narrow models take a processor longer than their FLOPs tell. Default: a
   * processor.
   */
  kind?: AdapterKind;
}

/**
 * What a run takes: seconds in all, of each stage those of its arithmetic or of the disk, whichever
 * are more; bytes on the shared disk when all is made, and those that go through it; bytes of the
 * host's memory that a process needs at most apart from the models' (`roundBytes`: the sequences
 * and scores of a round); bytes that a process that trains the routers gives and takes in a round
 * (`exchangeBytes`: a score, f32, per sequence and router), and a node of a data-parallel dense
 * model in every step; bytes that an expert's training reads, and nothing else.
 *
 * Of each of its stages, in order: processes that make it at once, a machine each; seconds of a
 * process' arithmetic, and those in which the shared disk moves what all of them read and write;
 * the bytes of that, and those that stay; entries of the fullest of its folders (`files`).
 *
 * @ignore Its type is inferred.
 */
export type ClusterPlan = ReturnType<typeof countCluster>;

/** The formulas of {@linkcode planCluster}, in the words of the table. */
export const CLUSTER_FORMULAS: readonly string[] = [
  "N = tokens / S sequences; F(B, S, model) the FLOPs of a forward pass; P processes " +
  "at once; seconds are the more of arithmetic and disk",
  "text: characters = (1 + 0.2 log2 V) tokens, a byte each; tokens: t = N (bytes of " +
  "an id · S + 32); scores: s = N (4 E + 32)",
  "tokenize: characters / 1.5e6 per process; reads the text, writes t. blocks b = " +
  "characters / (bytes of a block)",
  "routers: rounds · (steps · 3 F(B_r, M, router) · E + n E · E · F(1, M, router)) / " +
  "P, P = min(E, machines); n sequences per router and round",
  "  a process gives 4 n E · E / P bytes a round and takes those of the others; each " +
  "holds 4 n E (M + E) bytes",
  "score: N · E · F(1, M, router) / P; reads t, writes s. assign: one process, N / " +
  "50,000 s; reads s, writes 18 N",
  "split: one process, N / 50,000 s; reads t, writes t. experts: steps · 3 F(B, S, " +
  "expert), steps = N / (E B); each reads t / E once",
  "evaluate: held-out sequences, the share h of all: h N / (1 - h) · F(1, S, " +
  "expert), all experts at once",
  "on processors, FLOPs of a model of width H below 64 take 16 (H + 60) / (31 H) times as long",
  "files: folders of a stage, b for tokens and scores; of an expert's part, its " +
  "shards: N / (E · sequences of a shard)",
];

/**
 * Counts what a run takes. Throws an `InputError` where no routers split the text, or there are
 * fewer sequences than experts.
 */
export const planCluster = (configuration: Configuration, options: ClusterOptions): ClusterPlan =>
  countCluster(configuration, options);

function countCluster(configuration: Configuration, options: ClusterOptions) {
  const { tokens, machines, flops, diskBytesPerSecond } = options;
  const { experts, sequenceLength, roundSequences } = configuration;
  const read = routedTokens(configuration, true);
  const sequences = Math.floor(tokens / sequenceLength);
  const refusal = "Cannot count what a cluster takes as";
  const kind = setting("partitioner");
  ensure(
    findKind(configuration).models,
    say`${refusal} ${kind} must have routers: ${configuration.partitioner} has none`,
  );
  const each = say`a sequence of ${sequenceLength} tokens for each of ${experts} ${
    setting("experts")
  }`;
  ensure(
    sequences >= experts,
    say`${refusal} there must be ${each}: ${setting("corpusTokens")} is ${tokens}`,
  );
  const text = tokens * charactersPerToken(configuration);
  const stages = countStages(configuration, options, { sequences, text });
  const sum = (value: (stage: typeof stages[number]) => number) =>
    stages.reduce((total, stage) => total + value(stage), 0);
  return {
    tokens,
    machines,
    flops,
    diskBytesPerSecond,
    experts,
    sequences,
    stages,
    seconds: sum(({ computeSeconds, diskSeconds }) => Math.max(computeSeconds, diskSeconds)),
    diskBytes: text + sum(({ keptBytes }) => keptBytes),
    trafficBytes: sum(({ readBytes, writtenBytes }) => readBytes + writtenBytes),
    roundBytes: 4 * roundSequences * experts * (read + experts),
    exchangeBytes: exchangedBytes(configuration),
    denseStepBytes: denseStepBytes(parameterCount(modelShapes(configuration).expert)),
    expertBytes: tokenBytes(configuration, sequences) / experts,
  };
}

/** Counts the bytes of all scores of a round. */
const exchangedBytes = ({ roundSequences, ...settings }: Configuration) =>
  listWidths(settings).reduce((sum, routers) => sum + 4 * roundSequences * routers * routers, 0);

/** Counts what every stage takes. */
function countStages(
  configuration: Configuration,
  { machines, flops, kind, diskBytesPerSecond }: ClusterOptions,
  { sequences, text }: Record<"sequences" | "text", number>,
) {
  const { experts, sequenceLength, prefix, rounds, roundSequences, expertBatch, shardSequences } =
    configuration;
  const { router, expert } = modelShapes(configuration);
  const passes = countPasses(configuration);
  const [tokenized, scores] = [tokenBytes(configuration, sequences), scoreBytes(passes, sequences)];
  const [weights, exchanged] = [4 * parameterCount(expert), exchangedBytes(configuration)];
  const routerBytes = 4 * parameterCount(router) * experts;
  const heldOut = configuration.holdout * sequences / (1 - configuration.holdout);
  const group = Math.min(experts, machines);
  const steps = sequences / (experts * expertBatch);
  const blocks = Math.ceil(text / configuration.blockBytes);
  const ofExpert = Math.ceil(sequences / experts / shardSequences);
  const cpu = sequences / SEQUENCES_PER_SECOND;
  const secondsFor = (work: number, model: ModelConfig) => slowedFlops(work, model, kind) / flops;
  const learning = secondsFor(rounds * roundFlops(configuration), router);
  const scoring = secondsFor(sequences * passes * forwardFlops(router, 1, prefix), router);
  const training = secondsFor(
    experts * steps * trainingFlops(expert, expertBatch, sequenceLength),
    expert,
  );
  const evaluating = secondsFor(
    heldOut * experts * forwardFlops(expert, 1, sequenceLength),
    expert,
  );
  const roundTokens = tokenBytes(configuration, roundSequences * experts);
  const roundsRead = group * (rounds + 1) * roundTokens + rounds * exchanged * group;
  // Scores, and a state with its moments.
  const roundsWritten = rounds * (exchanged + 3 * routerBytes);
  const heldOutRead = experts * (tokenBytes(configuration, heldOut) + weights);
  const trained = experts * 7 * weights; // the model, and two checkpoints with their moments
  /**
   * Counts a stage: processes at most; seconds of one, were it alone; bytes read, written, and of
   * these kept; entries of a folder.
   */
  const stage = (
    name: string,
    most: number,
    seconds: number,
    bytes: number[],
    files: number,
  ) => {
    const [readBytes, writtenBytes, keptBytes = writtenBytes] = bytes;
    const processes = Math.max(1, Math.min(most, machines));
    const computeSeconds = seconds / processes;
    const diskSeconds = (readBytes + writtenBytes) / diskBytesPerSecond;
    return {
      name,
      processes,
      computeSeconds,
      diskSeconds,
      readBytes,
      writtenBytes,
      keptBytes,
      files,
    };
  };
  return [
    stage("tokenize", blocks, text / TOKENIZED_CHARACTERS_PER_SECOND, [text, tokenized], blocks),
    stage("train-routers", group, learning, [roundsRead, roundsWritten, routerBytes], experts),
    stage("score", blocks, scoring, [tokenized, scores], blocks),
    stage("assign", 1, cpu, [scores, 18 * sequences], 2 * blocks),
    // Several would each read all tokens, for the parts that they gather.
    stage("split", 1, cpu, [tokenized, tokenized], Math.max(ofExpert, experts)),
    stage("train-expert", experts, training, [tokenized, trained], Math.max(experts, 8)),
    stage("evaluate", experts, evaluating, [heldOutRead, experts * 4 * heldOut, 0], experts),
  ];
}

/** Characters that a token of BPE stands for: 2.5 to 4, the more the larger the vocabulary. */
export function charactersPerToken(
  { vocabularySize }: Pick<Configuration, "vocabularySize">,
): number {
  return 1 + 0.2 * Math.log2(vocabularySize);
}

/** Estimates the bytes of sequences as tokens. */
export function tokenBytes(
  { sequenceLength, vocabularySize }: Configuration,
  sequences: number,
): number {
  return sequences * (sequenceLength * tokenArray(vocabularySize).BYTES_PER_ELEMENT + 32);
}

/** Estimates the bytes of scores. */
export const scoreBytes = (passes: number, sequences: number): number =>
  sequences * (4 * passes + 32);

/**
 * Counts the FLOPs of a round: the steps of all routers, and the scoring of all sequences by all
 * routers.
 */
export function roundFlops(configuration: Configuration): number {
  const { roundSequences, routerBatch, prefix } = configuration;
  const { router } = modelShapes(configuration);
  const length = trainedTokens(configuration);
  const steps = Math.floor(roundSequences / routerBatch);
  const flops = (routers: number) =>
    routers * roundSequences * routers * forwardFlops(router, 1, prefix) +
    routers * steps * trainingFlops(router, routerBatch, length);
  return listWidths(configuration).reduce((sum, routers) => sum + flops(routers), 0);
}
