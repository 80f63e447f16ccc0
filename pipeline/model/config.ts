/** What describes a model: its shape, and the tensors that follow from it. */

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
  /** Names of each layer's sublayers, in order. Default: attention, mlp. */
  sublayers?: readonly string[];
  /** Whether the output head is a matrix of its own, not the embedding: models that others trained, which are not trained here. */
  untied?: true;
}

/** One weight tensor of a model. */
export interface ParameterSpec {
  /** Name in a Hugging Face `GPTNeoXForCausalLM` checkpoint. */
  name: string;
  /** `[out, in]`, or `[columns]` for biases and LayerNorm parameters. */
  shape: [number, number] | [number];
  /** How the tensor starts: normal values (divided by the root of the number of sublayers, √(2L), where it writes into the residual stream), ones or zeros. */
  initial: "normal" | "residual" | "ones" | "zeros";
}
