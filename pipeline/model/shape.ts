/**
 * The shape of a model: a decoder-only transformer (SmallTalk LM, arXiv 2410.03529), the sublayers
 * that its layers are made of, and its tensors. Its embedding is also its output head, except in
 * models that others trained, which may have a head of their own.
 */

import { InputError } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";
import {
  countValues,
  type ModelConfig,
  type ParameterSpec,
  type Sublayer,
} from "./sublayers/sublayer.ts";
import { attention } from "./sublayers/attention.ts";
import { mlp } from "./sublayers/mlp.ts";
import { normParameters } from "./sublayers/parts.ts";
import { switchMlp } from "./sublayers/switch.ts";

export {
  countValues,
  type ModelConfig,
  type ParameterSpec,
  type SwitchConfig,
  wholeShape,
} from "./sublayers/sublayer.ts";
export { ROTARY_BASE } from "./sublayers/attention.ts";
export { MLP_EXPANSION } from "./sublayers/mlp.ts";
export { LAYER_NORM_EPSILON } from "./sublayers/parts.ts";

/** Every sublayer by its name. */
export const SUBLAYERS: Map<string, Sublayer> = new Map(
  [attention, mlp, switchMlp].map((sublayer) => [sublayer.name, sublayer]),
);

const DEFAULT = [attention.name, mlp.name];

/**
 * Lists the sublayers of each layer. Throws an `InputError` where a name is unknown; `what` names
 * the model in the message.
 */
export function chooseSublayers(
  { sublayers = DEFAULT }: ModelConfig,
  modelName = "a model",
): readonly Sublayer[] {
  return sublayers.map((name) => {
    const sublayer = SUBLAYERS.get(name);
    if (sublayer) return sublayer;
    const names = [...SUBLAYERS.keys()].join(", ");
    throw new InputError(
      `Cannot build ${modelName} as its sublayers must be some of ${names}: one is "${name}"`,
    );
  });
}

/**
 * Lists the sublayers of all layers in the order of the forward pass, each with the scope of the
 * names of its weights.
 */
export function listSublayers(
  config: ModelConfig,
): { sublayer: Sublayer; layer: number; scope: string }[] {
  return Array.from({ length: config.layers }, (_, layer) => layer).flatMap((layer) =>
    chooseSublayers(config).map((sublayer) => ({
      sublayer,
      layer,
      scope: `gpt_neox.layers.${layer}`,
    }))
  );
}

/** Sizes beyond which a shape is a mistake. */
const MOST = {
  vocabulary: 2 ** 24,
  hidden: 2 ** 20,
  layers: 4096,
  heads: 2 ** 16,
  context: 2 ** 24,
};

/**
 * Throws an `InputError` where `config` is not a possible shape; `what` names the model in the
 * message.
 */
export function validateModelConfig(config: ModelConfig, modelName = "a model"): void {
  for (const name of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    const value = config[name];
    if (!Number.isSafeInteger(value) || value < 1 || value > MOST[name]) {
      throw new InputError(
        `Cannot build ${modelName} as ${name} must be a whole number from 1 to ${
          MOST[name]
        }: ${name} is ${value}`,
      );
    }
  }
  const { hidden, heads } = config;
  if (hidden % heads !== 0) {
    throw new InputError(
      `Cannot build ${modelName} as hidden must be divisible by heads: hidden is ` +
        `${hidden}, heads is ${heads}`,
    );
  }
  if ((hidden / heads) % 2 !== 0) {
    throw new InputError(
      `Cannot build ${modelName} as hidden / heads must be even for rotary positions: ` +
        `hidden is ${hidden}, heads is ${heads}`,
    );
  }
  for (const sublayer of chooseSublayers(config, modelName)) sublayer.validate?.(config, modelName);
}

/** The tensor of the embedding. */
export const EMBEDDING = "gpt_neox.embed_in.weight";
/** The tensor of an output head that is not the embedding. */
export const HEAD = "embed_out.weight";

/** Names the tensor that turns the last stream into logits. */
export function headName({ untied }: ModelConfig): string {
  return untied ? HEAD : EMBEDDING;
}

/**
 * Returns every tensor of a model, in the order of the forward pass; a LayerNorm's bias follows its
 * gain.
 */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const { vocabulary, hidden, untied } = config;
  const head: ParameterSpec = { name: HEAD, shape: [vocabulary, hidden], initial: "normal" };
  return [
    { name: EMBEDDING, shape: [vocabulary, hidden], initial: "normal" },
    ...listSublayers(config).flatMap(({ sublayer, scope }) => sublayer.parameters(config, scope)),
    ...normParameters("gpt_neox.final_layer_norm", hidden),
    ...untied ? [head] : [],
  ];
}

/** Counts the weights of a model, biases and LayerNorm parameters among them. */
export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((sum, spec) => sum + countValues(spec), 0);
}

/**
 * Returns the shapes of routers and experts. Their vocabulary is the one that was asked for; the
 * tokenizer may have learned fewer tokens.
 */
export function modelShapes(
  configuration: Configuration,
): { router: ModelConfig; expert: ModelConfig } {
  const { routerHidden, routerLayers, routerHeads, expertHidden, expertLayers, expertHeads } =
    configuration;
  const common = {
    vocabulary: configuration.vocabularySize,
    context: configuration.sequenceLength,
  };
  return {
    router: { ...common, hidden: routerHidden, layers: routerLayers, heads: routerHeads },
    expert: { ...common, hidden: expertHidden, layers: expertLayers, heads: expertHeads },
  };
}

/** Returns the shape of the Switch Transformer: that of an expert, with experts in every layer. */
export function switchShape(configuration: Configuration): ModelConfig {
  return {
    ...modelShapes(configuration).expert,
    sublayers: [attention.name, switchMlp.name],
    switch: {
      experts: configuration.switchExperts || configuration.experts,
      capacity: configuration.switchCapacity,
      balance: configuration.switchBalance,
    },
  };
}

/** Parameters that the larger dense model should have, in those of an expert; the paper has 3.8. */
const DENSE_RATIO = 4;
/** From this ratio on, the larger dense model keeps the number of layers of an expert. */
const LEAST_RATIO = 3.6;

/**
 * Returns the shape of the larger dense model. By default it is twice as wide as the expert, with
 * as many heads and layers, as the paper's 1.3B is next to its 335M (table 3). Next to a small
 * expert, in which the embedding is a large part, that would have less than 3.6 times the
 * parameters. Then it gets as many layers as come nearest to four times.
 */
export function largerDenseShape(configuration: Configuration): ModelConfig {
  const { expert } = modelShapes(configuration);
  const wide = {
    ...expert,
    hidden: configuration.denseHidden || 2 * expert.hidden,
    heads: configuration.denseHeads || expert.heads,
  };
  if (configuration.denseLayers > 0) return { ...wide, layers: configuration.denseLayers };
  const ratio = (layers: number) => parameterCount({ ...wide, layers }) / parameterCount(expert);
  if (ratio(expert.layers) >= LEAST_RATIO) return wide;
  const perLayer = ratio(2) - ratio(1);
  const addedLayers = Math.round((DENSE_RATIO - ratio(expert.layers)) / perLayer);
  return { ...wide, layers: expert.layers + Math.max(0, addedLayers) };
}
