/**
 * The mixture on held-out text and on zero-shot tasks, beside its baselines.
 *
 * @module
 */

export { type Baseline, BASELINE_NOTES, type BaselineNotes, BASELINES, isBaseline } from "./baselines.ts";
export { fewDocuments } from "./bootstrap.ts";
export { MADE_ZERO_SHOT, type ZeroShotOptions, zeroShotPath, zeroShotTasks } from "./choices/asking.ts";
export { type EncodedPrompt, encodeQuestions } from "./choices/prompts.ts";
export { type AskOptions, askQuestions } from "./choices/score.ts";
export { harnessResults, writeHarnessResults } from "./choices/harness.ts";
export { type Question } from "./choices/tasks.ts";
export {
  type ChoiceWay,
  type Difference,
  type Measure,
  type MixedDifference,
  type Routing,
  topWay,
  type Verdict,
  verdictOf,
  waysOf,
  type ZeroShotResult,
} from "./choices/results.ts";
export { type HeldOutDocument } from "./choices/suite.ts";
export { MADE_TASKS, type MadeTask, type Passage } from "./choices/suite.ts";
export { type ChoiceTask, type Metric, METRICS, TASKS, type ZeroShotTask } from "./choices/tasks.ts";
export { type DocumentScores, readDocumentScores } from "./documents.ts";
export { evaluate, type EvaluateOptions, type EvaluationChoices } from "./evaluate.ts";
export { type Check, type ModelScores, type PassOptions, scoreModel } from "./model_pass.ts";
export { type Keep } from "./rows.ts";
export {
  atPrefix,
  type Evaluation,
  type Fallback,
  type Gain,
  gainText,
  isEqual,
  type Lower,
  type Mix,
  type PrefixScore,
  type Reliability,
  type RoutedBy,
  type Score,
  type Segment,
  sideOf,
  type SourceScore,
  TOLD_WAYS,
  type Way,
} from "./evaluation.ts";
export { type FallbackOptions } from "./margins.ts";
export { type MixOptions } from "./mix.ts";
export { type RouteOptions } from "./routes.ts";
