/**
 * The recipe of a model: everything that its weights and metrics depend on, except its data and the
 * device.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Checkpoint } from "../model/checkpoints/hugging_face_config.ts";
import { loadCheckpoint } from "../model/checkpoints/checkpoint.ts";
import { initialWeights, type Weights } from "../model/parameters.ts";
import {
  chooseSublayers,
  embeddingName,
  findArchitecture,
  type ModelConfig,
} from "../model/shape.ts";
import type { Configuration } from "../settings/configuration.ts";

/**
 * What differs between the recipes of the models of a run: sequences per step and at once, steps,
 * the learning rate at its peak, and the steps of the warm-up.
 */
type Role = Record<"batch" | "microBatch" | "steps" | "rate" | "warmup", number>;

/** A recipe. Fields that are `undefined` are left out of its key. */
export type Recipe = ReturnType<typeof gatherRecipe>;

/** Gathers everything that the weights and metrics of a model depend on. */
export function gatherRecipe(configuration: Configuration, model: ModelConfig, role: Role) {
  const { batch, microBatch, steps, rate, warmup } = role;
  const { clip, beta1, beta2, epsilon, weightDecay, seed, dtype, expertFinalRate } = configuration;
  const { logEvery, validateEvery, validationSequences } = configuration;
  return {
    model,
    batch,
    microBatch,
    steps,
    rate,
    warmup,
    finalRate: expertFinalRate,
    clip,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    seed,
    logEvery,
    validateEvery,
    validationSequences,
    // Recipes written before `dtype` existed do not name it: they are f32.
    ...(dtype === "f32" ? {} : { dtype }),
  };
}

/**
 * Finds the weights to start from: those of a checkpoint if one is named, otherwise new ones, which
 * are made when they are needed.
 */
export async function startWeights(
  { init, seed }: Configuration,
  model: ModelConfig,
  tokenizer: string,
): Promise<() => Weights> {
  if (init === "") return () => initialWeights(model, seed);
  const checkpoint = await loadCheckpoint(init); // a run may have made it
  checkStart(init, checkpoint, model, tokenizer);
  const { weights } = checkpoint;
  const { head } = findArchitecture(model);
  if (!model.untied) weights.delete(head); // where it is there, it is the embedding
  else if (!weights.has(head)) weights.set(head, weights.get(embeddingName(model))!.slice());
  return () => weights;
}

function checkStart(where: string, start: Checkpoint, model: ModelConfig, tokenizer: string): void {
  const { config, notes, weights } = start;
  const remedy = say`name another one with ${setting("init")}`;
  const refuse = (must: string) =>
    new InputError(`Cannot start from "${where}" as its ${must}`, { where, remedy });
  const embedding = weights.get(embeddingName(config))!;
  const head = config.untied && !model.untied && weights.get(findArchitecture(config).head);
  if (head && !head.every((value, i) => value === embedding[i])) {
    throw refuse("output head must be the embedding: it is another matrix");
  }
  const facts = (shape: ModelConfig) => ({
    architecture: findArchitecture(shape).name,
    vocabulary: shape.vocabulary,
    hidden: shape.hidden,
    layers: shape.layers,
    heads: shape.heads,
    "key-value heads": shape.keyHeads,
    "head size": shape.headSize,
    "intermediate size": shape.intermediate,
    "base of rotary angles": shape.ropeTheta,
    "epsilon of norms": shape.normEpsilon,
    sublayers: chooseSublayers(shape).map(({ name }) => name).join(", "),
    "experts of a layer": shape.switch?.experts,
  });
  const startFacts = facts(config);
  for (const [name, here] of Object.entries(facts(model))) {
    const startFact = startFacts[name as keyof typeof startFacts];
    if (startFact === here) continue;
    throw refuse(
      `${name} must be that of the model to train: there it is ${startFact}, here it is ${here}`,
    );
  }
  if (notes.tokenizer !== undefined && notes.tokenizer !== tokenizer) {
    throw refuse(
      `tokenizer must be the run's: SHA-256 is ${notes.tokenizer} there, ${tokenizer} here`,
    );
  }
}
