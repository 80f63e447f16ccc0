/** Describes a model: its shape, and the tensors that follow from it. */

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
  /**
   * Longest sequence in tokens, S: trainings read sequences of so many, and scoring and generation end there.
   * No weight depends on it, and the table of rotary angles is as long as what runs.
   */
  context: number;
  /** Names of each layer's sublayers, in order. Default: attention, mlp. */
  sublayers?: readonly string[];
  /**
   * Whether the output head is a matrix of its own instead of the embedding. Only models that others trained
   * have one; they are not trained here.
   */
  untied?: true;
  /** Settings of the sublayer `switch`, for models that have it. */
  switch?: SwitchConfig;
}

/** The experts of a layer among which tokens are routed (Switch Transformer, Fedus et al. 2022, section 2). */
export interface SwitchConfig {
  /** Experts of every layer, E. */
  experts: number;
  /** In training an expert takes at most this many times an equal share of the tokens of a pass. */
  capacity: number;
  /** Weight of the balance of the load in the loss. */
  balance: number;
}

/** One weight tensor of a model. */
export interface ParameterSpec {
  /** Name in a Hugging Face `GPTNeoXForCausalLM` checkpoint. */
  name: string;
  /** `[out, in]`, or `[columns]` for biases and LayerNorm parameters. */
  shape: [number, number] | [number];
  /**
   * How many matrices of that shape the tensor holds, one after another; the shape in a checkpoint then
   * begins with this number, and a bank holds one such model. Default: one, and the shape is as it is.
   */
  stack?: number;
  /**
   * How the tensor starts: with normal values, ones or zeros. Normal values are divided by the root of the
   * number of sublayers, √(2L), where the tensor writes into the residual stream (`residual`).
   */
  initial: "normal" | "residual" | "ones" | "zeros";
}

/** Returns the shape of a tensor in a checkpoint. */
export function wholeShape({ shape, stack }: Pick<ParameterSpec, "shape" | "stack">): number[] {
  return stack === undefined ? [...shape] : [stack, ...shape];
}

/** Counts the values of a tensor. */
export function countValues(spec: Pick<ParameterSpec, "shape" | "stack">): number {
  return wholeShape(spec).reduce((product, size) => product * size);
}
