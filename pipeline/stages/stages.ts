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

/** Remembers a result for each graph: several stages ask for it, and it may read files. */
function oncePerGraph<Made>(
  make: (graph: GraphOf) => Promise<Made>,
): (graph: GraphOf) => Promise<Made> {
  const byGraph = new WeakMap<GraphOf, Promise<Made>>();
  return (graph) => byGraph.getOrInsertComputed(graph, make);
}

/** Lists the nodes that divide the text among the experts, by their stages. */
const dividing = oncePerGraph(async (graph) =>
  await (await import("./learn.ts")).dividingNodes(graph)
);

/** Lists the nodes that choose documents; what prunes is loaded only where it is asked for. */
const choosing = oncePerGraph(async (graph): Promise<readonly Node[]> => {
  const { dedup, decontaminate, splitGroups } = graph.configuration;
  const taken = (await import("./take.ts")).takeNode("documents", graph);
  const nodes = taken ? [taken] : [];
  if (dedup === "off" && !splitGroups && decontaminate.length === 0) return nodes;
  const { pruneNodes } = await import("./prune.ts");
  return [...nodes, ...await orGiven(CORPUS, [PRUNED], pruneNodes(graph, taken), graph.recorded)];
});

/** Loads what the stages below take once somebody asks. */
const estimates = () => import("./estimates.ts");

/** Hides the type of a stage's request in the table; only the stage's task makes a request. */
const stage = <Request extends object>(stage: Stage<Request>): Stage => stage;

/** What the stages that train models have in common. */
const training = (taskName: string) => ({
  onRequest: true as const,
  nodes: async (graph: GraphOf, request: TrainRequest) =>
    await (await import("./train.ts")).trainingNodes(graph, request),
  requests: async (graph: GraphOf) =>
    await (await import("./train.ts")).trainRequests(taskName, graph),
  estimate: async (workload: EstimateOf, request: TrainRequest) =>
    await (await estimates()).estimateTraining(workload, request),
});

/**
 * Every stage by the name of its task, in the order in which a run makes them. A script may add its
 * own.
 */
