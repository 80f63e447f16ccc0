/**
 * Counts what models and the whole method cost (SmallTalk LM, its cost model): FLOPs, parameters, memory, bytes exchanged
 * and time.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { type InferenceMemory, inferenceMemory, type TrainingMemory, trainingMemory } from "./memory.ts";
import { type ModelConfig, parameterCount, validateModelConfig } from "../model/shape.ts";
import { largerDenseShape, modelShapes, switchShape } from "../model/shapes.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { layerOf } from "../model/sublayers/layer.ts";
import { type AdoptedExpert, adoptedExperts } from "../run/adoption.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { trainingSteps } from "../training/steps.ts";
import { readManifest } from "../run/manifest.ts";

/** Counts the FLOPs of one forward pass over `sequences` of `length` tokens each. */
export function forwardFlops(model: ModelConfig, sequences: number, length: number): number {
  const { vocabulary, hidden } = model;
  const tokens = sequences * length;
  const layers = layersFlops(model, sequences, length);
  return tokens * hidden + layers + 2 * tokens * hidden * vocabulary + 3 * tokens * vocabulary;
}

/** The part of a forward pass that recomputation repeats. */
function layersFlops(model: ModelConfig, sequences: number, length: number): number {
  const ofLayer = layerOf(model).map((sublayer) => sublayer.flops(model, sequences, length));
  return model.layers * ofLayer.reduce((sum, flops) => sum + flops, 0);
}

/** Counts the FLOPs of one training step: forward, and twice that backward. */
export function trainingFlops(model: ModelConfig, sequences: number, length: number): number {
  return 3 * forwardFlops(model, sequences, length);
}

/** What the FLOPs of a mixture depend on. Symbols in brackets are those of the paper. */
export interface MixtureShape {
  /** Experts, and as many routers `[E]`. */
  experts: number;
  /** Shape of an expert. */
  expert: ModelConfig;
  /** Shape of a router. */
  router: ModelConfig;
  /** Tokens of a sequence `[S]`. */
  length: number;
  /** Tokens of the routing prefix `[M]`. */
  prefix: number;
  /** Training steps of an expert. */
  steps: number;
  /** Sequences in an expert's batch `[B]`. */
  batch: number;
  /** Training steps of a router. */
  routerSteps: number;
  /** Sequences in a router's batch `[B_r]`. */
  routerBatch: number;
  /** Tokens of a router's training sequence: M as it runs, S as the paper counts. */
  routerLength: number;
  /** Sequences that every router scores while routers train. */
  roundsScored: number;
  /** Sequences that every router scores to shard the corpus for the experts. */
  corpusScored: number;
}

/** FLOPs of a mixture and of the dense model that sees as many tokens. */
export interface MixtureFlops {
  /** Training of all experts. */
  experts: number;
  /** Training of all routers. */
  trainRouters: number;
  /** Scoring for the routers' rounds. */
  shardForRouters: number;
  /** Scoring of the corpus, to shard it for the experts. */
  shardForExperts: number;
  /** What the mixture costs beyond its experts: the three before. */
  overhead: number;
  /** Experts and overhead. */
  total: number;
  /** Training of the dense baseline: the expert's model on the tokens of all experts. */
  dense: number;
  /** One sequence through one expert, which is what the dense model takes. */
  inference: number;
  /** The prefix of one sequence through all routers. */
  inferenceOverhead: number;
}

/** Counts the FLOPs of a mixture: the paper's equations of section "Computational cost". */
export function mixtureFlops(m: MixtureShape): MixtureFlops {
  const scoring = forwardFlops(m.router, 1, m.prefix) * m.experts;
  const experts = m.steps * trainingFlops(m.expert, m.batch, m.length) * m.experts;
  const trainRouters = m.routerSteps * trainingFlops(m.router, m.routerBatch, m.routerLength) * m.experts;
  const shardForRouters = m.roundsScored * scoring;
  const shardForExperts = m.corpusScored * scoring;
  const overhead = trainRouters + shardForRouters + shardForExperts;
  return {
    experts,
    trainRouters,
    shardForRouters,
    shardForExperts,
    overhead,
    total: experts + overhead,
    dense: m.steps * trainingFlops(m.expert, m.batch * m.experts, m.length),
    inference: forwardFlops(m.expert, 1, m.length),
    inferenceOverhead: scoring,
  };
}

