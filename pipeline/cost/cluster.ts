/**
 * Counts on paper what a run on many machines takes: time, disk, traffic and files of a corpus larger than any that is at hand.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { Configuration } from "../settings/configuration.ts";
import { tokenArrayOf } from "../rows/columns.ts";
import { forwardFlops, slowedFlops, trainingFlops } from "./flops.ts";

/** Characters that are tokenized a second on two cores. */
export const TOKENIZED_CHARACTERS_PER_SECOND = 1.5e6;
/** Sequences that are assigned, or gathered, a second on two cores. */
export const SEQUENCES_PER_SECOND = 50_000;

/** The cluster, and the corpus. */
export interface ClusterOptions {
  /** Tokens of training text. */
  tokens: number;
  /** Machines, with a device each. */
  machines: number;
  /** FLOP/s that a device reaches. */
  flops: number;
  /** What it is: narrow models take a processor longer than their FLOPs tell. Default: a processor. */
  kind?: AdapterKind;
  /** Bytes that the shared disk reads and writes a second, for all machines together. */
  diskBytesPerSecond: number;
}

/** What one stage takes. */
export interface ClusterStage {
  /** Its name. */
  name: string;
  /** Processes that make it at once, a machine each. */
  processes: number;
  /** Seconds of a process: of its arithmetic. */
  computeSeconds: number;
  /** Seconds in which the shared disk moves what all of them read and write. */
  diskSeconds: number;
  /** Bytes that all of them read. */
  readBytes: number;
  /** Bytes that all of them write. */
  writtenBytes: number;
  /** Bytes of these that stay. */
  keptBytes: number;
  /** Entries of the fullest of its folders. */
  files: number;
}

/** What a run takes. */
export interface ClusterPlan extends Omit<ClusterOptions, "kind"> {
  /** Experts, E. */
  experts: number;
  /** Training sequences. */
  sequences: number;
  /** Its stages, in the order in which they run. */
  stages: ClusterStage[];
  /** Seconds in all: of each stage those of its arithmetic or of the disk, whichever are more. */
  seconds: number;
  /** Bytes on the shared disk when all is made. */
  diskBytes: number;
  /** Bytes that go through it. */
  trafficBytes: number;
  /** Bytes of the host's memory that a process needs at most, beside the models': the sequences and scores of a round. */
  roundBytes: number;
  /** Bytes that a process that trains the routers gives and takes in a round: one score, f32, per sequence and router. */
  exchangeBytes: number;
  /** Bytes that a node of a data-parallel dense model gives and takes in every step. */
  denseStepBytes: number;
  /** Bytes that one expert's training reads, and nothing else. */
  expertBytes: number;
}

/** The formulas of {@linkcode planCluster}, in the words of the table. */
export const CLUSTER_FORMULAS: readonly string[] = [
  "N = tokens / S sequences; F(B, S, model) the FLOPs of a forward pass; P processes at once; seconds are the more of arithmetic and disk",
  "text: characters = (1 + 0.2 log2 V) tokens, a byte each; tokens: t = N (bytes of an id · S + 32); scores: s = N (4 E + 32)",
  "tokenize: characters / 1.5e6 per process; reads the text, writes t. blocks b = characters / (bytes of a block)",
  "routers: rounds · (steps · 3 F(B_r, M, router) · E + n E · E · F(1, M, router)) / P, P = min(E, machines); n sequences per router and round",
  "  a process gives 4 n E · E / P bytes a round and takes those of the others; each holds 4 n E (S + E) bytes",
  "score: N · E · F(1, M, router) / P; reads t, writes s. assign: one process, N / 50,000 s; reads s, writes 18 N",
  "split: one process, N / 50,000 s; reads t, writes t. experts: steps · 3 F(B, S, expert), steps = N / (E B); each reads t / E once",
  "evaluate: held-out sequences, the share h of all: h N / (1 - h) · F(1, S, expert), all experts at once",
  "on processors, FLOPs of a model of width H below 64 take 16 (H + 60) / (31 H) times as long",
  "files: folders of a stage, b for tokens and scores; of an expert's part, its shards: N / (E · sequences of a shard)",
];

/** Counts what a run takes. Throws an `InputError` where there are fewer sequences than experts. */
export function planCluster(configuration: Configuration, options: ClusterOptions): ClusterPlan {
  const { tokens, machines, flops, diskBytesPerSecond } = options;
  const { experts, sequenceLength } = configuration;
  const sequences = Math.floor(tokens / sequenceLength);
  if (sequences < experts) {
    throw new InputError(
      say`Cannot count what a cluster takes as there must be a sequence of ${sequenceLength} tokens for each of ${experts} ${
        setting("experts")
      }: ${setting("corpusTokens")} is ${tokens}`,
    );
  }
  const sizes = sizesOf(configuration, tokens, sequences), { text, tokenized, perRound, exchanged } = sizes;
  const stages = stagesOf(configuration, options, sizes);
  const sum = (of: (stage: ClusterStage) => number) => stages.reduce((total, stage) => total + of(stage), 0);
  return {
    ...{ tokens, machines, flops, diskBytesPerSecond, experts, sequences, stages },
    seconds: sum(({ computeSeconds, diskSeconds }) => Math.max(computeSeconds, diskSeconds)),
    diskBytes: text + sum(({ keptBytes }) => keptBytes),
    trafficBytes: sum(({ readBytes, writtenBytes }) => readBytes + writtenBytes),
    roundBytes: 4 * perRound * (sequenceLength + experts),
    exchangeBytes: exchanged,
    denseStepBytes: 2 * sizes.weights,
    expertBytes: tokenized / experts,
  };
}

