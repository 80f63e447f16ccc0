/**
 * The stages of a run as functions from settings and text to nodes of its graph.
 *
 * @module
 */

export { chooseChunk } from "./assign.ts";
export {
  changesText,
  findDocuments,
  type FoundDocument,
  listDocuments,
  type TextChanges,
} from "./documents.ts";
export { type DocumentRow, type NeededFile } from "./token_rows.ts";
export {
  type DerivedExpert,
  EXPERT_STATES,
  type LineageStep,
  lineageStepText,
  readLineageSteps,
} from "./derivation.ts";
export { needConfiguration, onlyParts, partitionRemedy, partsAlone } from "./parts.ts";
export { type EstimateOf, type GraphOf, type Stage } from "./stage.ts";
export { listSettings, STAGES } from "./stages.ts";
export {
  allTargets,
  denseTarget,
  expertTarget,
  goingOn,
  listNodeFiles,
  type Match,
  peakRate,
  type Predecessor,
  type Predecessor as Before,
  type RateName,
  switchTarget,
  type Target,
  textNode,
  type TrainingOptions,
  type TrainingText,
} from "./targets.ts";
export * from "./train_result.ts";
export { type GivenText, type RunText } from "./text.ts";
export { memoryTogether } from "./bank.ts";
