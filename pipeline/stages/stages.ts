/**
 * The table of stages. Where a stage is added here, or by a script, everything else knows of it.
 *
 * @module
 */

import {
  roundFlops,
  routerActivations,
  scoreBytes,
  SEQUENCES_PER_SECOND,
  tokenBytes,
  TOKENIZED_CHARACTERS_PER_SECOND,
} from "../cost/cluster.ts";
import { forwardFlops, slowedFlops } from "../cost/flops.ts";
import { ZERO_SHOT } from "../evaluation/choices/asking.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { hasRouters, kindOf, PARTITIONERS } from "../partition/partitioners.ts";
import { ASSIGNMENT } from "../settings/assignment.ts";
import { type Configuration, FIELD_NAMES, namesOf } from "../settings/configuration.ts";
import { EXPERTS, LARGER_DENSE, SWITCH } from "../settings/experts.ts";
import { PARTITIONER } from "../settings/partitioner.ts";
import { TEXT } from "../settings/text.ts";
import { ASSIGN, assignNodes } from "./assign.ts";
import { indexNode, partIndexNode } from "./documents.ts";
import { LEARN, learnNodes } from "./learn.ts";
import { namesNode } from "./names.ts";
import { TOKENIZER } from "./places.ts";
import { SCORE, scoreNodes } from "./score.ts";
import { SPLIT, splitNodes } from "./split.ts";
import type { CorpusSize, Estimate, GraphOf, Speed, Stage } from "./stage.ts";
import { takeDocuments, takeTokens } from "./take.ts";
import { CORPUS } from "./text.ts";
import { sequencesNode, TOKENIZE, tokenizeNodes } from "./tokenize.ts";
import { tokenizerNode } from "./tokenizer.ts";

type Name = keyof Configuration;

const CHUNK = 65_536; // sequences that are assigned together
const READ_PER_SECOND = 50e6; // bytes of text
const DIMENSIONS = 100; // of an embedding

const takenOf = ({ configuration, text, blocks }: GraphOf) => takeDocuments(configuration, text, blocks);

const corpus: Stage = {
  about: "Fixes the text of a run: hashes its files, or keeps what is read once only.",
  settings: namesOf(TEXT),
  nodes: (of) => [...of.text.unpacked, ...[takenOf(of) ?? []].flat()],
  estimate: ({ input }, { characters }) => ({
    seconds: characters / READ_PER_SECOND,
    diskBytes: input.length === 0 || input.includes("-") ? characters * 1.1 : 0,
    memoryBytes: 0,
  }),
};

const tokenizer: Stage = {
  about: "Trains the tokenizer on a sample of the training documents, or copies the one that is named.",
  settings: [
    ...["vocabularySize", "tokenizerSample", "holdout", "seed", "textSeed", "tokenizer", "eos"] as const,
    ...["format", "textField", "textColumn", "tokenColumn"] as const, // of text that is no run's
  ],
  nodes: async (of) => [await tokenizerNode(of.configuration, { ...of, taken: takenOf(of) })],
  estimate({ tokenizer, tokenizerSample, vocabularySize }, { characters }) {
    const sample = tokenizer ? 0 : Math.min(characters, tokenizerSample);
    return {
      seconds: sample / TOKENIZED_CHARACTERS_PER_SECOND,
      diskBytes: 60 * vocabularySize,
      memoryBytes: 20 * sample,
    };
  },
};

const tokenize: Stage = {
  about: "Turns the documents of every block into training sequences, and held-out ones.",
  settings: [
    ...["eos", "sequenceLength", "packing", "maxTokens", "take", "holdout", "shardSequences"] as const,
    ...["seed", "textSeed", "tokenizer"] as const,
    ...["prefix", "prefixLengths"] as const, // which must fit a sequence length that is given
    ...namesOf(TEXT),
  ],
  nodes(of) {
    const { configuration, text, blocks } = of, documents = takenOf(of);
    const tokens = takeTokens(configuration, text, blocks, documents);
    return [
      ...tokens ? [tokens] : [],
      ...tokenizeNodes(configuration, text, blocks, tokens ?? documents),
      sequencesNode(blocks),
      indexNode(blocks),
    ];
  },
  estimate: (c, { characters, sequences }) => ({
    seconds: characters / TOKENIZED_CHARACTERS_PER_SECOND,
    diskBytes: tokenBytes(c, sequences),
    memoryBytes: 100e6,
  }),
};

const learn: Stage = {
  about: "Learns how to split text: E routers, by expectation maximisation, or another partitioner.",
  settings: ["partitioner", ...PARTITIONERS.get("em")!.settings],
  nodes: ({ configuration, blocks }) => configuration.routers === "" ? learnNodes(configuration, blocks) : [],
  estimate(c, { sequences }, speed) {
    if (!kindOf(c).models) return sampleEstimate(c, sequences, speed);
    const { router } = modelShapes(c);
    const bytes = 4 * parameterCount(router) * c.experts;
    return {
      seconds: c.rounds * slowedFlops(roundFlops(c), router, speed.kind) / speed.flops,
      diskBytes: 4 * bytes,
      memoryBytes: 4 * bytes + routerActivations(c, c.routerBatch) +
        c.experts * c.roundSequences * c.sequenceLength * 4,
    };
  },
};

