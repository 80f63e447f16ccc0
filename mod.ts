/**
 * SmallTalk for Deno: splits a corpus by tiny routers trained with EM, and trains one expert per
 * part, exchanging nothing (arXiv 2410.03529). This module holds what a script needs, by purpose;
 * everything else is reached through the entries that `deno.json` exports, one per folder:
 * `@smalltalk/deno/kernels`, `@smalltalk/deno/rows` and so on.
 *
 * A script anywhere runs with `deno run --config PATH_OF_THE_PROJECT/deno.json script.ts`;
 * `pipeline/SCRIPTS.md` tells more. The examples below are run by `tests/mod_test.ts`, one after
 * another in one folder.
 *
 * @example A whole run, from documents of your own
 * ```ts
 * import { partition, readStatus, verifyRun } from "@smalltalk/deno";
 *
 * function* texts() {
 *   for (let i = 0; i < 60; i++) {
 *     yield { source: "sums", text: `${i} + ${i} = ${i + i}; `.repeat(8) };
 *     yield { source: "tales", text: `Tale ${i}: once upon a time there was a king. `.repeat(4) };
 *   }
 * }
 * const routers = {
 *   routerHidden: 8,
 *   routerLayers: 1,
 *   rounds: 3,
 *   roundSequences: 32,
 *   routerBatch: 8,
 * };
 * const flags = { experts: 2, vocabularySize: 300, sequenceLength: 32, prefix: 16, ...routers };
 * const { experts } = await partition({
 *   run: "run",
 *   documents: ReadableStream.from(texts()),
 *   sources: { flags },
 * });
 * console.log(experts.map(({ sequences }) => sequences)); // they differ by one at most
 * console.log((await readStatus("run")).stages.map(({ stage, state }) => `${stage}: ${state}`));
 * console.log((await verifyRun("run")).problems); // none
 * ```
 *
 * @example Models of a run, and how good they are
 * ```ts
 * import { evaluateRun, readExpertCount, report, trainDense, trainExpert } from "@smalltalk/deno";
 *
 * const flags = {
 *   expertHidden: 16,
 *   expertLayers: 1,
 *   expertHeads: 2,
 *   expertBatch: 4,
 *   expertSteps: 20,
 * };
 * for (let expert = 0; expert < await readExpertCount("run"); expert++) {
 *   await trainExpert(expert, { run: "run", sources: { flags } });
 * }
 * await trainDense("batch", { run: "run", sources: { flags } });
 * const { scores, gains } = await evaluateRun({ run: "run" });
 * console.log(scores, gains); // perplexity by model, and how much lower that of the mixture is
 * await report({ run: "run" }); // run/report.html
 * ```
 *
 * @example Text from a run
 * ```ts
 * import { answer, generate, openMixture } from "@smalltalk/deno";
 *
 * for await (const piece of await generate({ run: "run", prompt: "Once upon", maxNewTokens: 8 })) {
 *   console.log(piece);
 * }
 *
 * const mixture = await openMixture({ run: "run" }); // opened once, it answers many at a time
 * const prompts = ["7 + 7", "Tale 3"];
 * const answers = prompts.map(async (prompt) => {
 *   return (await Array.fromAsync(await answer(mixture, { prompt, maxNewTokens: 8 }))).join("");
 * });
 * console.log(await Promise.all(answers));
 * mixture.close();
 * ```
 *
 * @example Documents, tokens and Arrow rows as streams
 * ```ts
 * import {
 *   loadTokenizer,
 *   openRows,
 *   Order,
 *   readDocuments,
 *   tokenBatches,
 *   trainTokenizer,
 *   writeArrowFile,
 * } from "@smalltalk/deno";
 *
 * await Deno.writeTextFile(
 *   "new.jsonl",
 *   `${JSON.stringify({ text: "5 + 5 = 10; ".repeat(20) })}\n`,
 * );
 * const tokenizer = await loadTokenizer("run/tokenizer.json");
 * const batches = tokenBatches(readDocuments(["new.jsonl"]), tokenizer, { sequenceLength: 32 });
 * await writeArrowFile("new.arrow", batches);
 * using rows = await openRows(["new.arrow"]); // uncompressed shards of any Arrow writer
 * const order = new Order(rows.count, { seed: 1, purpose: "a look" }); // random, without memory
 * console.log(
 *   rows.count,
 *   "sequences, of which one is",
 *   rows.read([order.at(0)], ["tokens"]).tokens,
 * );
 *
 * const small = await trainTokenizer(readDocuments(["new.jsonl"]), {
 *   vocabularySize: 260,
 *   sample: 1e6,
 * });
 * await Deno.writeTextFile("tokenizer.json", small.json); // EOS, the 256 bytes and three merges
 * console.log(await small.decode((await small.encode(["5 + 5 = 10; "]))[0]));
 * ```
 *
 * @example From scores to experts
 * ```ts
 * import {
 *   assign,
 *   openGpu,
 *   openPartitioner,
 *   readArrow,
 *   score,
 *   writeArrowFile,
 * } from "@smalltalk/deno";
 *
 * const gpu = await openGpu();
 * const partitioner = await openPartitioner("run/partitioner", () => Promise.resolve(gpu));
 * const scored = score(readArrow("new.arrow"), { partitioner });
 * await writeArrowFile("assigned.arrow", assign(scored, { chunk: 8 * partitioner.experts }));
 * gpu.close();
 * ```
 *
 * @example A kind of your own
 * ```ts
 * import { type Assignment, ASSIGNMENTS } from "@smalltalk/deno";
 *
 * const inTurn: Assignment = {
 *   ...ASSIGNMENTS.get("argmax")!,
 *   method: "turn",
 *   about: "every expert in its turn, whatever it costs",
 *   async *assign({ open }) {
 *     let row = 0;
 *     for await (const { costs, experts } of open()) {
 *       yield Uint16Array.from({ length: costs.length / experts }, () => row++ % experts);
 *     }
 *     return undefined;
 *   },
 * };
 * ASSIGNMENTS.set(inTurn.method, inTurn); // the setting method may be "turn" now
 * ```
 *
 * @example A model on the device
 * ```ts
 * import { createScorer, loadCheckpoint, openGpu, saveModelFolder } from "@smalltalk/deno";
 *
 * const { config, weights, notes } = await loadCheckpoint("run/experts/expert-00");
 * const gpu = await openGpu();
 * const scorer = createScorer(gpu, { config, models: [weights], batch: 1, length: 4 });
 * console.log(await scorer.score(Uint16Array.of(5, 6, 7, 8), 4, Uint32Array.of(4))); // nats
 * gpu.close();
 * await saveModelFolder("copy", config, weights, {
 *   notes: { ...notes, eos: notes.eos ?? 0 },
 *   tokenizer: "run/tokenizer.json",
 *   dtype: "BF16",
 * });
 * ```
 *
 * @example What it costs
 * ```ts
 * import { readCost, trainingMemory } from "@smalltalk/deno";
 *
 * const cost = await readCost({
 *   sources: { preset: "paper-1.3b" },
 *   flops: 1e15,
 *   utilisation: 0.4,
 * });
 * console.log(
 *   cost.parameters.expert,
 *   "weights,",
 *   cost.seconds,
 *   "seconds of a device of 1e15 FLOP/s",
 * );
 * const small = { vocabulary: 1024, hidden: 64, layers: 2, heads: 4, context: 128 };
 * console.log(trainingMemory(small, { batch: 16, length: 128 }).total); // bytes on the device
 * ```
 *
 * @example What is wrong, where, and how to mend it
 * ```ts
 * import { InputError, resolveConfiguration } from "@smalltalk/deno";
 *
 * try {
 *   resolveConfiguration({ flags: { prefix: 512, sequenceLength: 128 } });
 * } catch (error) {
 *   if (!(error instanceof InputError)) throw error;
 *   console.log(error.message, error.where, error.remedy);
 * }
 * ```
 *
 * @module
 */

