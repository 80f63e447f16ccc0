/**
 * SmallTalk for Deno: splits a corpus by tiny routers trained with EM, and trains one expert per part, exchanging
 * nothing (arXiv 2410.03529). Everything that a `deno task` does can be done from a script with this one import.
 *
 * In the order of the method: text, tokens, routers, scores, assignment, shards; then the parts these stand on.
 *
 * @module
 */

// Text to token sequences.
export { type Document, readDocuments, type ReadOptions } from "./pipeline/data/readers.ts";
export { CORPUS_SOURCES, defaultCorpus, wideCorpus } from "./pipeline/data/corpus.ts";
export { WIDE_SOURCES } from "./pipeline/data/wide_corpus.ts";
export {
  EOS_TOKEN,
  loadTokenizer,
  type Tokenizer,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./pipeline/data/tokenizer.ts";
export {
  noCounts,
  type Packing,
  type Side,
  type TokenizeCounts,
  type TokenizedBatch,
  tokenizeDocuments,
  type TokenizeOptions,
} from "./pipeline/data/tokenize.ts";
export { epochs, shuffle, type ShuffleOptions } from "./pipeline/data/shuffle.ts";

// Routers by expectation maximisation, scores, assignment, shards.
export {
  type RoundMetrics,
  type RouterState,
  trainRouters,
  type TrainRoutersOptions,
} from "./pipeline/routing/train_routers.ts";
export { score, type ScoreOptions } from "./pipeline/routing/score.ts";
export {
  assign,
  assignArgmax,
  assignBalanced,
  type AssignMethod,
  type AssignOptions,
} from "./pipeline/routing/assign.ts";
export { joinScores } from "./pipeline/routing/join.ts";
export {
  expertFolder,
  partHash,
  type Partition,
  type PartitionManifest,
  type PartManifest,
  type PartReference,
  type Shard,
  split,
  type SplitInputs,
  type SplitOptions,
} from "./pipeline/routing/split.ts";
export { type PartCounts, type PartitionCounts } from "./pipeline/routing/counts.ts";
export {
  informationOfTable,
  nllPerToken,
  normalizedMutualInformation,
  regret,
  shares,
  type SourceCount,
  sourceMix,
  tokenImbalance,
} from "./pipeline/routing/metrics.ts";

// The mixture on held-out text, beside its baselines.
export { evaluate, type EvaluateOptions, type ModelLoader } from "./pipeline/evaluation/evaluate.ts";
export { evaluateRun, type EvaluateRunOptions } from "./pipeline/evaluation/run.ts";
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
export {
  expertsOf,
  trainDense,
  trainExpert,
  type TrainOptions,
  type TrainResult,
} from "./pipeline/training/experts.ts";

// The paper's comparison at a small size.
export {
  reproduce,
  type ReproduceOptions,
  type Reproduction,
  type Searched,
} from "./pipeline/reproduction/reproduce.ts";
export { type Claim, type Crossing } from "./pipeline/reproduction/claims.ts";
export { type RateSearch, type Trial } from "./pipeline/reproduction/search.ts";

// All of it in a run folder.
export {
  partition,
  type PartitionOptions,
  type PartitionWatch,
  runOneStage,
} from "./pipeline/routing/partition.ts";
export { type PartitionPlan, planPartition, type StageEstimate } from "./pipeline/routing/plan.ts";
export { type ExpertSummary, type PartitionSummary } from "./pipeline/routing/summary.ts";
export { chunkOf, type Part } from "./pipeline/routing/stages.ts";
export { documentLines, openDocuments, readOptions, tokenBatches } from "./pipeline/routing/text_stages.ts";
export {
  type VerifyProblem,
  type VerifyProgress,
  type VerifyReport,
  verifyRun,
} from "./pipeline/routing/verify.ts";
export {
  checkValue,
  type Configuration,
  type Field,
  FIELDS,
  fieldsOf,
  nearest,
  OPTIONS,
  parseValue,
  presetOf,
  requirement,
  resolveConfiguration,
  type Sources,
  type Stage,
} from "./pipeline/config.ts";
export { readConfiguration } from "./pipeline/run/configuration.ts";
export { type FileRecord, writeAtomic } from "./pipeline/run/files.ts";
export { type Manifest } from "./pipeline/run/manifest.ts";
export { type PartitionEvent } from "./pipeline/run/work.ts";

// Routed inference: from a prompt to the text that continues it.
export { bestExpert, type Route, routeTokens } from "./pipeline/serving/route.ts";
export {
  type Candidates,
  candidates,
  pick,
  sampleToken,
  type Sampling,
} from "./pipeline/serving/sampling.ts";
export { createDecoder, type Decoder, type DecoderOptions } from "./pipeline/serving/decoder.ts";
export {
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
  readCost,
  type ReadCostOptions,
  trainingFlops,
} from "./pipeline/cost.ts";
export {
  type InferenceMemory,
  inferenceMemory,
  type InferenceMemoryOptions,
  type TrainingMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "./pipeline/memory.ts";
export {
  type PaperCommunication,
  paperCommunication,
  paperTable,
  PRINTED_COMMUNICATION,
  type TableFigures,
  type TableRow,
} from "./pipeline/paper.ts";

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
} from "./pipeline/data/arrow.ts";
export { writeShards, type WrittenShard } from "./pipeline/data/shards.ts";
export { type ShownRow, showRows } from "./pipeline/data/show.ts";

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
export { type AdapterKind, parseVariants, type Variants } from "./kernels/variants.ts";
export { type AdamwSettings } from "./kernels/adamw.ts";
export { type ModelConfig, parameterCount, validateModelConfig } from "./pipeline/model/config.ts";
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
} from "./pipeline/model/checkpoint.ts";
export { createScorer, type Scorer, type ScorerOptions } from "./pipeline/model/scorer.ts";
export { type SafetensorsDtype } from "./pipeline/model/safetensors.ts";
export { type HostBatch } from "./pipeline/model/batch.ts";
export {
  createTrainer,
  type StepResult,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
} from "./pipeline/training/trainer.ts";
export {
  LossNotFiniteError,
  type StepMetrics,
  type TrainingState,
  trainModel,
  type TrainModelOptions,
} from "./pipeline/training/train.ts";
export { constantRate, cosineRate, type CosineSchedule } from "./pipeline/training/schedule.ts";
