/**
 * What the stages of the project take: time, disk and memory, about, by the size of the text and by
 * what the device reaches.
 *
 * @module
 */

import {
  roundFlops,
  scoreBytes,
  SEQUENCES_PER_SECOND,
  tokenBytes,
  TOKENIZED_CHARACTERS_PER_SECOND,
} from "../cost/cluster.ts";
import { forwardFlops, slowedFlops, trainingFlops } from "../cost/flops.ts";
import { inferenceMemory, routerMemory, routingMemory, trainingMemory } from "../cost/memory.ts";
import { readRouters } from "../cost/mixture.ts";
import { readManifest } from "../graph/node.ts";
import { rowsPerPass } from "../model/passes.ts";
import { type ModelConfig, modelShapes, parameterCount } from "../model/shape.ts";
import { findKind, hasRouters } from "../partition/partitioners.ts";
import { countPasses, listWidths } from "../partition/tree/branches.ts";
import { routedTokens, trainedTokens } from "../settings/partitioner.ts";
import { readTextCounts } from "../text/counts.ts";
import type { AskRequest } from "./ask.ts";
import type { EvaluateRequest } from "./evaluate.ts";
import { partIn } from "./parts.ts";
import type { Estimate, EstimateOf } from "./stage.ts";
import type { Target, TrainingText } from "./targets.ts";
import type { TrainRequest } from "./train.ts";

const CHUNK = 65_536; // sequences that are assigned together
const READ_PER_SECOND = 50e6; // bytes of text
const HASHED_PER_SECOND = 9.6e6; // bytes of text whose passages are hashed and joined
const DIMENSIONS = 100; // of an embedding
const [QUESTIONS, CHOICES] = [1000, 4]; // of a task, where nothing says how many

/** What takes next to nothing. */
export const NOTHING: Estimate = { seconds: 0, diskBytes: 0, memoryBytes: 0 };

/** Estimates how long FLOPs of a model take. */
const secondsFor = (flops: number, model: ModelConfig, workload: EstimateOf): number =>
  slowedFlops(flops, model, workload.kind) / workload.flops;

/** Estimates the hashing and unpacking of text. */
export const estimateCorpus = (
  { configuration: { input }, characters }: EstimateOf,
): Estimate => ({
  seconds: characters / READ_PER_SECOND,
  diskBytes: input.length === 0 || input.includes("-") ? characters * 1.1 : 0,
  memoryBytes: 0,
});

/** Estimates the training of the tokenizer. */
export function estimateTokenizer({ configuration, characters }: EstimateOf): Estimate {
  const { tokenizer, tokenizerSample, vocabularySize } = configuration;
  const sample = tokenizer ? 0 : Math.min(characters, tokenizerSample);
  return {
    seconds: sample / TOKENIZED_CHARACTERS_PER_SECOND,
    diskBytes: 60 * vocabularySize,
    memoryBytes: 20 * sample,
  };
}

/** Estimates the turning of text into tokens. */
export const estimateTokens = ({ configuration, characters, sequences }: EstimateOf): Estimate => ({
  seconds: characters / TOKENIZED_CHARACTERS_PER_SECOND,
  diskBytes: tokenBytes(configuration, sequences),
  memoryBytes: 100e6,
});

/** Estimates the learning of a partitioner. */
export function estimateLearning(workload: EstimateOf): Estimate {
  const { configuration, sequences, kind } = workload;
  const { partitionerSample, sequenceLength, vocabularySize } = configuration;
  if (!findKind(configuration).models) { // it learns on a sample, by sparse products
    const tokens = Math.min(sequences, partitionerSample) * sequenceLength;
    const seconds = tokens * (16 * DIMENSIONS + 80 * configuration.experts) / workload.flops * 10;
    return {
      seconds,
      diskBytes: 4 * DIMENSIONS * vocabularySize,
      memoryBytes: 12 * tokens + 40 * DIMENSIONS * vocabularySize,
    };
  }
  const { router } = modelShapes(configuration);
  const { prefix, routerBatch: batch, rounds, roundSequences } = configuration;
  const widths = listWidths(configuration);
  const models = Math.max(...widths); // one branch of a tree after another
  const length = trainedTokens(configuration);
  const { total } = routerMemory(router, { batch, length, models, prefix, kind });
  const drawn = models * roundSequences * routedTokens(configuration, true) * 4;
  return {
    seconds: secondsFor(rounds * roundFlops(configuration), router, workload),
    diskBytes: 16 * parameterCount(router) * models * widths.length,
    memoryBytes: total + drawn,
  };
}

/** Estimates the scoring of all sequences. */
export function estimateScores(workload: EstimateOf): Estimate {
  const { configuration, sequences, kind } = workload;
  const passes = countPasses(configuration);
  const diskBytes = scoreBytes(passes, sequences);
  if (!hasRouters(configuration)) {
    return { seconds: sequences / 5_000, diskBytes, memoryBytes: 50e6 };
  }
  const { router } = modelShapes(configuration);
  const { prefix, scoreBatch } = configuration;
  const batch = rowsPerPass(Infinity, router, prefix, scoreBatch || undefined);
  const models = Math.max(...listWidths(configuration));
  return {
    seconds: secondsFor(sequences * passes * forwardFlops(router, 1, prefix), router, workload),
    diskBytes,
    memoryBytes: routingMemory(router, { prefix, batch, models, kind }).total,
  };
}

/** Estimates the assignment of all sequences. */
export const estimateAssignment = (
  { configuration: { experts, method }, sequences }: EstimateOf,
): Estimate => ({
  seconds: sequences / SEQUENCES_PER_SECOND,
  diskBytes: 24 * sequences,
  memoryBytes: 12 * experts * (method === "optimal" ? Math.max(CHUNK, sequences) : CHUNK),
});

