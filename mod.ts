/**
 * SmallTalk for Deno: splits a corpus by tiny routers trained with EM, and trains one expert per part, exchanging
 * nothing (arXiv 2410.03529). Everything that a `deno task` does can be done from a script with this one import.
 *
 * In the order of the method: read and tokenize, train routers, score, assign, split.
 *
 * @module
 */

export { type Gpu, openGpu, type OpenGpuOptions } from "./kernels/gpu.ts";
export { type AdapterKind, type Variants } from "./kernels/variants.ts";
export { type AdamwSettings } from "./kernels/adamw.ts";
export { type ModelConfig, parameterCount, validateModelConfig } from "./pipeline/model/config.ts";
export { initialWeights, type Weights } from "./pipeline/model/parameters.ts";
export {
  type Checkpoint,
  type CheckpointNotes,
  loadCheckpoint,
  loadRouters,
  type Routers,
  saveCheckpoint,
} from "./pipeline/model/checkpoint.ts";
export { createScorer, type Scorer, type ScorerOptions } from "./pipeline/model/scorer.ts";
export { type HostBatch } from "./pipeline/model/batch.ts";
export {
  createTrainer,
  type StepResult,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
} from "./pipeline/training/trainer.ts";
export {
  type RoundMetrics,
  type RouterState,
  trainRouters,
  type TrainRoutersOptions,
} from "./pipeline/routing/train_routers.ts";
export { score, type ScoreOptions } from "./pipeline/routing/score.ts";
