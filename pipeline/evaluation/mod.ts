/**
 * The mixture on held-out text, beside its baselines.
 *
 * @module
 */

export { evaluate, type EvaluateOptions } from "./evaluate.ts";
export {
  type Baseline,
  BASELINES,
  type Evaluation,
  type Fallback,
  type Gain,
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
export { type FallbackOptions } from "./fallback.ts";
export { type MixOptions } from "./mix.ts";
export { type RouteOptions } from "./routes.ts";
