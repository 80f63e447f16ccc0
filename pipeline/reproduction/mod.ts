/**
 * The paper's comparison at a small size.
 *
 * @module
 */

export { type Crossing } from "./crossing.ts";
export { STUDIES } from "./studies.ts";
export { type Choices, type Findings, type Outcome, type Setup, type Study } from "./study.ts";
export { type RunOutcome } from "./outcome.ts";
export {
  areOfPaper,
  lackText,
  type LargestPiece,
  type Piece,
  planStudies,
  type PlanStudiesOptions,
  type StudiesPlan,
  type StudyPlan,
  type Total,
} from "./plan.ts";
export { type TrainingSite } from "./models.ts";
export { type Published, type PublishedPage, type PublishOptions, publishResults } from "./published.ts";
export { reproduce, type ReproduceOptions, type Reproduction } from "./reproduce.ts";
export { readStudies, type StudyResult, type StudyResults } from "./results.ts";
export { runStudies, type StudiesOptions } from "./run.ts";
export { type StudyChoice } from "./checks.ts";
