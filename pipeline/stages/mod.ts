/**
 * The stages of a run as functions from settings and text to nodes of its graph, and what opens a run to make them.
 *
 * @module
 */

export { type Cleaned, type CleanOptions, cleanRun, type Litter } from "./clean.ts";
export { chunkOf } from "./assign.ts";
export { findDocument, type FoundDocument } from "./documents.ts";
export { changesText, type TextChanges } from "./changes.ts";
export { type StageState } from "./standing.ts";
export { comparePartition, type Fingerprint, fingerprintOf, type Problem } from "./fingerprint.ts";
export { type Job, missingOf, planJobs, unitOf } from "./jobs.ts";
export {
  foldersNamed,
  holdJobs,
  type JobOptions,
  type JobPlan,
  JOBS,
  readJobPlan,
  settleJobs,
} from "./job_plan.ts";
export {
  evaluateModels,
  evaluateRun,
  type EvaluateRunOptions,
  modelsOfRun,
  type ScoredModels,
} from "./evaluate_run.ts";
export { needConfiguration, onlyParts, partitionRemedy } from "./alone.ts";
export { partsAlone } from "./parts.ts";
export { type Adopted, adoptExpert, type AdoptOptions } from "./adopt.ts";
export {
  type Exported,
  exportModel,
  type ExportModelOptions,
  type ExportTextOptions,
  exportTexts,
  TEXT_FORMATS,
} from "./export.ts";
export { openTrainings, type Training, type TrainingsReader } from "./trainings.ts";
export {
  type ChooseModels,
  expertsOf,
  tokensOfRun,
  trainDense,
  trainExpert,
  trainExperts,
  trainModels,
  type TrainOptions,
  trainSwitch,
} from "./models.ts";
export { expertNames } from "./names.ts";
export { checkOutput, checkOutputFolder } from "./output.ts";
export {
  type ExpertsPlanOptions,
  type PartitionPlan,
  planExperts,
  type PlanOptions,
  planPartition,
  type StageEstimate,
} from "./estimate.ts";
export { repairOf } from "./remedy.ts";
export { partition, type PartitionOptions, runOneStage } from "./partition.ts";
export { type GraphOptions, partitionGraph, type Plan } from "./plan.ts";
export type { CorpusSize, Estimate, GraphOf, Speed, Stage } from "./stage.ts";
export { settingsOf, STAGES } from "./stages.ts";
export {
  isToRun,
  type Lack,
  lacksOf,
  nextOf,
  type RunStatus,
  type StageStatus,
  stagesText,
  statusOf,
} from "./status.ts";
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
  proofSummary,
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
export { type Bank, memoryTogether } from "./bank.ts";
export { type TrainingOptions } from "./train.ts";
export { type Routing, type TrainResult, trainResult } from "./training_result.ts";
export { type VerifyProgress, type VerifyReport, verifyRun } from "./verify.ts";
export { askRun, type ZeroShotRunOptions } from "./zero_shot.ts";
