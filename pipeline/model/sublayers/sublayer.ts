/**
 * What describes a model: its configuration, its tensors, and the seam of sublayers, of which a
 * layer is made. A sublayer is a branch: it normalises the residual stream, computes something of
 * it and adds the result to the stream. It describes its weights, their names on disk, its buffers,
 * its kernel calls and its FLOPs.
 */

import type { Dispatch, Gpu, GpuBuffer } from "../../../kernels/device/gpu.ts";
import type { Matrix } from "../../../kernels/device/matrix.ts";
import type { BatchShape, KeyValueCache } from "../../../kernels/rotary/rotary.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";

export type { BatchShape };

/** Shape of a router, an expert or a dense model. */
export interface ModelConfig {
  /** Number of token ids, V. */
  vocabulary: number;
  /** Columns of the residual stream, H. */
  hidden: number;
  /** Transformer blocks, L. */
  layers: number;
  /** Attention heads; the size of each must be even. */
  heads: number;
  /**
   * Longest sequence in tokens, S: trainings read sequences of so many, and scoring and generation
   * end there. No weight depends on it, and the table of rotary angles is as long as what runs.
   */
  context: number;
  /** Name of its architecture. Default: GPT-NeoX. */
  architecture?: string;
  /** Heads of keys and values, a divisor of `heads`. Default: `heads`. */
  keyHeads?: number;
  /** Columns of a head. Default: H / heads. */
  headSize?: number;
  /** Columns inside a gated MLP. */
  intermediate?: number;
  /** Base of the rotary angles. Default: 10,000. */
  ropeTheta?: number;
  /** What norms add to the variance. Default: 1e-5. */
  normEpsilon?: number;
  /** Names of each layer's sublayers, in order. Default: those of the architecture. */
  sublayers?: readonly string[];
  /** Whether the output head is a matrix of its own instead of the embedding. */
  untied?: true;
  /** Settings of the sublayer `switch`, for models that have it. */
  switch?: SwitchConfig;
}

/**
 * The experts of a layer among which tokens are routed (Switch Transformer, Fedus et al. 2022,
 * section 2).
 */
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
  /** Name in a Hugging Face checkpoint. */
  name: string;
  /** `[out, in]`, or `[columns]` for biases and parameters of norms. */
  shape: [number, number] | [number];
  /**
   * Name of the matrix whose next rows this tensor is, where a matrix lies in several tensors on
   * disk. Default: it is a matrix of its own.
   */
  matrix?: string;
  /**
   * How many matrices of that shape the tensor holds, one after another; the shape in a checkpoint
   * then begins with this number, and a bank holds one such model. Default: one, and the shape is
   * as it is.
   */
  stack?: number;
  /**
   * How the tensor starts: with normal values, ones or zeros. Normal values are divided by the root
   * of the number of sublayers, √(2L), where the tensor writes into the residual stream
   * (`residual`).
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

/**
 * What a pass is for: to learn, to score without learning, or to go on after tokens that were read
 * before.
 */
export type Mode = "train" | "score" | "decode";

/**
 * Sequences that share beginnings, so that each token is computed once: the rows of the batch are
 * the tokens of all of them. A sublayer that looks along a sequence gathers the rows of the
 * sequence.
 */
export interface Gathering {
  /** Sizes of the sequences. */
  shape: BatchShape;
  /** u32 `[batch, length]`: the row of every token of every sequence; padding may name any. */
  rows: GpuBuffer;
  /**
   * u32 `[R]`: for every row a place, `sequence · length + position`, in one of the sequences that
   * contain it.
   */
  places: GpuBuffer;
}

/** What the sizes of buffers depend on, apart from the model. */
export interface BufferOptions {
  /** Sizes of the batch. */
  shape: BatchShape;
  /** Sizes of the sequences that rows are gathered into. Default: those of the batch. */
  gathered?: BatchShape;
  /** `train` where a backward pass follows. */
  mode: Mode;
  /** What activations are stored in. */
  dtype: Dtype;
  /**
   * Sequences whose keys and values are kept: those of the batch, or in decoding as many as may be
   * read side by side.
   */
  slots: number;
  /** Positions that are kept of each: its length, or in decoding as many as may ever be read. */
  positions: number;
  /** Whether products of bf16 get scratch for their sums. */
  sums: boolean;
}

/** A buffer that a sublayer needs. */
export interface BufferSize {
  /** Number of values, of all models together. */
  values: number;
  /** How they are stored. Default: f32. */
  storage?: Dtype;
  /** Computes the values that it holds from the start, f32. Default: zeros. */
  data?: () => Float32Array;
}

/** Buffers by name. */
export interface SublayerBuffers {
  /**
   * Written in the forward pass and read in the backward pass. In training each layer has its own,
   * unless activations are computed again.
   */
  layer: Record<string, BufferSize>;
  /** Kept from call to call. Each layer has its own, also in decoding. */
  cache?: Record<string, BufferSize>;
  /**
   * Scratch, used only during the pass of a sublayer. All sublayers share the buffers of one name,
   * which have the largest size that any asks for.
   */
  scratch: Record<string, BufferSize>;
}