const SCORE_BYTES = 2; // an f16 per sequence
const WEIGHT_BYTES = 4; // an f32 per weight
const BOTH_WAYS = 2; // sent and received

/** Counts the bytes that a router sends and receives in one exchange of scores of `sequences`. */
export function exchangeBytes(sequences: number): number {
  return BOTH_WAYS * SCORE_BYTES * sequences;
}

/** Counts the bytes that a node sends and receives per step of data-parallel training: all gradients, f32. */
export function denseStepBytes(parameters: number): number {
  return BOTH_WAYS * WEIGHT_BYTES * parameters;
}

/** Bytes exchanged in the whole of training. */
export interface Communication {
  /** Exchanges of scores while routers train: one a round. */
  exchanges: number;
  /** Bytes per router and exchange. */
  bytesPerExchange: number;
  /** Bytes per router for the scores of the corpus, by which it is sharded for the experts. */
  corpusBytes: number;
  /** Bytes per node of the mixture, all training. */
  bytesPerNode: number;
  /** Bytes per node and step of data-parallel training of the dense model on as many nodes. */
  denseBytesPerStep: number;
  /** Bytes per node of the dense model, all training. */
  denseBytesPerNode: number;
}

const LONGEST_PASS = 512; // tokens of a prompt that a decoder reads at once, unless told

/** Seconds on a device; nothing is taken to overlap. */
export interface CostTimes {
  /** Training of one expert. */
  oneExpert: number;
  /** Training of all experts, one after another. */
  allExperts: number;
  /** Router training with its scoring. */
  routers: number;
  /** Scoring of the corpus. */
  sharding: number;
  /** Training of the dense model. */
  dense: number;
  /** Training of the larger dense model. */
  equalCompute: number;
  /** A prompt of S tokens: all routers on its prefix, one expert on all of it. */
  prompt: number;
  /** The same prompt through the dense model. */
  densePrompt: number;
  /** The same prompt through the larger dense model. */
  equalComputePrompt: number;
}

/** Everything that a configuration costs. */
export interface Cost {
  /** What was counted. */
  mixture: MixtureShape;
  /** Sequences of the tokenized corpus, where it is known. */
  corpus?: CostCorpus;
  /** Weights of one router, of one expert, and of all of both: those that were adopted as large as they are. */
  parameters: { router: number; expert: number; total: number };
  /**
   * Experts that other trainers made, of sizes of their own; nothing unless there are some. What training and prompts cost is counted
   * as if they were as the others.
   */
  adopted?: AdoptedExpert[];
  /** FLOPs; `recomputed` is what the experts' recomputed activations add. */
  flops: MixtureFlops & { recomputed: number };
  /** The larger dense model at equal training compute. */
  equalCompute: EqualCompute;
  /** The Switch Transformer, trained on as many tokens as all experts. */
  switch: SwitchCost;
  /** Bytes exchanged. */
  communication: Communication;
  /** Device memory, in bytes, each on a device of its own. */
  memory: {
    /** Training of one expert. */
    expert: TrainingMemory;
    /** Training of all routers side by side on one device, as `train-routers` does. */
    routers: TrainingMemory;
    /** Training of the dense model with E times the batch, on one device. */
    dense: TrainingMemory;
    /** Training of the Switch Transformer. */
    switch: TrainingMemory;
    /** Generation with one expert, up to S tokens. */
    inference: InferenceMemory;
    /** Generation with the Switch Transformer, up to S tokens. */
    switchInference: InferenceMemory;
    /** All routers on the prefix of one prompt. */
    routing: InferenceMemory;
  };
  /** Seconds on the given device. */
  seconds: CostTimes;
  /** The device that `seconds` is of. */
  device: CostDevice;
  /** What experts and the dense model train in: `f32` or `bf16`. */
  dtype: string;
}

