/**
 * The shape of a model: a decoder-only transformer (SmallTalk LM, arXiv 2410.03529), the sublayers
 * that its layers are made of, and its tensors. Its embedding is also its output head, unless it is
 * untied.
 */

import { InputError } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";
import {
  countValues,
  type ModelConfig,
  type ParameterSpec,
  type Sublayer,
} from "./sublayers/sublayer.ts";
import { embeddingName, findArchitecture, headName } from "./architectures.ts";
import { attention, groupedAttention } from "./sublayers/attention.ts";
import { gatedMlp } from "./sublayers/gated_mlp.ts";
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
export { NORM_EPSILON } from "./sublayers/parts.ts";
export { embeddingName, findArchitecture, headName } from "./architectures.ts";

/** Every sublayer by its name. */
export const SUBLAYERS: Map<string, Sublayer> = new Map(
  [attention, mlp, switchMlp, groupedAttention, gatedMlp].map((sublayer) => [
    sublayer.name,
    sublayer,
  ]),
);

/**
 * Lists the sublayers of each layer. Throws an `InputError` where a name is unknown; `what` names
 * the model in the message.
 */
export function chooseSublayers(
  config: ModelConfig,
  modelName = "a model",
): readonly Sublayer[] {
  const { sublayers = findArchitecture(config).sublayers } = config;
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
      scope: `${findArchitecture(config).body}.layers.${layer}`,
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
  for (const sublayer of chooseSublayers(config, modelName)) sublayer.validate?.(config, modelName);
}

/**
 * Returns every tensor of a model, in the order of the forward pass; a LayerNorm's bias follows its
 * gain, and tensors of one matrix follow one another.
 */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const { vocabulary, hidden, untied } = config;
  const { body, norm, rms } = findArchitecture(config);
  const table = (name: string): ParameterSpec => {
    return { name, shape: [vocabulary, hidden], initial: "normal" };
  };
  return [
    table(embeddingName(config)),
    ...listSublayers(config).flatMap(({ sublayer, scope }) => sublayer.parameters(config, scope)),
    ...normParameters(`${body}.${norm}`, hidden, { rms }),
    ...untied ? [table(headName(config))] : [],
  ];
}

/** Lists matrices; one that lies in several tensors on disk has the name that they give it. */
export function joinMatrices(
  specs: readonly ParameterSpec[],
): (ParameterSpec & { shape: [number, number] })[] {
  const joined = new Map<string, ParameterSpec & { shape: [number, number] }>();
  for (const spec of specs) {
    const [rows, columns] = spec.shape;
    if (columns === undefined) continue;
    const { matrix: name = spec.name } = spec;
    const rowsAbove = joined.get(name)?.shape[0] ?? 0;
    joined.set(name, { ...spec, name, shape: [rowsAbove + rows, columns] });
  }
  return [...joined.values()];
}

/** Counts the weights of a model, biases and parameters of norms among them. */
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
  return {
    router: buildShape(configuration, "router"),
    expert: buildShape(configuration, "expert"),
  };
}

/** Builds the shape that settings give models, of other sizes where these are given. */
function buildShape(
  c: Configuration,
  role: "router" | "expert",
  { hidden = c[`${role}Hidden`], heads = c[`${role}Heads`] } = {},
): ModelConfig {
  const wider = hidden / c[`${role}Hidden`];
  return {
    vocabulary: c.vocabularySize,
    context: c.sequenceLength,
    hidden,
    layers: c[`${role}Layers`],
    heads,
    ...findArchitecture({ architecture: c[`${role}Architecture`] }).resolve({
      hidden,
      heads,
      keyHeads: c[`${role}KvHeads`],
      headSize: c[`${role}HeadSize`],
      intermediate: 4 * Math.round(c[`${role}Intermediate`] * wider / 4),
      ropeTheta: c[`${role}RopeTheta`],
    }),
    ...c[`${role}Untied`] && { untied: true as const },
  };
}

/** Returns the shape of the Switch Transformer: that of an expert, with experts in every layer. */
export function switchShape(configuration: Configuration): ModelConfig {
  return {
    ...buildShape({ ...configuration, expertArchitecture: "gpt-neox" }, "expert"),
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
  const wide = buildShape(configuration, "expert", {
    hidden: configuration.denseHidden || 2 * expert.hidden,
    heads: configuration.denseHeads || expert.heads,
  });
  if (configuration.denseLayers > 0) return { ...wide, layers: configuration.denseLayers };
  const ratio = (layers: number) => parameterCount({ ...wide, layers }) / parameterCount(expert);
  if (ratio(expert.layers) >= LEAST_RATIO) return wide;
  const perLayer = ratio(2) - ratio(1);
  const addedLayers = Math.round((DENSE_RATIO - ratio(expert.layers)) / perLayer);
  return { ...wide, layers: expert.layers + Math.max(0, addedLayers) };
}
