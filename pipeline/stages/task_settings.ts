/**
 * Lists which settings each task takes: those of its stage, of all stages of a partition, or those of what it
 * counts.
 *
 * @module
 */

import { type Configuration, defaultConfiguration, FIELD_NAMES, namesOf } from "../settings/configuration.ts";
import { EXPERTS, LARGER_DENSE, SWITCH } from "../settings/experts.ts";
import { PARTITIONER } from "../settings/partitioner.ts";
import { STAGES } from "./graph.ts";
import type { StageKind } from "./stage.ts";

type Name = keyof Configuration;

const takenBy = ({ takes, of }: StageKind): readonly Name[] =>
  takes ?? of(defaultConfiguration()).flatMap(({ settings }) => settings);

const isOfPartition = ({ of }: StageKind) => of(defaultConfiguration()).some(({ onRequest }) => !onRequest);

/** Settings of the tasks that are no stage's. */
const OTHERS: Record<string, () => readonly Name[]> = {
  partition: () => [...STAGES.values()].filter(isOfPartition).flatMap(takenBy),
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

/** Settings of the graph of nodes (`pipeline/nodes/`) alone, which no task uses yet. */
export const OF_GRAPH: readonly Name[] = ["blockBytes", "prices"];

/** Lists the settings that a task takes, in the order of all settings. */
export function settingsOf(task: string): (keyof Configuration)[] {
  const kind = STAGES.get(task);
  const taken = kind ? takenBy(kind) : OTHERS[task]?.() ?? [];
  return FIELD_NAMES.filter((name) => taken.includes(name) && !OF_GRAPH.includes(name));
}