/** The device that estimates are of unless another is named: two cores without a GPU. A GPU has 10 to 10,000 times as many FLOP/s. */
export const PLAIN_DEVICE: CostDevice = { flops: 62.5e9, utilisation: 0.4 };

/** FLOP/s that no processor reaches: a device of more is taken for a GPU, which trains with larger chunks of logits. */
const MOST_OF_A_PROCESSOR = 2e12;

/** A device, for estimates of time. */
export interface CostDevice {
  /** FLOP/s at its peak. */
  flops: number;
  /** Share of the peak that is reached, 0 to 1. */
  utilisation: number;
  /** Its name, where it was measured. */
  name?: string;
}

/** Sequences of a tokenized corpus. */
export interface CostCorpus {
  /** For training. */
  train: number;
  /** Held out. */
  test: number;
}

/** What {@link costOf} takes besides a configuration. */
export interface CostOptions extends CostDevice {
  /** Sequences of the tokenized corpus; without it every step of an expert is taken to bring new ones. */
  corpus?: CostCorpus;
  /** Whether the experts' activations are computed again in the backward pass. */
  recompute?: boolean;
  /** Experts that other trainers made. */
  adopted?: AdoptedExpert[];
}

/** Gives what a configuration says of a mixture at once. */
export function shapeOf(c: Configuration) {
  const { experts, prefix, sequenceLength: length, expertBatch: batch, routerBatch } = c;
  return { ...modelShapes(c), experts, length, prefix, batch, routerBatch };
}

/** Gives what the FLOPs of a configuration's mixture depend on, as it runs. Throws an `InputError` on values that do not go together. */
export function mixtureOf(c: Configuration, corpus?: CostCorpus): MixtureShape {
  const shape = shapeOf(c);
  const { experts, prefix, batch, routerBatch } = shape;
  // A part is taken to be the E-th of the corpus.
  const steps = trainingSteps(c, { sequences: corpus && Math.floor(corpus.train / experts) });
  const rounds = c.routers === "" && PARTITIONERS.get(c.partitioner)?.models ? c.rounds : 0;
  return {
    ...shape,
    steps,
    routerSteps: rounds * Math.floor(c.roundSequences / routerBatch),
    routerLength: Math.max(0, ...c.prefixLengths) || prefix,
    roundsScored: rounds * c.roundSequences * experts,
    corpusScored: corpus ? corpus.train + corpus.test : steps * batch * experts,
  };
}

/** The larger dense model, trained for about as many FLOPs as the mixture. */
export interface EqualCompute {
  /** Its shape. */
  model: ModelConfig;
  /** Its weights. */
  parameters: number;
  /** Sequences per step: those of an expert. */
  batch: number;
  /** Training steps. */
  steps: number;
  /** Tokens that it sees, padding included. */
  tokens: number;
  /** FLOPs of its training. */
  training: number;
  /** FLOPs of the mixture's: experts, routers and scoring. */
  mixture: number;
  /** FLOPs of one sequence. */
  inference: number;
  /** FLOPs of one sequence through an expert. */
  expertInference: number;
}

/**
 * Counts the steps at which the training of the larger dense model costs what the mixture's does, experts and overhead: as near as
 * whole steps of an expert's batch come. Throws an `InputError` on values that do not go together.
 */
