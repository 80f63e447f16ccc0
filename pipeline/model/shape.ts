/** The shape of a model: a decoder-only transformer with tied embedding (SmallTalk LM, arXiv 2410.03529). */

/** Shape of a router, an expert or a dense model. */
export interface ModelConfig {
  /** Number of token ids, V. */
  vocabulary: number;
  /** Columns of the residual stream, H. */
  hidden: number;
  /** Transformer blocks, L. */
  layers: number;
  /** Attention heads; H / heads must be even. */
  heads: number;
  /** Longest sequence in tokens, S; a label of checkpoints, since rotary positions need no table. */
  context: number;
}

/** Epsilon of every LayerNorm. */
export const LAYER_NORM_EPSILON = 1e-5;

/** Base of the rotary angles. */
export const ROTARY_BASE = 10_000;

/** Width of the MLP as a multiple of H. */
export const MLP_EXPANSION = 4;

/** Sizes beyond which a shape is a mistake. */
const MOST = { vocabulary: 2 ** 24, hidden: 2 ** 20, layers: 4096, heads: 2 ** 16, context: 2 ** 24 };

/** Throws `RangeError` when `config` is not a possible shape; `what` names the model in the message. */
export function validateModelConfig(config: ModelConfig, what = "a model"): void {
  for (const name of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    const value = config[name];
    if (!Number.isSafeInteger(value) || value < 1 || value > MOST[name]) {
      throw new RangeError(
        `Cannot build ${what} as ${name} must be a whole number from 1 to ${MOST[name]}: ${name} is ${value}`,
      );
    }
  }
  const { hidden, heads } = config;
  if (hidden % heads !== 0) {
    throw new RangeError(
      `Cannot build ${what} as hidden must be divisible by heads: hidden is ${hidden}, heads is ${heads}`,
    );
  }
  if ((hidden / heads) % 2 !== 0) {
    throw new RangeError(
      `Cannot build ${what} as hidden / heads must be even for rotary positions: hidden is ${hidden}, heads is ${heads}`,
    );
  }
}

/** One weight tensor of a model. */
export interface ParameterSpec {
  /** Name in a Hugging Face `GPTNeoXForCausalLM` checkpoint. */
  name: string;
  /** `[out, in]`, or `[columns]` for biases and LayerNorm parameters. */
  shape: [number, number] | [number];
  /** How the tensor starts: normal values (divided by √(2L) where it writes into the residual stream), ones or zeros. */
  initial: "normal" | "residual" | "ones" | "zeros";
}

/** Returns every tensor of a model, in the order of the forward pass; a LayerNorm's bias follows its gain. */
export function parameterSpecs({ vocabulary, hidden, layers }: ModelConfig): ParameterSpec[] {
  const inner = MLP_EXPANSION * hidden;
  const norm = (name: string): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [hidden], initial: "ones" },
    { name: `${name}.bias`, shape: [hidden], initial: "zeros" },
  ];
  const linear = (
    name: string,
    out: number,
    columns: number,
    initial: "normal" | "residual",
  ): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [out, columns], initial },
    { name: `${name}.bias`, shape: [out], initial: "zeros" },
  ];
  return [
    { name: "gpt_neox.embed_in.weight", shape: [vocabulary, hidden], initial: "normal" },
    ...Array.from({ length: layers }, (_, layer) => `gpt_neox.layers.${layer}`).flatMap((prefix) => [
      ...norm(`${prefix}.input_layernorm`),
      ...linear(`${prefix}.attention.query_key_value`, 3 * hidden, hidden, "normal"),
      ...linear(`${prefix}.attention.dense`, hidden, hidden, "residual"),
      ...norm(`${prefix}.post_attention_layernorm`),
      ...linear(`${prefix}.mlp.dense_h_to_4h`, inner, hidden, "normal"),
      ...linear(`${prefix}.mlp.dense_4h_to_h`, hidden, inner, "residual"),
    ]),
    ...norm("gpt_neox.final_layer_norm"),
  ];
}

/** Counts the weights of a model, biases and LayerNorm parameters among them. */
export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((sum, { shape }) => sum + shape[0] * (shape[1] ?? 1), 0);
}
