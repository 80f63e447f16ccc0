/**
 * Counts what other models cost next to the mixture of a configuration: the larger dense model that trains for as many FLOPs, and any
 * model that trains for a number of steps.
 *
 * @module
 */

import * as v from "valibot";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { largerDenseShape, type ModelConfig, parameterCount, validateModelConfig } from "../model/shape.ts";
import { count, finite } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { forwardFlops, mixtureFlops, type MixtureShape, trainingFlops } from "./flops.ts";
import { answeringSizes, inferenceMemory, routingMemory, trainingMemory } from "./memory.ts";
import { type CostCorpus, mixtureShape, type OtherRouters } from "./mixture.ts";

/**
 * What a model costs next to the mixture: its weights; FLOPs of its training, and of the mixture's (experts, routers and scoring); FLOPs of
 * one sequence, and of one through an expert.
 */
export type ComparedCost = Record<
  "parameters" | "training" | "mixture" | "inference" | "expertInference",
  number
>;

/** The larger dense model, trained for about as many FLOPs as the mixture: tokens that it sees, padding included. */
export interface EqualCompute extends ComparedCost, Record<"batch" | "steps" | "tokens", number> {
  /** Its shape. */
  model: ModelConfig;
}

/** The schema of a {@linkcode TrainingCost}. */
export const TRAINING_COST = v.object({
  ...{ parameters: count, training: finite, mixture: finite, inference: finite, expertInference: finite },
  memory: v.object({
    ...{ training: finite, expertTraining: finite, inference: finite, expertInference: finite },
    routing: v.optional(finite),
  }),
});

/**
 * What a model costs next to the mixture and one of its experts. Device memory, in bytes, is that of training the model and an expert, with all
 * activations kept, and of generating with either; `routing` is that of all routers on the prefix of a prompt, which the mixture takes next to an
 * expert's: 0 where no models route, absent from results of versions that did not count it.
 *
 * @ignore
 */
export type TrainingCost = v.InferOutput<typeof TRAINING_COST>;

/**
 * Counts the steps with which the training of the larger dense model costs as many FLOPs as that of the
 * mixture, experts and overhead: the nearest whole number of steps with the batch of an expert. Throws an
 * `InputError` on values that do not go together.
 */
export function equalCompute(
  configuration: Configuration,
  corpus?: CostCorpus,
  routers?: OtherRouters,
): EqualCompute {
  const model = largerDenseShape(configuration);
  validateModelConfig(model, "the larger dense model");
  const shape = mixtureShape(configuration, corpus, routers);
  const { batch, length } = shape;
  const perStep = trainingFlops(model, batch, length);
  const steps = Math.max(1, Math.round(mixtureFlops(shape).total / perStep));
  return {
    model,
    batch,
    steps,
    tokens: steps * batch * length,
    ...comparedFlops(shape, model, batch, steps),
  };
}

function comparedFlops(shape: MixtureShape, model: ModelConfig, batch: number, steps: number): ComparedCost {
  const { total: mixture, inference: expertInference } = mixtureFlops(shape);
  return {
    parameters: parameterCount(model),
    training: steps * trainingFlops(model, batch, shape.length),
    mixture,
    inference: forwardFlops(model, 1, shape.length),
    expertInference,
  };
}

/** How a model is trained that is counted next to a mixture, and what of the mixture is known. */
export interface ComparedOptions extends Pick<EqualCompute, "batch" | "steps"> {
  /** Sequences of the corpus, where it is tokenized. */
  corpus?: CostCorpus;
  /** Routers that the mixture takes from elsewhere, where they are known. */
  routers?: OtherRouters;
  /** Kind of the adapter. Default: software. */
  kind?: AdapterKind;
}

/** Counts what a model that is trained for `steps` costs next to the mixture of a configuration. */
export function comparedCost(
  configuration: Configuration,
  model: ModelConfig,
  { batch, steps, corpus, routers, kind }: ComparedOptions,
): TrainingCost {
  const shape = mixtureShape(configuration, corpus, routers);
  const { length, expert, router, routers: models, prefix } = shape;
  const { microBatch: micro, expertBatch, dtype } = configuration;
  const training = { microBatch: micro || expertBatch, length, dtype, kind };
  const answer = answeringSizes(length);
  return {
    ...comparedFlops(shape, model, batch, steps),
    memory: {
      training: trainingMemory(model, { ...training, batch }).total,
      expertTraining: trainingMemory(expert, { ...training, batch: expertBatch }).total,
      inference: inferenceMemory(model, answer).total,
      expertInference: inferenceMemory(expert, answer).total,
      routing: routingMemory(router, { prefix, models, kind }).total,
    },
  };
}

/** Largest relative difference between two trainings of equal compute. */
const COMPUTE_APART = 0.01;

/** Warns of a model whose training should cost as much as that of the mixture and does not; undefined where it does. */
export function costApart(
  name: string,
  { training, mixture }: Pick<TrainingCost, "training" | "mixture">,
): string | undefined {
  if (Math.abs(training / mixture - 1) <= COMPUTE_APART) return undefined;
  const [own, whole] = [training, mixture].map((flops) => flops.toExponential(3));
  return `the training of ${name} takes ${own} FLOPs, that of the mixture ${whole}: they are more than 1% apart`;
}
