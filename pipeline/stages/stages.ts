/**
 * The stages of a run, and their table: a stage turns settings and text into nodes of a run's
 * graph. Plan, run, status and help ask the stages and know no other list. Where one is added here,
 * or by a script, everything else knows of it.
 *
 * @module
 */

import { CORPUS, type Node, orGiven, PRUNED, TOKENIZER, ZERO_SHOT } from "../graph/node.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { type Configuration, FIELD_NAMES, listNames } from "../settings/configuration.ts";
import { EXPERT_SHAPE, EXPERTS, LARGER_DENSE, SWITCH } from "../settings/experts.ts";
import { ASSIGNMENT, ROUTERS } from "../settings/partitioner.ts";
import { TEXT } from "../settings/text.ts";
import type { AdoptRequest } from "./adopt.ts";
import type { AskRequest } from "./ask.ts";
import type { EvaluateRequest } from "./evaluate.ts";
import type { ExportRequest } from "./exported.ts";
import type { OverlapRequest } from "./overlap.ts";
import type { PageRequest } from "./page.ts";
import type { EstimateOf, GraphOf, Stage } from "./stage.ts";
import type { TrainRequest } from "./train.ts";

type Name = keyof Configuration;

/** Remembers what is made of a graph: several stages ask for it, and it may read files. */
function oncePerGraph<Made>(make: (of: GraphOf) => Promise<Made>): (of: GraphOf) => Promise<Made> {
  const made = new WeakMap<GraphOf, Promise<Made>>();
  return (of) => made.getOrInsertComputed(of, make);
}

/** Lists the nodes that divide the text among the experts, by their stages. */
const dividing = oncePerGraph(async (of) => await (await import("./learn.ts")).dividingNodes(of));

/** Lists the nodes that choose documents; what prunes is loaded only where it is asked for. */
const choosing = oncePerGraph(async (of): Promise<readonly Node[]> => {
  const { dedup, decontaminate, splitGroups } = of.configuration;
  const taken = (await import("./take.ts")).takeNode("documents", of);
  const nodes = taken ? [taken] : [];
  if (dedup === "off" && !splitGroups && decontaminate.length === 0) return nodes;
  const { pruneNodes } = await import("./prune.ts");
  return [...nodes, ...await orGiven(CORPUS, [PRUNED], pruneNodes(of, taken), of.recorded)];
});

/** Loads what the stages below take once somebody asks. */
const estimates = () => import("./estimates.ts");

/** Gives a stage whose request has a type of its own: only who asks for it gives one. */
const stage = <Request extends object>(stage: Stage<Request>): Stage => stage;

/** What the stages that train models have in common. */
const training = (taskName: string) => ({
  onRequest: true as const,
  nodes: async (of: GraphOf, request: TrainRequest) =>
    await (await import("./train.ts")).trainingNodes(of, request),
  requests: async (of: GraphOf) => await (await import("./train.ts")).trainRequests(taskName, of),
  estimate: async (of: EstimateOf, request: TrainRequest) =>
    await (await estimates()).estimateTraining(of, request),
});

/**
 * Every stage by the name of its task, in the order in which a run makes them. A script may add its
 * own.
 */
