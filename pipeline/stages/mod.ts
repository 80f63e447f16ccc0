/**
 * Stages of a run as a graph: what runs, plans, verifies them and tells how they stand.
 *
 * @module
 */

export { chunkOf, type ProofSummary, summaryOf } from "./assign.ts";
export type { EvaluationChoices } from "./evaluate_checks.ts";
export { type Graph, graphOf, STAGES } from "./graph.ts";
export { partition, type PartitionOptions, runOneStage } from "./partition.ts";
export { checkOutput, checkOutputFolder } from "./output.ts";
export { partitionRemedy } from "./parts_alone.ts";
export { type Part } from "./notes.ts";
export type { RunOptions, RunWatch } from "./session.ts";
export {
  type CorpusSize,
  type Estimate,
  type Made,
  type Make,
  type ManifestReader,
  oneStage,
  pickSettings,
  type Problem,
  type RunContext,
  type Stage,
  type StageKind,
  type Unfinished,
  type Verification,
  type Work,
} from "./stage.ts";
export { type StageState } from "./state.ts";
export { type Lack, nextOf, type RunStatus, type StageStatus, stagesText, statusOf } from "./status.ts";
export { comparePartition, type Fingerprint, fingerprintOf } from "./fingerprint.ts";
export { type ExpertSummary, type PartitionSummary, type StageRun } from "./summary.ts";
export {
  expertsOf,
  trainDense,
  trainDenseTogether,
  trainExpert,
  trainExperts,
  trainExpertsInTurn,
  type TrainOptions,
  trainSwitch,
  trainSwitchTogether,
  type TrainTogetherOptions,
} from "./train.ts";
export { type Match } from "./train_dense.ts";
export type { Routing, TrainResult } from "../nodes/training_result.ts";
export type { TrainingOptions } from "./training_target.ts";
export { MADE_ZERO_SHOT, type ZeroShotOptions, zeroShotTasks } from "./zero_shot.ts";