export const STAGES: Map<string, Stage> = new Map<string, Stage>([
  ["corpus", {
    about: "Fixes the text of a run: hashes its files, or keeps what is read once only.",
    settings: listNames(TEXT),
    nodes: async (graph) => [...graph.text.unpacked, ...await choosing(graph)],
    estimate: async (workload) => (await estimates()).estimateCorpus(workload),
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
    async nodes(graph) {
      const { tokenizerNodes } = await import("./tokenize.ts");
      const taken = (await choosing(graph)).at(-1);
      return await orGiven(TOKENIZER, [TOKENIZER], tokenizerNodes(graph, taken), graph.recorded);
    },
    estimate: async (workload) => (await estimates()).estimateTokenizer(workload),
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
    async nodes(graph) {
      const { takeNode } = await import("./take.ts");
      const { sequencesNode, tokenizeNodes } = await import("./tokenize.ts");
      const { indexNode } = await import("./documents.ts");
      const documents = (await choosing(graph)).at(-1);
      const tokens = takeNode("tokens", graph, documents);
      const nodes = [
        ...tokenizeNodes(graph, tokens ?? documents),
        sequencesNode(graph),
        indexNode(graph),
      ];
      return tokens ? [tokens, ...nodes] : nodes;
    },
    estimate: async (workload) => (await estimates()).estimateTokens(workload),
  }],
  ["train-routers", {
    about:
      "Learns how to split text: E routers, by expectation maximisation, or another partitioner.",
    settings: ["partitioner", "levels", ...PARTITIONERS.get("em")!.settings],
    nodes: async (graph) => (await dividing(graph)).learn,
    estimate: async (workload) => (await estimates()).estimateLearning(workload),
  }],
  ["score", {
    about: "Scores the prefix of every sequence for every expert.",
    settings: ["prefix", "scoreBatch", "routers"],
    nodes: async (graph) => (await dividing(graph)).score,
    estimate: async (workload) => (await estimates()).estimateScores(workload),
  }],
  ["assign", {
    about: "Hands training sequences to experts, in equal parts unless another method is chosen.",
    // M: of scores of other tools.
    settings: [...listNames(ASSIGNMENT, "scoreBatch"), "shardSequences", "prefix"],
    nodes: async (graph) => (await dividing(graph)).assign,
    estimate: async (workload) => (await estimates()).estimateAssignment(workload),
  }],
  ["split", {
    about: "Writes one folder of shards per expert.",
    settings: ["shardSequences"],
    async nodes(graph) {
      const { namesNode, splitNodes } = await import("./split.ts");
      const { partIndexNode } = await import("./documents.ts");
      return [...splitNodes(graph), partIndexNode(graph), namesNode(graph)];
    },
    estimate: async (workload) => (await estimates()).estimateSplit(workload),
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
      nodes: async (graph, request) => (await import("./adopt.ts")).adoptNodes(graph, request),
      estimate: async (workload) => (await estimates()).estimateAdoption(workload),
      requests: async (graph) => await (await import("./adopt.ts")).adoptRequests(graph),
    }),
  ],
  [
    "evaluate",
    stage<EvaluateRequest>({
      about: "Evaluates the mixture of a run on its held-out documents: perplexities, " +
        "gains, sources, segments, prefixes.",
      settings: [],
      onRequest: true,
      nodes: async (graph, request) =>
        await (await import("./evaluate.ts")).evaluationNodes(graph, request),
      estimate: async (workload, request) =>
        await (await estimates()).estimateEvaluation(workload, request),
      requests: async (graph) => await (await import("./evaluate.ts")).evaluateRequests(graph),
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
      nodes: async (graph, request) =>
        await (await import("./overlap.ts")).overlapNodes(graph, request),
      estimate: async (workload) => (await estimates()).estimateOverlap(workload),
      requests: async (graph) => await (await import("./overlap.ts")).overlapRequests(graph),
    }),
  ],
  [
    ZERO_SHOT,
    stage<AskRequest>({
      about: "Asks zero-shot tasks of the mixture of a run, next to its dense models; " +
        "without data, tasks made of held-out text.",
      settings: [],
      onRequest: true,
      nodes: async (graph, request) => await (await import("./ask.ts")).askNodes(graph, request),
      estimate: async (workload, request) =>
        await (await estimates()).estimateQuestions(workload, request),
      requests: async (graph) => await (await import("./ask.ts")).askRequests(graph),
    }),
  ],
  [
    "export",
    stage<ExportRequest>({
      about: "Writes the text of a run, or its models, in formats of other tools.",
      settings: [],
      onRequest: true,
      nodes: async (graph, request) => (await import("./exported.ts")).exportNodes(graph, request),
      estimate: async (workload) => (await estimates()).estimateExport(workload),
      requests: async (graph) => await (await import("./exported.ts")).exportRequests(graph),
    }),
  ],
  [
    "report",
    stage<PageRequest>({
      about: "Writes the report of a run: one page that shows what it has made.",
      settings: [],
      onRequest: true,
      nodes: async (graph, request) => await (await import("./page.ts")).pageNodes(graph, request),
      estimate: async () => (await estimates()).estimatePage(),
      requests: async (graph) => await (await import("./page.ts")).pageRequests(graph),
    }),
  ],
]);

/** Lists the stages of a partition in their order: those that nobody has to ask for. */
export const partitionStages = (): [name: string, stage: Stage][] =>
  [...STAGES].filter(([, { onRequest }]) => !onRequest);

const OWN: ReadonlySet<string> = new Set(STAGES.keys());

/** Names the stages that a script has added. */
export const stagesAdded = (): string[] => [...STAGES.keys()].filter((name) => !OWN.has(name));

/** Settings of the tasks that are no stage's. */
const OTHERS: Record<string, () => readonly Name[]> = {
  partition: () => partitionStages().flatMap(([, { settings }]) => settings),
  reproduce: () => [
    ...OTHERS.partition(),
    ...listNames(EXPERTS),
    ...listNames(LARGER_DENSE),
    ...listNames(SWITCH),
  ],
  submit: () => OTHERS.reproduce(),
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
