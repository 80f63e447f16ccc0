/**
 * The training loop, and its learning rates.
 *
 * @module
 */

export { type AdoptedExpert, adoptedExperts, type Adoption } from "./adoption.ts";
export {
  LossNotFiniteError,
  type TrainingState,
  trainModel,
  type TrainModelOptions,
} from "./loop.ts";
export type { StepMetrics } from "./metrics.ts";
export { constantRate, cosineRate, type CosineSchedule } from "./schedule.ts";
