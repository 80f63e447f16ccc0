/**
 * What is done with a run: planning and opening it, its partition and models, evaluation, derived
 * runs, checks, status and jobs.
 *
 * @module
 */

export * from "./clean.ts";
export { type GraphOptions, partitionGraph, type Plan, type StageState } from "./plan.ts";
export * from "./jobs.ts";
export * from "./evaluate_run.ts";
export * from "./adopt.ts";
export * from "./export.ts";
export { exportSite, type ExportSiteOptions } from "./export_site.ts";
export * from "./trainings.ts";
export * from "./models.ts";
export { checkOutput, findRepair } from "./output.ts";
export { type Copy, type FoundCopy } from "./copies.ts";
export { type Descendant, describeDescendant } from "./descendants.ts";
export * from "./derive.ts";
export * from "./estimate.ts";
export {
  certificateText,
  checkForgotten,
  type ForgettingCertificate,
  type ForgottenReport,
} from "./certificate.ts";
export * from "./overlap.ts";
export * from "./partition.ts";
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
