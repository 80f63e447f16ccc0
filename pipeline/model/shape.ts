/**
 * The shape of a model: a decoder-only transformer (SmallTalk LM, arXiv 2410.03529). Its embedding is also
 * its output head, except in models that others trained, which may have a head of their own.
 */

import { InputError } from "../../kernels/errors.ts";
import { countValues, type ModelConfig, type ParameterSpec } from "./config.ts";
import { chooseSublayers, listSublayers } from "./sublayers/layer.ts";
import { normParameters } from "./sublayers/parts.ts";

export {
  countValues,
  type ModelConfig,
  type ParameterSpec,
  type SwitchConfig,
  wholeShape,
} from "./config.ts";
export { ROTARY_BASE } from "./sublayers/attention.ts";
export { MLP_EXPANSION } from "./sublayers/mlp.ts";
export { LAYER_NORM_EPSILON } from "./sublayers/parts.ts";

/** Sizes beyond which a shape is a mistake. */
const MOST = { vocabulary: 2 ** 24, hidden: 2 ** 20, layers: 4096, heads: 2 ** 16, context: 2 ** 24 };

/** Throws an `InputError` where `config` is not a possible shape; `what` names the model in the message. */
export function validateModelConfig(config: ModelConfig, what = "a model"): void {
  for (const name of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    const value = config[name];
    if (!Number.isSafeInteger(value) || value < 1 || value > MOST[name]) {
      throw new InputError(
        `Cannot build ${what} as ${name} must be a whole number from 1 to ${MOST[name]}: ${name} is ${value}`,
      );
    }
  }
  const { hidden, heads } = config;
  if (hidden % heads !== 0) {
    throw new InputError(
      `Cannot build ${what} as hidden must be divisible by heads: hidden is ${hidden}, heads is ${heads}`,
    );
  }
  if ((hidden / heads) % 2 !== 0) {
    throw new InputError(
      `Cannot build ${what} as hidden / heads must be even for rotary positions: hidden is ${hidden}, heads is ${heads}`,
    );
  }
  for (const sublayer of chooseSublayers(config, what)) sublayer.validate?.(config, what);
}

/** The tensor of the embedding. */
export const EMBEDDING = "gpt_neox.embed_in.weight";
/** The tensor of an output head that is not the embedding. */
export const HEAD = "embed_out.weight";

/** Names the tensor that turns the last stream into logits. */
export function headName({ untied }: ModelConfig): string {
  return untied ? HEAD : EMBEDDING;
}

/** Returns every tensor of a model, in the order of the forward pass; a LayerNorm's bias follows its gain. */
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
