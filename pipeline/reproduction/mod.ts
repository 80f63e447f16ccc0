/**
 * The paper's comparison at a small size.
 *
 * @module
 */

export { type Crossing } from "./claims.ts";
export { type Published, type PublishedPage, type PublishOptions, publishResults } from "./published.ts";
export { reproduce, type ReproduceOptions, type Reproduction } from "./reproduce.ts";
export {
  areOfPaper,
  lackText,
  type LargestPiece,
  type Piece,
  planStudies,
  type PlanStudiesOptions,
  type StudiesPlan,
  type StudyPlan,
} from "./studies/plan.ts";
export { readStudies, type StudyResult, type StudyResults } from "./studies/results.ts";
export { runStudies, type StudiesOptions } from "./studies/run.ts";
export { STUDIES } from "./studies/studies.ts";
export { type RunOutcome } from "./studies/outcome.ts";
export { type Choices, type Findings, type Outcome, type Setup, type Study } from "./studies/study.ts";