export const STAGES: Map<string, Stage> = new Map<string, Stage>([
  ["corpus", {
    about: "Fixes the text of a run: hashes its files, or keeps what is read once only.",
    settings: listNames(TEXT),
    nodes: async (of) => [...of.text.unpacked, ...await choosing(of)],
    estimate: async (of) => (await estimates()).estimateCorpus(of),
  }],
  ["tokenizer", {
    about: "Trains the tokenizer on a sample of the training documents, or copies the one " +
      "that is named.",
    settings: [
      ...[
        "vocabularySize",
        "tokenizerSample",
        "holdout",
        "seed",
        "textSeed",
        "tokenizer",
        "eos",
      ] as const,
      ...["format", "textField", "textColumn", "tokenColumn"] as const, // of text that is no run's
    ],
    async nodes(of) {
      const { tokenizerNodes } = await import("./tokenize.ts");
      const taken = (await choosing(of)).at(-1);
      return await orGiven(TOKENIZER, [TOKENIZER], tokenizerNodes(of, taken), of.recorded);
    },
    estimate: async (of) => (await estimates()).estimateTokenizer(of),
  }],
  ["tokenize", {
    about: "Turns the documents of every block into training sequences, and held-out ones.",
    settings: [
      ...[
        "eos",
        "sequenceLength",
        "packing",
        "maxTokens",
        "take",
        "holdout",
        "shardSequences",
      ] as const,
      ...["seed", "textSeed", "tokenizer"] as const,
      ...["prefix", "prefixLengths"] as const, // which must fit a sequence length that is given
      ...listNames(TEXT),
    ],
    async nodes(of) {
      const { takeNode } = await import("./take.ts");
      const { sequencesNode, tokenizeNodes } = await import("./tokenize.ts");
      const { indexNode } = await import("./documents.ts");
      const documents = (await choosing(of)).at(-1);
      const tokens = takeNode("tokens", of, documents);
      const nodes = [...tokenizeNodes(of, tokens ?? documents), sequencesNode(of), indexNode(of)];
      return tokens ? [tokens, ...nodes] : nodes;
    },
    estimate: async (of) => (await estimates()).estimateTokens(of),
  }],
  ["train-routers", {
    about:
      "Learns how to split text: E routers, by expectation maximisation, or another partitioner.",
    settings: ["partitioner", "levels", ...PARTITIONERS.get("em")!.settings],
    nodes: async (of) => (await dividing(of)).learn,
    estimate: async (of) => (await estimates()).estimateLearning(of),
  }],
  ["score", {
    about: "Scores the prefix of every sequence for every expert.",
    settings: ["prefix", "scoreBatch", "routers"],
    nodes: async (of) => (await dividing(of)).score,
    estimate: async (of) => (await estimates()).estimateScores(of),
  }],
  ["assign", {
    about: "Hands training sequences to experts, in equal parts unless another method is chosen.",
    // M: of scores of other tools.
    settings: [...listNames(ASSIGNMENT, "scoreBatch"), "shardSequences", "prefix"],
    nodes: async (of) => (await dividing(of)).assign,
    estimate: async (of) => (await estimates()).estimateAssignment(of),
  }],
  ["split", {
    about: "Writes one folder of shards per expert.",
    settings: ["shardSequences"],
    async nodes(of) {
      const { namesNode, splitNodes } = await import("./split.ts");
      const { partIndexNode } = await import("./documents.ts");
      return [...splitNodes(of), partIndexNode(of), namesNode(of)];
    },
    estimate: async (of) => (await estimates()).estimateSplit(of),
  }],
  ["derive", {
    about: "Links the models of another run that trainings of this one go on from.",
    settings: [],
    async nodes({ run }) {
      const { beforeNodes, readDerivation } = await import("./derivation.ts");
      const derivation = await readDerivation(run);
      return derivation ? beforeNodes(derivation) : [];
    },
    estimate: async () => (await estimates()).NOTHING, // it links files
  }],
  ["train-expert", {
    ...training("train-expert"),
    about: "Trains one expert, or all one after another, each on its own part of a " +
      "partitioned run and nothing else.",
    settings: listNames(EXPERTS, "denseRate", "denseStepsRate"),
  }],
  ["train-dense", {
    ...training("train-dense"),
    about: "Trains a dense baseline on all training tokens, at the training cost of all " +
      "experts together.",
    settings: [...listNames(EXPERTS), ...listNames(LARGER_DENSE)],
  }],
  ["train-switch", {
    ...training("train-switch"),
    about: "Trains a Switch Transformer on all training tokens: in every layer as many " +
      "experts as the mixture has, chosen token by token.",
    settings: [...listNames(EXPERTS, "denseRate", "denseStepsRate"), ...listNames(SWITCH)],
  }],
  // After the trainings: an expert that was adopted takes the place of its own.
  [
    "adopt",
    stage<AdoptRequest>({
      about: "Takes an expert that another trainer made from an exported part into the run.",
      settings: [],
      onRequest: true,
      nodes: async (of, request) => (await import("./adopt.ts")).adoptNodes(of, request),
      estimate: async (of) => (await estimates()).estimateAdoption(of),
      requests: async (of) => await (await import("./adopt.ts")).adoptRequests(of),
    }),
  ],
  [
    "evaluate",
    stage<EvaluateRequest>({
      about: "Evaluates the mixture of a run on its held-out documents: perplexities, " +
        "gains, sources, segments, prefixes.",
      settings: [],
      onRequest: true,
      nodes: async (of, request) =>
        await (await import("./evaluate.ts")).evaluationNodes(of, request),
      estimate: async (of, request) => await (await estimates()).estimateEvaluation(of, request),
      requests: async (of) => await (await import("./evaluate.ts")).evaluateRequests(of),
    }),
  ],
  [
    "overlap",
    stage<OverlapRequest>({
      about: "Finds duplicates among the documents of a run, and passages of held-out ones " +
        "that stand in training text.",
      settings: [],
      onRequest: true,
      readsText: true,
      nodes: async (of, request) => await (await import("./overlap.ts")).overlapNodes(of, request),
      estimate: async (of) => (await estimates()).estimateOverlap(of),
      requests: async (of) => await (await import("./overlap.ts")).overlapRequests(of),
    }),
  ],
  [
    ZERO_SHOT,
    stage<AskRequest>({
      about: "Asks zero-shot tasks of the mixture of a run, next to its dense models; " +
        "without data, tasks made of held-out text.",
      settings: [],
      onRequest: true,
      nodes: async (of, request) => await (await import("./ask.ts")).askNodes(of, request),
      estimate: async (of, request) => await (await estimates()).estimateQuestions(of, request),
      requests: async (of) => await (await import("./ask.ts")).askRequests(of),
    }),
  ],
  [
    "export",
    stage<ExportRequest>({
      about: "Writes the text of a run, or its models, in formats of other tools.",
      settings: [],
      onRequest: true,
      nodes: async (of, request) => (await import("./exported.ts")).exportNodes(of, request),
      estimate: async (of) => (await estimates()).estimateExport(of),
      requests: async (of) => await (await import("./exported.ts")).exportRequests(of),
    }),
  ],
  [
    "report",
    stage<PageRequest>({
      about: "Writes the report of a run: one page that shows what it has made.",
      settings: [],
      onRequest: true,
      nodes: async (of, request) => await (await import("./page.ts")).pageNodes(of, request),
      estimate: async () => (await estimates()).estimatePage(),
      requests: async (of) => await (await import("./page.ts")).pageRequests(of),
    }),
  ],
]);

