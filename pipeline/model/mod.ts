/**
 * Transformers: their shape, weights and spans, and what trains, scores and decodes them.
 *
 * @module
 */

export { type HostBatch } from "./batch.ts";
export {
  type Ahead,
  createDecoder,
  type Decoder,
  type DecoderOptions,
  type ReadStep,
  type SlotTokens,
} from "./decoder.ts";
export { initialWeights, type Weights } from "./parameters.ts";
export {
  createScorer,
  type Scorer,
  type ScorerOptions,
  type Tokens,
  type TokenScores,
} from "./scorer.ts";
export {
  type ModelConfig,
  parameterCount,
  type ParameterSpec,
  SUBLAYERS,
  type SwitchConfig,
  validateModelConfig,
} from "./shape.ts";
export { prefixSpan, type Span, wholeSpan } from "./span.ts";
export {
  createTrainer,
  type StepResult,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
} from "./trainer.ts";
export { mlp } from "./sublayers/mlp.ts";
export {
  type BackwardPass,
  type BatchShape,
  type BufferOptions,
  type BufferSize,
  type Gathering,
  type Mode,
  type Parameter,
  type Pass,
  type Sublayer,
  type SublayerBuffers,
  type SublayerReport,
  type SublayerReport as Report,
} from "./sublayers/sublayer.ts";
export type { Checkpoint, CheckpointNotes } from "./checkpoints/hugging_face_config.ts";
export {
  loadCheckpoint,
  loadRouters,
  type ModelFolderOptions,
  type Routers,
} from "./checkpoints/checkpoint.ts";
export { saveCheckpoint, saveModelFolder } from "./checkpoints/checkpoint.ts";
export type { GgufType } from "./checkpoints/gguf/file.ts";
export { type SafetensorsDtype } from "./checkpoints/safetensors.ts";
