/**
 * The mixture on held-out text and on zero-shot tasks, next to its baselines.
 *
 * @module
 */

export {
  type Baseline,
  BASELINE_NOTES,
  type BaselineNotes,
  BASELINES,
  hasOwnShape,
  isBaseline,
} from "./baselines.ts";
export { readFallback } from "./calibration.ts";
export { fewDocuments } from "./bootstrap.ts";
export * from "./choices/questions.ts";
export {
  type ChoiceWay,
  type Difference,
  judge,
  listWays,
  type Measure,
  type MixedDifference,
  readZeroShot,
  type Routing,
  topWay,
  type Verdict,
  ZERO_SHOT_FORMAT,
  type ZeroShotOptions,
  type ZeroShotResult,
} from "./choices/results.ts";
export { type AskOptions, askQuestions, scoreChoices, type ScoredChoice } from "./choices/score.ts";
export {
  cutPassages,
  type HeldOutDocument,
  heldOutDocuments,
  MADE_TASKS,
  MADE_ZERO_SHOT,
  type MadeTask,
  type Passage,
  zeroShotTasks,
} from "./choices/suite.ts";
export * from "./choices/tasks.ts";
export { type DocumentScores, readDocumentScores, type SomeFigures } from "./tables.ts";
export {
  CHOICES,
  evaluate,
  type EvaluateOptions,
  type EvaluationChoices,
  type FallbackOptions,
  type RoutedSequence,
} from "./evaluate.ts";
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
export {
  type Check,
  cutRowBlocks,
  type ModelScores,
  type PassOptions,
  route,
  type Routed,
  type RouteOptions,
  type Routes,
  routingPrefixes,
  type RowBlock,
  type RowRange,
  rowsPerBlock,
  scoreModel,
  type ScorePassOptions,
  type Sequences,
  shapeChecker,
} from "./passes.ts";
