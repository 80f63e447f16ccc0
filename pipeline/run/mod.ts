/**
 * What is done with a run: planning and opening it, its partition and models, evaluation, derived
 * runs, checks, status and jobs.
 *
 * @module
 */

export { type Cleaned, type CleanOptions, cleanRun, type Litter } from "./clean.ts";
export { type GraphOptions, partitionGraph, type Plan, type StageState } from "./plan.ts";
export {
  foldersNamed,
  type Job,
  type JobOptions,
  type JobPlan,
  JOBS,
  listMissing,
  lockJobs,
  nameCompared,
  nameUnit,
  planJobs,
  readJobPlan,
  writeJobSettings,
} from "./jobs.ts";
export * from "./evaluate_run.ts";
export { type Adopted, adoptExpert, type AdoptOptions, loadAdoptable } from "./adopt.ts";
export {
  type Exported,
  exportInto,
  exportModel,
  type ExportModelOptions,
  type ExportTextOptions,
  exportTexts,
  type ModelFormat,
  type TextFormat,
} from "./export.ts";
export { exportSite, type ExportSiteOptions } from "./export_site.ts";
export * from "./trainings.ts";
export * from "./models.ts";
export { checkOutput, findRepair } from "./output.ts";
export { type Copy, type FoundCopy } from "./copies.ts";
export { type Descendant, describeDescendant } from "./descendants.ts";
export {
  derive,
  type Derived,
  type DeriveOptions,
  type DerivePlan,
  planDerive,
  type RunChange,
} from "./derive.ts";
export {
  type Estimate,
  type ModelsPlanOptions,
  type PartitionPlan,
  planExperts,
  planModels,
  type PlanOptions,
  planPartition,
  planRequests,
  type StageEstimate,
} from "./estimate.ts";
export {
  certificateText,
  checkForgotten,
  type ForgettingCertificate,
  type ForgottenReport,
} from "./certificate.ts";
export * from "./overlap.ts";
export {
  comparePartition,
  type ExpertSummary,
  type LevelSummary,
  partition,
  type PartitionOptions,
  type PartitionSummary,
  type Problem,
  type ProofSummary,
  proofSummary,
  runOneStage,
  type StageRun,
  summarizeRun,
} from "./partition.ts";
export * from "./status.ts";
export {
  type HowMade,
  makePartition,
  type OpenRun,
  openRun,
  type Part,
  type RunOptions,
  type RunWatch,
} from "./run.ts";
export * from "./verify.ts";
export { askRun, planQuestions, type ZeroShotRunOptions } from "./zero_shot.ts";