/** Lists the stages of a partition in their order: those that nobody has to ask for. */
export const partitionStages = (): Stage[] =>
  [...STAGES.values()].filter(({ onRequest }) => !onRequest);

const OWN: ReadonlySet<string> = new Set(STAGES.keys());

/** Names the stages that a script has added. */
export const stagesAdded = (): string[] => [...STAGES.keys()].filter((name) => !OWN.has(name));

/** Settings of the tasks that are no stage's. */
const OTHERS: Record<string, () => readonly Name[]> = {
  partition: () =>
    [...STAGES.values()].filter(({ onRequest }) => !onRequest).flatMap(({ settings }) => settings),
  reproduce: () => [
    ...OTHERS.partition(),
    ...listNames(EXPERTS),
    ...listNames(LARGER_DENSE),
    ...listNames(SWITCH),
  ],
  submit: () => OTHERS.reproduce(),
  show: () => ["tokenizer"],
  cost: () => [
    ...["vocabularySize", "sequenceLength", "holdout", "shardSequences"] as const,
    ...listNames(ROUTERS, "routerRate", "routerWarmup"),
    ...["expertHidden", "expertLayers", "expertHeads", "expertBatch"] as const,
    ...EXPERT_SHAPE,
    ...["expertSteps", "expertTokens", "expertEpochs", "microBatch", "dtype"] as const,
    ...listNames(LARGER_DENSE, "denseComputeRate"),
    ...listNames(SWITCH, "switchRate"),
  ],
};

/** Lists the settings that a task takes, in the order of all settings. */
export function listSettings(task: string): (keyof Configuration)[] {
  const taken = STAGES.get(task)?.settings ?? OTHERS[task]?.() ?? [];
  return FIELD_NAMES.filter((name) => taken.includes(name));
}
