/**
 * Says on which settings the outputs of each stage depend, and which settings each task takes.
 *
 * @module
 */

import { type Configuration, FIELD_NAMES } from "../settings/configuration.ts";
import { EXPERTS } from "../settings/experts.ts";
import { OPTIMISER } from "../settings/optimiser.ts";
import { PARTITIONER } from "../settings/partitioner.ts";
import { TEXT } from "../settings/text.ts";

/** Names a stage of a partition. */
export type Stage = "corpus" | "tokenizer" | "tokenize" | "train-routers" | "score" | "assign" | "split";

type Name = keyof Configuration;

/** Names the fields of a section, but some. */
function namesOf(section: Partial<Record<Name, unknown>>, ...without: Name[]): Name[] {
  return FIELD_NAMES.filter((name) => name in section && !without.includes(name));
}

/** Lists the settings that a stage's outputs depend on, by stage, in the order of the stages of a partition. */
export const STAGE_SETTINGS: Readonly<Record<Stage, Name[]>> = {
  corpus: namesOf(TEXT),
  tokenizer: ["vocabularySize", "tokenizerSample", "holdout", "seed"],
  tokenize: ["eos", "sequenceLength", "packing", "maxTokens", "holdout", "shardSequences", "seed"],
  "train-routers": [...namesOf(PARTITIONER, "partitioner", "routers"), ...namesOf(OPTIMISER), "seed"],
  score: ["prefix", "scoreBatch"],
  assign: ["shardSequences", "method", "chunk"],
  split: ["shardSequences"],
};

/** Names the stages of a partition, in their order. */
export const STAGES: readonly Stage[] = [
  ...["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"] as const,
];

const OF_STAGES = Object.values(STAGE_SETTINGS).flat();
const OF_PARTITION: Name[] = [...OF_STAGES, "tokenizer", "partitioner", "routers"];

/** Lists the settings that a task takes, besides those of the stage of its name. */
const TASK_SETTINGS: Record<string, Name[]> = {
  tokenizer: ["tokenizer"],
  tokenize: ["tokenizer", ...namesOf(TEXT, "input", "corpus", "corpusCharacters")],
  "train-routers": ["partitioner"],
  score: ["routers"],
  partition: OF_PARTITION,
  show: ["tokenizer"],
  "train-expert": namesOf(EXPERTS, "denseRate", "denseStepsRate"),
  "train-dense": namesOf(EXPERTS),
  reproduce: [...OF_PARTITION, ...namesOf(EXPERTS)],
  cost: [
    ...["vocabularySize", "sequenceLength"] as const,
    ...namesOf(PARTITIONER, "partitioner", "routerRate", "routerWarmup"),
    ...["expertHidden", "expertLayers", "expertHeads", "expertBatch"] as const,
    ...["expertSteps", "expertTokens", "expertEpochs", "microBatch", "dtype"] as const,
  ],
};

/** Lists the settings that a task takes, in the order of all. */
export function settingsOf(task: string): (keyof Configuration)[] {
  const own: Readonly<Record<string, Name[]>> = STAGE_SETTINGS;
  const taken = [...own[task] ?? [], ...TASK_SETTINGS[task] ?? []];
  return FIELD_NAMES.filter((name) => taken.includes(name));
}

/** Says whether a stage's outputs depend on a setting. */
export function dependsOn(stage: Stage, name: Name): boolean {
  return STAGE_SETTINGS[stage].includes(name);
}

/** Picks the values that a stage's outputs depend on. */
export function stageConfiguration(configuration: Configuration, stage: Stage): Record<string, unknown> {
  const names = FIELD_NAMES.filter((name) => dependsOn(stage, name));
  return Object.fromEntries(names.map((name) => [name, configuration[name]]));
}
