/**
 * The paper's comparison at a small size.
 *
 * @module
 */

export { type StudyChoice } from "./checks.ts";
export { type Crossing } from "./crossing.ts";
export { type TrainingSite } from "./models.ts";
export { areOfPaper, lackText, planStudies, type PlanStudiesOptions, type StudiesPlan } from "./plan.ts";
export { type Published, type PublishedPage, type PublishOptions, publishResults } from "./published.ts";
export { reproduce, type ReproduceOptions, type Reproduction } from "./reproduce.ts";
export { type StudyResult } from "./results.ts";
export { runStudies, type StudiesOptions } from "./run.ts";
export { STUDY_NAMES } from "./studies.ts";
