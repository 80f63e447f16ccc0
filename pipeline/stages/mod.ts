/**
 * The stages of a run as functions from settings and text to nodes of its graph, and what opens a run to make them.
 *
 * @module
 */

export * from "./clean.ts";
export { chooseChunk } from "./assign.ts";
export { changesText, findDocument, type FoundDocument, type TextChanges } from "./documents.ts";
export { type DocumentRow, type NeededFile } from "./token_rows.ts";
export { type GraphOptions, partitionGraph, type Plan, type StageState } from "./plan.ts";
export * from "./jobs.ts";
export { type DerivedExpert, EXPERT_STATES, readLineageSteps, type Step, stepText } from "./derivation.ts";
export * from "./evaluate_run.ts";
export { needConfiguration, onlyParts, partitionRemedy, partsAlone } from "./parts.ts";
export * from "./adopt.ts";
export * from "./export.ts";
export * from "./trainings.ts";
export * from "./models.ts";
export { expertNames } from "./split.ts";
export { checkOutput, findRepair } from "./output.ts";
export * from "./derive.ts";
export * from "./estimate.ts";
export { checkForgotten } from "./forgotten.ts";
export * from "./overlap.ts";
export * from "./partition.ts";
export { type GraphOf, listSettings, type Stage, STAGES } from "./stages.ts";
export * from "./status.ts";
export { makePartition, type OpenRun, openRun, type Part, type RunOptions, type RunWatch } from "./run.ts";
export * from "./targets.ts";
export * from "./train_result.ts";
export { type GivenText, type Text } from "./text.ts";
export { memoryTogether } from "./bank.ts";
export * from "./verify.ts";
export { askRun, type ZeroShotRunOptions } from "./zero_shot.ts";