/** Counts text, tokens and weights in bytes, and what a round takes. */
function sizesOf(configuration: Configuration, tokens: number, sequences: number) {
  const { experts, roundSequences } = configuration, perRound = roundSequences * experts;
  return {
    ...{ sequences, perRound, text: tokens * charactersPerToken(configuration) },
    ...{ tokenized: tokenBytes(configuration, sequences), scores: scoreBytes(experts, sequences) },
    exchanged: 4 * perRound * experts, // all scores of a round
    weights: 4 * parameterCount(modelShapes(configuration).expert),
  };
}

/** Counts what every stage takes. */
function stagesOf(
  configuration: Configuration,
  { machines, flops, kind, diskBytesPerSecond }: ClusterOptions,
  { sequences, text, tokenized, scores, perRound, exchanged, weights }: ReturnType<typeof sizesOf>,
): ClusterStage[] {
  const { experts, sequenceLength, prefix, rounds, expertBatch, shardSequences, holdout, blockBytes } =
    configuration;
  const { router, expert } = modelShapes(configuration);
  const heldOut = holdout * sequences / (1 - holdout);
  const group = Math.min(experts, machines);
  const steps = sequences / (experts * expertBatch);
  const blocks = Math.ceil(text / blockBytes);
  const ofExpert = Math.ceil(sequences / experts / shardSequences);
  const cpu = sequences / SEQUENCES_PER_SECOND;
  const secondsOf = (work: number, model: ModelConfig) => slowedFlops(work, model, kind) / flops;
  const stage = (
    name: string,
    most: number,
    seconds: number, // of one process, were it alone
    [readBytes, writtenBytes, keptBytes = writtenBytes]: number[],
    files: number,
  ): ClusterStage => {
    const processes = Math.max(1, Math.min(most, machines));
    const computeSeconds = seconds / processes;
    const diskSeconds = (readBytes + writtenBytes) / diskBytesPerSecond;
    return { name, processes, computeSeconds, diskSeconds, readBytes, writtenBytes, keptBytes, files };
  };
  const routerBytes = 4 * parameterCount(router) * experts;
  return [
    stage(
      "tokenize",
      Math.min(blocks, machines),
      text / TOKENIZED_CHARACTERS_PER_SECOND,
      [text, tokenized],
      blocks,
    ),
    stage("train-routers", group, secondsOf(rounds * roundFlops(configuration), router), [
      group * (rounds + 1) * tokenBytes(configuration, perRound) + rounds * exchanged * group,
      rounds * (exchanged + 3 * routerBytes), // scores, and a state with its moments
      routerBytes,
    ], experts),
    stage(
      "score",
      Math.min(blocks, machines),
      secondsOf(sequences * experts * forwardFlops(router, 1, prefix), router),
      [tokenized, scores],
      blocks,
    ),
    stage("assign", 1, cpu, [scores, 18 * sequences], 2 * blocks),
    // Several would each read all tokens, for the parts that they gather.
    stage("split", 1, cpu, [tokenized, tokenized], Math.max(ofExpert, experts)),
    stage(
      "train-expert",
      experts,
      secondsOf(experts * steps * trainingFlops(expert, expertBatch, sequenceLength), expert),
      [
        tokenized,
        experts * 7 * weights, // the model, and two checkpoints with their moments
      ],
      Math.max(experts, 8),
    ),
    stage(
      "evaluate",
      experts,
      secondsOf(heldOut * experts * forwardFlops(expert, 1, sequenceLength), expert),
      [
        experts * (tokenBytes(configuration, heldOut) + weights),
        experts * 4 * heldOut,
        0,
      ],
      experts,
    ),
  ];
}

/** Characters that a token of BPE stands for: 2.5 to 4, the more the larger the vocabulary. */
export function charactersPerToken({ vocabularySize }: Pick<Configuration, "vocabularySize">): number {
  return 1 + 0.2 * Math.log2(vocabularySize);
}

/** Estimates the bytes of sequences as tokens. */
export function tokenBytes({ sequenceLength, vocabularySize }: Configuration, sequences: number): number {
  return sequences * (sequenceLength * tokenArrayOf(vocabularySize).BYTES_PER_ELEMENT + 32);
}

/** Estimates the bytes of scores. */
export const scoreBytes = (experts: number, sequences: number): number => sequences * (4 * experts + 32);

/** Counts the FLOPs of a round: the steps of all routers, and the scoring of all sequences by all routers. */
export function roundFlops(configuration: Configuration): number {
  const { experts, roundSequences, routerBatch, prefix } = configuration;
  const { router } = modelShapes(configuration);
  const steps = Math.floor(roundSequences / routerBatch);
  const scored = experts * roundSequences * experts * forwardFlops(router, 1, prefix);
  return scored + experts * steps * trainingFlops(router, routerBatch, prefix);
}

/** Estimates the bytes of all routers' activations. */
export function routerActivations(
  { experts, prefix, routerHidden, routerLayers }: Configuration,
  batch: number,
): number {
  return experts * batch * prefix * routerHidden * 4 * (16 * routerLayers + 8);
}
