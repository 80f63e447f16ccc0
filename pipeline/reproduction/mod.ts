/**
 * The paper's comparison at a small size.
 *
 * @module
 */

export { type StudyChoice } from "./folder.ts";
export { STUDY_NAMES } from "./grid.ts";
export { type Crossing } from "./outcome.ts";
export {
  areOfPaper,
  lackText,
  type PlannedJob,
  planStudies,
  type PlanStudiesOptions,
  type StudiesPlan,
} from "./plan.ts";
export { type StudyResult } from "./results.ts";
export {
  reproduce,
  type ReproduceOptions,
  type Reproduction,
  runStudies,
  type StudiesOptions,
} from "./run.ts";
export { type TrainingSite } from "./search.ts";