/** A weight tensor in the forms that kernels take. */
export interface Parameter {
  /** Rows, the outputs of a linear layer; 1 for biases and parameters of norms. */
  readonly rows: number;
  /** Columns, the inputs of a linear layer. */
  readonly columns: number;
  /**
   * How many such tensors the parameter holds, of one model then: they stand in the place of
   * models. Usually 1.
   */
  readonly stack: number;
  /** The weights, f32. */
  readonly matrix: Matrix;
  /** The matrix, with the same values as its transposed copy. */
  readonly asRead: Matrix;
  /** The transposed copy of a matrix, in the dtype of activations. */
  readonly transposed: Matrix;
  /** The gradient, f32 (backward). */
  readonly gradient: Matrix;
}

/** One sublayer's part in a pass. Rows of matrices are padded to vec4s. */
export interface Pass {
  /** The device. */
  gpu: Gpu;
  /** Shape of the models. */
  config: ModelConfig;
  /** Sizes of the batch; `R` is batch · length. */
  shape: BatchShape;
  /** Finds a weight by its name on disk, without the scope. */
  parameter(name: string): Parameter;
  /** What the pass is for. A pass that only scores may use the buffers of training. */
  mode: Mode;
  /** The sublayer's buffers and all scratch, by name. */
  buffers: Record<string, GpuBuffer>;
  /** `[models, R, H]` in the dtype: the residual stream before the sublayer. */
  x: GpuBuffer;
  /**
   * `[models, R, H]` in the dtype: the stream after it. Absent where activations are computed again
   * and only what the backward pass reads is needed.
   */
  y?: GpuBuffer;
  /** Where keys and values of earlier positions are kept (decoding). */
  cache?: KeyValueCache;
  /**
   * How rows make up sequences, where sequences share rows (scoring, f32). Default: the rows are
   * the sequences of the batch.
   */
  gathering?: Gathering;
  /**
   * u32 `[models, batch]`, or `[batch]` where all models read the same tokens: the real tokens of
   * each sequence, the rest is padding. Not written in decoding, where all tokens are real.
   */
  lengths: GpuBuffer;
  /**
   * f32 `[models, R]`, or `[R]`: weight of each token in the loss; in training they add up to the
   * pass's share of the step.
   */
  weights: GpuBuffer;
  /** Whether all models read the same tokens. */
  sharedTokens: boolean;
  /** f32: report `i` of model `e` goes to `offset + i + e · model`. */
  reports: { buffer: GpuBuffer; offset: number; model: number };
}

/** One sublayer's part in a backward pass. */
export interface BackwardPass extends Pass {
  /** f32 `[models, R, H]`: the gradient of `y`, and afterwards that of `x`. */
  residual: GpuBuffer;
  /** f32 `[models, R, H]`: scratch for the gradient of what the sublayer normalised. */
  branch: GpuBuffer;
  /** f32: scratch for the sums over rows that LayerNorms and linear layers take. */
  partial: GpuBuffer;
  /** f32: scratch with which a GPU splits the long sums of small weight gradients. */
  parts?: GpuBuffer;
  /** Whether gradients of weights are added to what is there. */
  accumulate: boolean;
}

/** A value per model that a sublayer computes in its forward pass. */
export interface SublayerReport {
  /** Name, for metrics. */
  name: string;
  /**
   * Whether it is a part of the loss, as a balance of load is: the backward pass adds its gradient.
   */
  loss?: boolean;
}

/** A branch of a layer. */
export interface Sublayer {
  /** Its name in `ModelConfig.sublayers`. */
  readonly name: string;
  /**
   * Throws an `InputError` where it cannot be part of such a model; `what` names the model in the
   * message. Default: it can.
   */
  validate?(config: ModelConfig, modelName: string): void;
  /**
   * Lists its weights in the order of the forward pass, with their names in a checkpoint; a
   * LayerNorm's bias follows its gain.
   */
  parameters(config: ModelConfig, scope: string): ParameterSpec[];
  /** Lists its buffers. */
  buffers(config: ModelConfig, options: BufferOptions): SublayerBuffers;
  /** Plans `y = x + branch(x)`. */
  forward(pass: Pass): Dispatch[];
  /** Plans the gradients of its weights, and turns the gradient of `y` into that of `x`. */
  backward(pass: BackwardPass): Dispatch[];
  /** Counts the FLOPs of its forward pass over `sequences` of `length` tokens each. */
  flops(config: ModelConfig, sequences: number, length: number): number;
  /**
   * What it reports; the values of a step are sums over layers and micro-batches. Default: nothing.
   */
  readonly reports?: readonly SublayerReport[];
}
