/**
 * The mixture on held-out text and on zero-shot tasks, next to its baselines.
 *
 * @module
 */

export * from "./baselines.ts";
export { readFallback } from "./calibration.ts";
export { fewDocuments } from "./bootstrap.ts";
export * from "./choices/questions.ts";
export * from "./choices/results.ts";
export * from "./choices/score.ts";
export * from "./choices/suite.ts";
export * from "./choices/tasks.ts";
export { type DocumentScores, readDocumentScores, type SomeFigures } from "./tables.ts";
export * from "./evaluate.ts";
export { type Evaluation, type Gain, gainText, isEqual } from "./evaluation.ts";
export {
  asPositive,
  type Lower,
  type PrefixScore,
  type Score,
  SHOWN_WAYS,
  type Way,
} from "./evaluation.ts";
export { type MixOptions } from "./mix.ts";
export * from "./passes.ts";