export function equalCompute(c: Configuration, corpus?: CostCorpus): EqualCompute {
  const model = largerDenseShape(c);
  validateModelConfig(model, "the larger dense model");
  const shape = mixtureOf(c, corpus);
  const { total, inference } = mixtureFlops(shape);
  const { batch, length } = shape;
  const perStep = trainingFlops(model, batch, length);
  const steps = Math.max(1, Math.round(total / perStep));
  return {
    model,
    parameters: parameterCount(model),
    batch,
    steps,
    tokens: steps * batch * length,
    training: steps * perStep,
    mixture: total,
    inference: forwardFlops(model, 1, length),
    expertInference: inference,
  };
}

/** What a model costs beside the mixture and one of its experts. */
export interface TrainingCost {
  /** Weights of the model. */
  parameters: number;
  /** FLOPs of its training. */
  training: number;
  /** FLOPs of the mixture's: experts, routers and scoring. */
  mixture: number;
  /** FLOPs of one sequence. */
  inference: number;
  /** FLOPs of one sequence through an expert. */
  expertInference: number;
  /** Device memory, in bytes: of training the model and an expert, of generating with either. */
  memory: Record<"training" | "expertTraining" | "inference" | "expertInference", number>;
}

/** Counts what a model that is trained for `steps` costs beside the mixture of a configuration. */
export function besideMixture(
  c: Configuration,
  model: ModelConfig,
  { batch, steps, corpus }: { batch: number; steps: number; corpus?: CostCorpus },
): TrainingCost {
  const shape = mixtureOf(c, corpus);
  const { length, expert } = shape;
  const { total, inference } = mixtureFlops(shape);
  const training = { microBatch: c.microBatch || c.expertBatch, length, dtype: c.dtype };
  const answer = { capacity: length, length: Math.min(LONGEST_PASS, length) };
  return {
    parameters: parameterCount(model),
    training: steps * trainingFlops(model, batch, length),
    mixture: total,
    inference: forwardFlops(model, 1, length),
    expertInference: inference,
    memory: {
      training: trainingMemory(model, { ...training, batch }).total,
      expertTraining: trainingMemory(expert, { ...training, batch: c.expertBatch }).total,
      inference: inferenceMemory(model, answer).total,
      expertInference: inferenceMemory(expert, answer).total,
    },
  };
}

/** The Switch Transformer beside the mixture: an expert's shape, with experts of its own in every layer. */
export interface SwitchCost {
  /** Its shape. */
  model: ModelConfig;
  /** Its weights. */
  parameters: number;
  /** Sequences per step. */
  batch: number;
  /** Training steps. */
  steps: number;
  /** FLOPs of its training. */
  training: number;
  /** FLOPs of one sequence. */
  inference: number;
}

