/**
 * The mixture on held-out text, beside its baselines.
 *
 * @module
 */

export { type Baseline, BASELINE_NOTES, type BaselineNotes, BASELINES, isBaseline } from "./baselines.ts";
export { evaluate, type EvaluateOptions } from "./evaluate.ts";
export {
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