// A whole run, from documents of your own: text in, balanced shards per expert out, in a folder
// that can be gone on with.
export {
  derive,
  type Derived,
  type DeriveOptions,
  type DerivePlan,
  type Estimate,
  type EvaluateRunOptions,
  type ExpertSummary,
  type LevelSummary,
  type Part,
  partition,
  type PartitionOptions,
  type PartitionPlan,
  type PartitionSummary,
  planDerive,
  type PlanOptions,
  planPartition,
  planRequests,
  type Problem,
  type ProofSummary,
  readStatus,
  runOneStage,
  type RunOptions,
  type RunStatus,
  type RunWatch,
  type StageEstimate,
  type StageRun,
  type StageStatus,
  type VerifyProgress,
  type VerifyReport,
  verifyRun,
  type ZeroShotRunOptions,
} from "./pipeline/run/mod.ts";
export { type Match, type TextChanges, type TrainingOptions } from "./pipeline/stages/mod.ts";
export {
  type Configuration,
  FIELDS,
  PRESETS,
  resolveConfiguration,
  type Sources,
} from "./pipeline/settings/mod.ts";
export {
  type FileRecord,
  readConfiguration,
  type RunEvent,
  VERSION,
} from "./pipeline/graph/mod.ts";

// Models of a run, and how good they are: experts and dense baselines, each from its own shards
// alone.
export {
  askRun,
  evaluateRun,
  readExpertCount,
  trainDense,
  trainExpert,
  type TrainOptions,
} from "./pipeline/run/mod.ts";
export { type TrainResult } from "./pipeline/stages/mod.ts";
export {
  type EvaluateOptions,
  type Evaluation,
  type FallbackOptions,
  type MixOptions,
  type RouteOptions,
  type ZeroShotOptions,
} from "./pipeline/evaluation/mod.ts";
export {
  type PageOptions,
  type Report,
  report,
  type ReportOptions,
} from "./pipeline/report/mod.ts";
export {
  reproduce,
  type ReproduceOptions,
  type Reproduction,
} from "./pipeline/reproduction/mod.ts";

