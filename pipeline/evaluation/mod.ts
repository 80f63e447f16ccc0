/**
 * The mixture on held-out text, beside its baselines.
 *
 * @module
 */

export { evaluate, type EvaluateOptions, type ModelScores, scoreModel } from "./evaluate.ts";
export {
  type Baseline,
  BASELINES,
  type Evaluation,
  type Gain,
  type PrefixScore,
  type Score,
  type Segment,
  sideOf,
  type SourceScore,
  TOLD_WAYS,
  type Way,
} from "./evaluation.ts";
export { type RouteOptions } from "./routes.ts";