/** Counts what a configuration costs, as it runs. Throws an `InputError` on values that do not go together. */
export function costOf(c: Configuration, options: CostOptions): Cost {
  const { corpus, recompute = false, flops: peak, utilisation, name, adopted = [] } = options;
  const mixture = mixtureOf(c, corpus);
  const { router, expert, experts, length, prefix, batch, routerBatch, routerLength, steps } = mixture;
  const flops = mixtureFlops(mixture);
  const larger = equalCompute(c, corpus);
  const tokenwise = switchShape(c);
  const recomputed = recompute ? steps * experts * layersFlops(expert, batch, length) : 0;
  const parameters = { router: parameterCount(router), expert: parameterCount(expert) };
  const more = adopted.reduce((sum, own) => sum + own.parameters - parameters.expert, 0);
  const secondsOf = (flops: number) => flops / (peak * utilisation);
  const kind: AdapterKind = peak > MOST_OF_A_PROCESSOR ? "gpu" : "software";
  const training = { length, microBatch: c.microBatch || batch, recompute, dtype: c.dtype, kind };
  const answer = { capacity: length, length: Math.min(LONGEST_PASS, length) };
  return {
    mixture,
    corpus,
    parameters: { ...parameters, total: experts * (parameters.router + parameters.expert) + more },
    ...adopted.length > 0 && { adopted },
    flops: { ...flops, recomputed },
    equalCompute: larger,
    switch: {
      model: tokenwise,
      parameters: parameterCount(tokenwise),
      batch: batch * experts,
      steps,
      training: steps * trainingFlops(tokenwise, batch * experts, length),
      inference: forwardFlops(tokenwise, 1, length),
    },
    communication: communicationOf(c, mixture, parameters.expert),
    memory: {
      expert: trainingMemory(expert, { ...training, batch }),
      routers: trainingMemory(router, { batch: routerBatch, length: routerLength, models: experts, kind }),
      dense: trainingMemory(expert, { ...training, batch: batch * experts }),
      switch: trainingMemory(tokenwise, { ...training, batch: batch * experts }),
      inference: inferenceMemory(expert, answer),
      switchInference: inferenceMemory(tokenwise, answer),
      routing: inferenceMemory(router, { capacity: 0, length: prefix, models: experts, kind }),
    },
    seconds: {
      oneExpert: secondsOf((flops.experts + recomputed) / experts),
      allExperts: secondsOf(flops.experts + recomputed),
      routers: secondsOf(flops.trainRouters + flops.shardForRouters),
      sharding: secondsOf(flops.shardForExperts),
      dense: secondsOf(flops.dense + recomputed),
      equalCompute: secondsOf(larger.training),
      prompt: secondsOf(flops.inference + flops.inferenceOverhead),
      densePrompt: secondsOf(flops.inference),
      equalComputePrompt: secondsOf(larger.inference),
    },
    device: { flops: peak, utilisation, ...(name === undefined ? {} : { name }) },
    dtype: c.dtype,
  };
}

function communicationOf(c: Configuration, mixture: MixtureShape, parameters: number): Communication {
  const exchanges = mixture.routerSteps > 0 ? c.rounds : 0;
  const bytesPerExchange = exchangeBytes(c.roundSequences * c.experts);
  const corpusBytes = exchangeBytes(mixture.corpusScored);
  const bytesPerNode = exchanges * bytesPerExchange + corpusBytes;
  const denseBytesPerStep = denseStepBytes(parameters);
  const denseBytesPerNode = mixture.steps * denseBytesPerStep;
  return { exchanges, bytesPerExchange, corpusBytes, bytesPerNode, denseBytesPerStep, denseBytesPerNode };
}

/** What {@link readCost} takes. */
export interface ReadCostOptions extends Omit<CostOptions, "corpus" | "adopted"> {
  /** Run folder whose configuration and corpus hold where nothing else is said; "" for none. */
  run?: string;
  /** Where other values come from. */
  sources?: Sources;
}

/**
 * Counts what a configuration, or that of a run, costs. A run that is tokenized says how many sequences there are.
 * Reads the run folder alone; throws an `InputError` where there is none.
 */
export async function readCost({ run = "", sources = {}, ...options }: ReadCostOptions): Promise<Cost> {
  if (run === "") return costOf(resolveConfiguration(sources), options);
  const base = (await readRunConfiguration(run))?.configuration;
  if (!base) {
    const what = `Cannot count the cost of run "${run}" as it must hold a config.json: there is none`;
    const remedy = say`leave ${setting("run")} out for a configuration alone`;
    throw new InputError(what, { where: run, remedy });
  }
  const c = resolveConfiguration({ ...sources, base });
  const result = (await readManifest(run, "tokenize"))?.result;
  // Flags may describe other sequences than the run's: another number, another vocabulary.
  const same = c.vocabularySize === base.vocabularySize && c.sequenceLength === base.sequenceLength;
  const adopted = c.experts === base.experts ? await adoptedExperts(run) : [];
  if (!result || !same) return costOf(c, { ...options, adopted });
  const corpus = { train: Number(result.trainSequences), test: Number(result.testSequences) };
  return costOf({ ...c, vocabularySize: Number(result.vocabulary) }, { ...options, corpus, adopted });
}