/** Estimates the writing of the parts. */
export const estimateSplit = ({ configuration, sequences }: EstimateOf): Estimate => ({
  seconds: sequences / SEQUENCES_PER_SECOND,
  diskBytes: tokenBytes(configuration, sequences),
  memoryBytes: 32e6 + 512 * configuration.sequenceLength * 4,
});

/**
 * Estimates the training of models, one after another: their steps, folders and checkpoints, and
 * the memory of the one that takes most.
 */
export async function estimateTraining(
  workload: EstimateOf,
  { targets, options = {} }: TrainRequest,
): Promise<Estimate> {
  const { configuration, kind, loss } = workload;
  const { recompute, keep = 2, checkpointEvery = 200 } = options;
  const { microBatch, sequenceLength: length, saveDtype, expertBatch, dtype } = configuration;
  const recomputing = recompute ? 4 / 3 : 1; // a forward pass more to three
  const sum = { ...NOTHING };
  for (const target of targets) {
    const [model, batch] = [await target.model(configuration), target.batch(configuration)];
    const steps = await target.steps(configuration, await trainingText(target, workload));
    const kept = checkpointEvery > 0 ? Math.min(keep, Math.floor(steps / checkpointEvery)) : 0;
    sum.seconds += secondsFor(
      recomputing * steps * trainingFlops(model, batch, length),
      model,
      workload,
    );
    // Weights, and two moments next to them.
    sum.diskBytes += parameterCount(model) * ((saveDtype === "f32" ? 4 : 2) + 12 * kept);
    const { total } = trainingMemory(model, {
      batch,
      length,
      dtype,
      recompute,
      kind,
      loss,
      microBatch: microBatch || expertBatch,
    });
    sum.memoryBytes = Math.max(sum.memoryBytes, total);
  }
  return sum;
}

/** Reads how many sequences a model learns from, as manifests tell. */
async function trainingText(
  { part, tellsCost }: Target,
  { run, configuration, sequences }: EstimateOf,
): Promise<TrainingText> {
  if (part !== undefined) {
    const manifest = await readManifest(`${run}/${part}`);
    const share = Math.ceil(sequences / configuration.experts);
    return { sequences: manifest ? partIn(part, manifest).train.sequences : share };
  }
  const counts = await readTextCounts(run);
  const routers = tellsCost ? await readRouters(configuration, run) : undefined;
  return {
    sequences: counts?.trainSequences ?? sequences,
    heldOut: counts?.testSequences,
    routers,
  };
}

/** Estimates the taking over of an expert. */
export function estimateAdoption({ configuration }: EstimateOf): Estimate {
  const bytes = 4 * parameterCount(modelShapes(configuration).expert);
  return { seconds: bytes / READ_PER_SECOND, diskBytes: bytes, memoryBytes: bytes };
}

/** Estimates the scoring of held-out sequences by all models, one after another. */
export async function estimateEvaluation(
  workload: EstimateOf,
  { models }: EvaluateRequest,
): Promise<Estimate> {
  const { configuration: { holdout }, run, sequences } = workload;
  const heldOut = (await readTextCounts(run))?.testSequences ?? holdout * sequences;
  const answering = await estimateAnswers(workload, models, heldOut);
  return { ...answering, diskBytes: 4 * heldOut * models.length };
}

/**
 * Estimates a zero-shot task: every choice is scored by the expert of its prompt, and by the models
 * of all text.
 */
export async function estimateQuestions(
  workload: EstimateOf,
  { models, settings }: AskRequest,
): Promise<Estimate> {
  const asked = settings?.limit ? Math.min(QUESTIONS, Number(settings.limit)) : QUESTIONS;
  const denseModels = models.filter(({ expert }) => expert === undefined);
  const answering = models.slice(0, 1).concat(denseModels);
  return { ...await estimateAnswers(workload, answering, CHOICES * asked), diskBytes: 100e3 };
}

/** Estimates the passes of models over so many sequences each, and their routing. */
async function estimateAnswers(
  workload: EstimateOf,
  models: readonly Target[],
  sequences: number,
): Promise<Estimate> {
  const { configuration, kind } = workload;
  const { sequenceLength: length } = configuration;
  const routing = estimateScores({ ...workload, sequences });
  let { seconds } = routing;
  let memoryBytes = 0;
  for (const target of models) {
    const model = await target.model(configuration);
    seconds += secondsFor(sequences * forwardFlops(model, 1, length), model, workload);
    const batch = rowsPerPass(Infinity, model, length);
    const { total } = inferenceMemory(model, { capacity: 0, batch, length, kind });
    memoryBytes = Math.max(memoryBytes, total);
  }
  return { seconds, diskBytes: 0, memoryBytes: memoryBytes + routing.memoryBytes };
}

/** Estimates the search for duplicates and passages. */
export const estimateOverlap = ({ characters }: EstimateOf): Estimate => ({
  seconds: characters / HASHED_PER_SECOND,
  diskBytes: 2 * characters,
  memoryBytes: 100e6,
});

/** Estimates the writing of text or models in another format. */
export function estimateExport({ configuration, sequences }: EstimateOf): Estimate {
  const bytes = tokenBytes(configuration, sequences);
  return { seconds: bytes / READ_PER_SECOND, diskBytes: bytes, memoryBytes: 50e6 };
}

/** Estimates the page of a run. */
export const estimatePage = (): Estimate => ({
  seconds: 5,
  diskBytes: 1e6,
  memoryBytes: 100e6,
});