// Text from a run: a prompt goes to the one expert that suits it.
export {
  answer,
  type AnswerOptions,
  type Change,
  type ChoosingOptions,
  type ContinueOptions,
  type DecodingOptions,
  type Finish,
  generate,
  type GenerateOptions,
  type Generation,
  MIXING,
  type Mixture,
  type MixtureOptions,
  type MixtureSettings,
  openMixture,
  type Route,
  type RunSourceOptions,
  SAMPLING,
  serve,
  type ServeOptions,
  type Upstreams,
} from "./pipeline/serving/mod.ts";

// Documents, tokens and Arrow rows as streams.
export {
  type CorpusName,
  type Document,
  embeddedCorpus,
  loadTokenizer,
  readDocuments,
  type ReadOptions,
  tokenBatches,
  type TokenizeCounts,
  type TokenizedBatch,
  tokenizeDocuments,
  type TokenizeOptions,
  type Tokenizer,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./pipeline/text/mod.ts";
export {
  arrowBytes,
  type BatchRange,
  type Columns,
  fromBatch,
  type Lineage,
  type Numeric,
  openRows,
  Order,
  readArrow,
  readShards,
  type RecordBatch,
  type Rows,
  toBatch,
  writeArrowFile,
  type Written,
} from "./pipeline/rows/mod.ts";

// From scores to experts: routers by expectation maximisation, scores, assignment, shards.
export {
  assign,
  type AssignmentInput,
  type AssignOptions,
  type LearnOptions,
  normalizedMutualInformation,
  type OpenOptions,
  openPartitioner,
  type Partitioner,
  type Proof,
  score,
  type ScoreOptions,
  tokenImbalance,
  trainRouters,
  type TrainRoutersOptions,
} from "./pipeline/partition/mod.ts";

// A kind of your own: tables that a script adds to, and what it writes files with.
export {
  type EstimateOf,
  type GraphOf,
  type RunText,
  type Stage,
  STAGES,
} from "./pipeline/stages/mod.ts";
export { type Making, type Node, partNode, type Work } from "./pipeline/graph/mod.ts";
export {
  type Assignment,
  ASSIGNMENTS,
  type PartitionerKind,
  PARTITIONERS,
  writeDescription,
} from "./pipeline/partition/mod.ts";
export { type Sublayer, SUBLAYERS } from "./pipeline/model/mod.ts";
export { writeAtomic } from "./pipeline/graph/mod.ts";

// A model on the device: shape, weights, and what trains, scores and decodes it.
export { type Gpu, openGpu, type OpenGpuOptions, type Variants } from "./kernels/mod.ts";
export {
  type BufferOptions,
  createDecoder,
  createScorer,
  createTrainer,
  type Decoder,
  type DecoderOptions,
  initialWeights,
  type ModelConfig,
  parameterCount,
  type Scorer,
  type ScorerOptions,
  type Span,
  type Trainer,
  type TrainerOptions,
  type Weights,
  wholeSpan,
} from "./pipeline/model/mod.ts";
export {
  type Checkpoint,
  type CheckpointNotes,
  loadCheckpoint,
  type ModelFolderOptions,
  type SafetensorsDtype,
  saveModelFolder,
} from "./pipeline/model/mod.ts";
export { trainModel, type TrainModelOptions } from "./pipeline/training/mod.ts";

// What it costs.
export {
  computeCost,
  type Cost,
  type CostCorpus,
  type CostDevice,
  type CostOptions,
  type InferenceMemory,
  inferenceMemory,
  type InferenceMemoryOptions,
  type MemoryOptions,
  readCost,
  type ReadCostOptions,
  type TrainingMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "./pipeline/cost/mod.ts";

// What is wrong, where, and how to mend it.
export {
  type ExplainedError,
  InputError,
  RunError,
  type SettingReference,
  type TaskReference,
  type Text,
} from "./kernels/mod.ts";
export { LossNotFiniteError } from "./pipeline/training/mod.ts";