/** Estimates a partitioner that learns on a sample of sequences, without a model. */
function sampleEstimate(c: Configuration, sequences: number, { flops }: Speed): Estimate {
  const tokens = Math.min(sequences, c.partitionerSample) * c.sequenceLength;
  return {
    seconds: tokens * (16 * DIMENSIONS + 80 * c.experts) / flops * 10, // of sparse products
    diskBytes: 4 * DIMENSIONS * c.vocabularySize,
    memoryBytes: 12 * tokens + 40 * DIMENSIONS * c.vocabularySize,
  };
}

const score: Stage = {
  about: "Scores the prefix of every sequence for every expert.",
  settings: ["prefix", "scoreBatch", "routers"],
  nodes: ({ configuration, blocks }) => scoreNodes(configuration, blocks),
  estimate(c, { sequences }, { flops, kind }) {
    const diskBytes = scoreBytes(c.experts, sequences);
    if (!hasRouters(c)) return { seconds: sequences / 5_000, diskBytes, memoryBytes: 50e6 };
    const { router } = modelShapes(c);
    const work = sequences * c.experts * forwardFlops(router, 1, c.prefix);
    return {
      seconds: slowedFlops(work, router, kind) / flops,
      diskBytes,
      memoryBytes: 4 * parameterCount(router) * c.experts + routerActivations(c, c.scoreBatch || 128) / 4,
    };
  },
};

const assign: Stage = {
  about: "Hands training sequences to experts, in equal parts unless another method is chosen.",
  settings: [...namesOf(ASSIGNMENT, "scoreBatch"), "shardSequences", "prefix"], // M: of scores of other tools
  nodes: ({ configuration, blocks, prices }) => assignNodes(configuration, blocks, prices),
  estimate: ({ experts, method }, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: 24 * sequences,
    memoryBytes: 12 * experts * (method === "optimal" ? Math.max(CHUNK, sequences) : CHUNK),
  }),
};

const split: Stage = {
  about: "Writes one folder of shards per expert.",
  settings: ["shardSequences"],
  nodes: ({ configuration, blocks, prices }) => [
    ...splitNodes(configuration, blocks, prices),
    partIndexNode(blocks, prices),
    namesNode(configuration, blocks, prices),
  ],
  estimate: (c, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: tokenBytes(c, sequences),
    memoryBytes: 32e6 + 512 * c.sequenceLength * 4,
  }),
};

/** Every stage by the name of its task, in the order in which a run makes them. A script may add its own. */
export const STAGES: Map<string, Stage> = new Map<string, Stage>([
  [CORPUS, corpus],
  [TOKENIZER, tokenizer],
  [TOKENIZE, tokenize],
  [LEARN, learn],
  [SCORE, score],
  [ASSIGN, assign],
  [SPLIT, split],
  ["train-expert", {
    about:
      "Trains one expert, or all one after another, each on its own part of a partitioned run and nothing else.",
    settings: namesOf(EXPERTS, "denseRate", "denseStepsRate"),
    onRequest: true,
  }],
  ["train-dense", {
    about: "Trains a dense baseline on all training tokens, at the training cost of all experts together.",
    settings: [...namesOf(EXPERTS), ...namesOf(LARGER_DENSE)],
    onRequest: true,
  }],
  ["train-switch", {
    about:
      "Trains a Switch Transformer on all training tokens: in every layer as many experts as the mixture has, chosen token by token.",
    settings: [...namesOf(EXPERTS, "denseRate", "denseStepsRate"), ...namesOf(SWITCH)],
    onRequest: true,
  }],
  ["evaluate", {
    about:
      "Evaluates the mixture of a run on its held-out documents: perplexities, gains, sources, segments, prefixes.",
    settings: [],
    onRequest: true,
  }],
  [ZERO_SHOT, {
    about:
      "Asks zero-shot tasks of the mixture of a run, beside its dense models; without data, tasks made of held-out text.",
    settings: [],
    onRequest: true,
  }],
]);

const OWN: ReadonlySet<string> = new Set(STAGES.keys());

/** Names the stages that a script has added. */
export const stagesAdded = (): string[] => [...STAGES.keys()].filter((name) => !OWN.has(name));

/** Settings of the tasks that are no stage's. */
const OTHERS: Record<string, () => readonly Name[]> = {
  partition: () =>
    [...STAGES.values()].filter(({ onRequest }) => !onRequest).flatMap(({ settings }) => settings),
  reproduce: () => [...OTHERS.partition(), ...namesOf(EXPERTS), ...namesOf(LARGER_DENSE), ...namesOf(SWITCH)],
  submit: () => OTHERS.reproduce(),
  show: () => ["tokenizer"],
  cost: () => [
    ...["vocabularySize", "sequenceLength", "holdout", "shardSequences"] as const,
    ...namesOf(PARTITIONER, "routerRate", "routerWarmup"),
    ...["expertHidden", "expertLayers", "expertHeads", "expertBatch"] as const,
    ...["expertSteps", "expertTokens", "expertEpochs", "microBatch", "dtype"] as const,
    ...namesOf(LARGER_DENSE, "denseComputeRate"),
    ...namesOf(SWITCH, "switchRate"),
  ],
};

/** Lists the settings that a task takes, in the order of all settings. */
export function settingsOf(task: string): Name[] {
  const taken = STAGES.get(task)?.settings ?? OTHERS[task]?.() ?? [];
  return FIELD_NAMES.filter((name) => taken.includes(name));
}

/** Estimates what a stage takes; nothing where it does not say. */
export const estimateOf = (stage: string, c: Configuration, size: CorpusSize, speed: Speed): Estimate =>
  STAGES.get(stage)?.estimate?.(c, size, speed) ?? { seconds: 0, diskBytes: 0, memoryBytes: 0 };
