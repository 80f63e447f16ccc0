/**
 * SmallTalk for Deno: splits a corpus by tiny routers trained with EM, and trains one expert per part, exchanging
 * nothing (arXiv 2410.03529). Everything that a `deno task` does can be done from a script with this one import.
 *
 * In the order of the method: text, tokens, routers, scores, assignment, shards; then the parts these stand on.
 *
 * @module
 */

// Text to token sequences.
export { type Document, readDocuments, type ReadOptions } from "./pipeline/text/readers.ts";
export { CORPUS_SOURCES, defaultCorpus, wideCorpus } from "./pipeline/text/corpora/corpus.ts";
export { WIDE_SOURCES } from "./pipeline/text/corpora/wide.ts";
export {
  EOS_TOKEN,
  loadTokenizer,
  type Tokenizer,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./pipeline/text/tokenizer.ts";
export {
  noCounts,
  type Packing,
  type Side,
  type TokenizeCounts,
  type TokenizedBatch,
  tokenizeDocuments,
  type TokenizeOptions,
} from "./pipeline/text/tokenize.ts";
export { epochs, shuffle, type ShuffleOptions } from "./pipeline/rows/shuffle.ts";

// Routers by expectation maximisation, scores, assignment, shards.
export {
  type RouterState,
  trainRouters,
  type TrainRoutersOptions,
} from "./pipeline/partition/em/train_routers.ts";
export { identifyPartitioner, openPartitioner, PARTITIONERS } from "./pipeline/partition/partitioners.ts";
export { type Description, writeDescription } from "./pipeline/partition/folder.ts";
export {
  type LearnContext,
  type Learned,
  type OpenOptions,
  type Partitioner,
  type PartitionerKind,
  type TokenRows,
} from "./pipeline/partition/partitioner.ts";
export { score, type ScoreOptions } from "./pipeline/partition/score.ts";
export {
  type Assignment,
  type AssignmentInput,
  type CostRows,
  equalRooms,
  type Proof,
} from "./pipeline/partition/assignment/assignment.ts";
export { assignmentOf, ASSIGNMENTS } from "./pipeline/partition/assignment/assignments.ts";
export { assignBalanced } from "./pipeline/partition/assignment/balanced.ts";
export { assignArgmax } from "./pipeline/partition/assignment/argmax.ts";
export { assign, type AssignOptions } from "./pipeline/partition/assignment/assign.ts";
export { joinScores } from "./pipeline/rows/join.ts";
export {
  expertFolder,
  type PartCounts,
  partHash,
  type PartitionCounts,
  type PartitionManifest,
  type PartManifest,
  readPart,
  readPartition,
  type Shard,
} from "./pipeline/partition/manifests.ts";
export { type Partition, split, type SplitInputs, type SplitOptions } from "./pipeline/partition/split.ts";
export {
  type AssignedRows,
  informationOfTable,
  nllPerToken,
  normalizedMutualInformation,
  regret,
  shares,
  type SourceCount,
  tokenImbalance,
} from "./pipeline/partition/metrics.ts";

// The mixture on held-out text, beside its baselines.
export { evaluate, type EvaluateOptions } from "./pipeline/evaluation/evaluate.ts";
export { type RouteOptions } from "./pipeline/evaluation/routes.ts";
export { evaluateRun, type EvaluateRunOptions } from "./pipeline/stages/evaluate_run.ts";
export {
  type Baseline,
  type Evaluation,
  type Gain,
  type PrefixScore,
  type Score,
  type Segment,
  type SourceScore,
  type Way,
} from "./pipeline/evaluation/evaluation.ts";

// What a run did, as a page.
export { type Report, report, type ReportOptions } from "./pipeline/report/report.ts";
export { type Missing } from "./pipeline/report/sections.ts";

// Experts and dense baselines, each from its own shards alone.
export { expertsOf, trainDense, trainExpert, type TrainOptions } from "./pipeline/stages/train.ts";
export { type Match } from "./pipeline/stages/train_dense.ts";
export { type TrainingOptions, type TrainResult } from "./pipeline/stages/train_model.ts";

// The paper's comparison at a small size.
export { reproduce, type ReproduceOptions, type Reproduction } from "./pipeline/reproduction/reproduce.ts";
export { type Crossing } from "./pipeline/reproduction/claims.ts";
export {
  type Claim,
  type Claims,
  type RateSearch,
  type Searched,
  type Trial,
} from "./pipeline/report/reproduction.ts";

// All of it in a run folder.
export { partition, runOneStage } from "./pipeline/stages/partition.ts";
export { type RunOptions, type RunWatch } from "./pipeline/stages/session.ts";
export {
  type PartitionPlan,
  planExperts,
  type PlanOptions,
  planPartition,
  type StageEstimate,
} from "./pipeline/stages/plan.ts";
export { type ExpertSummary, type PartitionSummary, type StageRun } from "./pipeline/stages/summary.ts";
export { comparePartition, type Fingerprint, fingerprintOf } from "./pipeline/stages/fingerprint.ts";
export { chunkOf } from "./pipeline/stages/assign.ts";
export { type Part } from "./pipeline/stages/score.ts";
export { type Graph, graphOf, STAGES } from "./pipeline/stages/graph.ts";
export {
  type CorpusSize,
  type Estimate,
  type Made,
  type Make,
  type ManifestReader,
  oneStage,
  pickSettings,
  type Problem,
  type RunContext,
  type Stage,
  type StageKind,
  type Unfinished,
  type Verification,
  type Work,
} from "./pipeline/stages/stage.ts";
export { type RunStatus, type StageStatus, statusOf } from "./pipeline/stages/status.ts";
export { type StageState } from "./pipeline/stages/state.ts";
export { repairOf } from "./pipeline/stages/repair.ts";
export { documentLines, openDocuments, readOptions, tokenBatches } from "./pipeline/text/documents.ts";
export { type VerifyProgress, type VerifyReport, verifyRun } from "./pipeline/stages/verify.ts";
export { type Configuration, FIELDS } from "./pipeline/settings/configuration.ts";
export { presetOf, PRESETS } from "./pipeline/settings/presets.ts";
export { resolveConfiguration, type Sources } from "./pipeline/settings/resolution.ts";
export {
  checkValue,
  type Field,
  type Fields,
  parseValue,
  someValuesOf,
  type Values,
  valuesOf,
} from "./pipeline/settings/field.ts";
export * as field from "./pipeline/settings/field.ts";
export { nearest } from "./pipeline/settings/nearest.ts";
export { settingsOf } from "./pipeline/stages/task_settings.ts";
export { readConfiguration } from "./pipeline/run/configuration.ts";
export { type Owner } from "./pipeline/run/lock.ts";
export { type FileRecord, writeAtomic } from "./pipeline/run/files.ts";
export { type Manifest, type StageIdentity } from "./pipeline/run/manifest.ts";
export { VERSION } from "./pipeline/run/version.ts";
export { type RoundMetrics, type RunEvent } from "./pipeline/run/events.ts";

// Routed inference: from a prompt to the text that continues it.
export {
  createMixture,
  type Mixture,
  type MixtureCounts,
  type MixtureOptions,
  type MixtureSettings,
  openMixture,
} from "./pipeline/serving/mixture.ts";
export { type MixtureSource, type ModelName } from "./pipeline/serving/models.ts";
export {
  decoding,
  type DecodingModel,
  type DecodingOptions,
  type Form,
  type LoadedModel,
  scoring,
  type ScoringModel,
} from "./pipeline/serving/forms.ts";
export { type Budget, type Held, type Lease, type LeaseCounts } from "./pipeline/serving/leases.ts";
export { type Queue } from "./pipeline/serving/queue.ts";
export { type Engine, type Reader } from "./pipeline/serving/engine.ts";
export { type Route } from "./pipeline/serving/route.ts";
export {
  type Candidates,
  candidates,
  pick,
  sampleToken,
  SAMPLING,
  type Sampling,
} from "./pipeline/serving/sampling.ts";
export {
  createDecoder,
  type Decoder,
  type DecoderOptions,
  type SlotTokens,
} from "./pipeline/model/decoder.ts";
export {
  answer,
  type AnswerOptions,
  type ContinueOptions,
  continueTokens,
  type Finish,
  generate,
  type GenerateOptions,
  type Generation,
} from "./pipeline/serving/generate.ts";

// What it costs.
export {
  type Communication,
  type Cost,
  type CostCorpus,
  type CostDevice,
  costOf,
  type CostOptions,
  type CostTimes,
  forwardFlops,
  type MixtureFlops,
  mixtureFlops,
  type MixtureShape,
  PLAIN_DEVICE,
  readCost,
  type ReadCostOptions,
  trainingFlops,
} from "./pipeline/cost/cost.ts";
export {
  fittingMicroBatch,
  type InferenceMemory,
  inferenceMemory,
  type InferenceMemoryOptions,
  type MemoryOptions,
  type ModelMemory,
  type TrainingMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "./pipeline/cost/memory.ts";
export {
  type PaperCommunication,
  paperCommunication,
  paperTable,
  PRINTED_COMMUNICATION,
  type TableFigures,
  type TableRow,
} from "./pipeline/cost/paper.ts";

// Arrow files and streams.
export {
  arrowBytes,
  type Columns,
  fromBatch,
  type Lineage,
  lineageOf,
  readArrow,
  readShards,
  type RecordBatch,
  toBatch,
  writeArrowFile,
  type Written,
} from "./pipeline/rows/arrow.ts";
export { writeShards, type WrittenShard } from "./pipeline/rows/shards.ts";
export { type ShownRow, showRows } from "./pipeline/text/show.ts";

// What is wrong, where, and how to mend it.
export {
  ExplainedError,
  type Explanation,
  InputError,
  RunError,
  say,
  setting,
  type SettingReference,
  task,
  type TaskReference,
  type Text,
  type Words,
  wordText,
} from "./kernels/errors.ts";

// Models and the device.
export {
  type Arena,
  type Dispatch,
  type DispatchPlan,
  type Gpu,
  type GpuBuffer,
  type KernelTime,
  openGpu,
  type OpenGpuOptions,
} from "./kernels/gpu.ts";
export { type Dtype, type Storage } from "./kernels/storage.ts";
export { type AdapterKind, formsText, parseVariants, type Variants } from "./kernels/variants.ts";
export { type AdamwSettings } from "./kernels/adamw.ts";
export { type ModelConfig, parameterCount, validateModelConfig } from "./pipeline/model/shape.ts";
export { initialWeights, type Weights } from "./pipeline/model/parameters.ts";
export {
  type Checkpoint,
  type CheckpointNotes,
  loadCheckpoint,
  loadRouters,
  type ModelFolderOptions,
  type Routers,
  saveCheckpoint,
  saveModelFolder,
} from "./pipeline/checkpoints/checkpoint.ts";
export {
  createScorer,
  type Scorer,
  type ScorerOptions,
  type Tokens,
  type TokenScores,
} from "./pipeline/model/scorer.ts";
export { prefixSpan, type Span, spanAfter, wholeSpan } from "./pipeline/model/span.ts";
export { type SafetensorsDtype } from "./pipeline/checkpoints/safetensors.ts";
export { type HostBatch } from "./pipeline/model/batch.ts";
export {
  createTrainer,
  type StepResult,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
} from "./pipeline/model/trainer.ts";
export {
  LossNotFiniteError,
  type StepMetrics,
  type TrainingState,
  trainModel,
  type TrainModelOptions,
} from "./pipeline/training/loop.ts";
export { constantRate, cosineRate, type CosineSchedule } from "./pipeline/training/schedule.ts";
