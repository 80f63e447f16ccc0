/**
 * The stages of a run as functions from settings and text to nodes of its graph, and what opens a run to make them.
 *
 * @module
 */

export { type Cleaned, type CleanOptions, cleanRun, type Litter } from "./clean.ts";
export { findDocument, type FoundDocument } from "./documents.ts";
export { type StageState, type TextChanges } from "./changes.ts";
export { comparePartition, type Fingerprint, fingerprintOf, type Problem } from "./fingerprint.ts";
export { evaluateRun, tokensOfRun, trainModels, type TrainRunOptions } from "./models.ts";
export { expertNames } from "./names.ts";
export { type Plan, planPartition } from "./plan.ts";
export { partsAlone, repairOf } from "./remedy.ts";
export {
  makePartition,
  type OpenRun,
  openRun,
  type Part,
  type PartitionState,
  planRun,
  type RunOptions,
  type RunWatch,
} from "./run.ts";
export {
  type ExpertSummary,
  type PartitionSummary,
  type ProofSummary,
  type StageRun,
  summarizeRun,
} from "./summary.ts";
export {
  allTargets,
  denseTarget,
  expertTarget,
  type Match,
  type RateName,
  switchTarget,
  type Target,
  type TrainingText,
} from "./targets.ts";
export { type GivenText, type Text } from "./text.ts";
export { type TrainOptions } from "./train.ts";
export { type VerifyProgress, type VerifyReport, verifyRun } from "./verify.ts";
export { askRun, type ZeroShotRunOptions } from "./zero_shot.ts";
