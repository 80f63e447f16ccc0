/**
 * What a layer is made of. A sublayer is a branch: it normalises the residual stream, computes something of it and adds the
 * result to the stream. Weights, names on disk, buffers, kernel calls and FLOPs of a model are asked of its sublayers.
 */

import type { Dispatch, Gpu, GpuBuffer } from "../../../kernels/device/gpu.ts";
import type { Matrix } from "../../../kernels/device/matrix.ts";
import type { KeyValueCache } from "../../../kernels/rotary/rotary.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import type { ModelConfig, ParameterSpec } from "../config.ts";

/** What a pass is for: to learn, to score without learning, or to go on from tokens that were read before. */
export type Mode = "train" | "score" | "decode";

/** Sizes of a batch. */
export interface BatchShape {
  /** Number of models. */
  models: number;
  /** Sequences per model. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
}

/**
 * Sequences that share beginnings, of which each token is computed once: the rows of the batch are the tokens of all of them, and
 * what looks along a sequence gathers its rows.
 */
export interface Gathering {
  /** Sizes of the sequences. */
  shape: BatchShape;
  /** u32 `[batch, length]`: the row of every token of every sequence; padding may name any. */
  rows: GpuBuffer;
  /** u32 `[R]`: the place, `sequence · length + position`, of every row in one of the sequences that have it. */
  places: GpuBuffer;
}

/** What the size of buffers depends on, besides the model. */
export interface BufferOptions {
  /** Sizes of the batch. */
  shape: BatchShape;
  /** Sizes of the sequences that rows are gathered into. Default: those of the batch. */
  gathered?: BatchShape;
  /** `train` where a backward pass follows. */
  mode: Mode;
  /** What activations are stored in. */
  dtype: Dtype;
  /** Sequences to keep keys and values of: the batch, or in decoding as many as may be read side by side. */
  slots: number;
  /** Positions of each: the length, or in decoding as many as may ever be read. */
  positions: number;
  /** Whether products of bf16 get scratch for their sums. */
  sums: boolean;
}

/** A buffer that a sublayer needs. */
export interface BufferSize {
  /** Number of values, of all models together. */
  values: number;
  /** What they are stored in. Default: f32. */
  storage?: Dtype;
  /** Computes what it holds from the start, f32. Default: zeros. */
  data?: () => Float32Array;
}

/** Buffers by name. */
export interface SublayerBuffers {
  /** Written forward, read backward: those of a layer are its own in training, unless activations are computed again. */
  layer: Record<string, BufferSize>;
  /** Kept from call to call: those of a layer are its own in decoding as well. */
  cache?: Record<string, BufferSize>;
  /** Holds nothing for longer than a sublayer's pass: all sublayers share what has one name, at the largest size asked for. */
  scratch: Record<string, BufferSize>;
}

/** A weight tensor in the forms that kernels take. */
export interface Parameter {
  /** Rows, the outputs of a linear layer; 1 for biases and LayerNorm parameters. */
  readonly rows: number;
  /** Columns, the inputs of a linear layer. */
  readonly columns: number;
  /** How many of such tensors the parameter is; model by model, they lie one after another. Usually 1. */
  readonly stack: number;
  /** The weights, f32. */
  readonly matrix: Matrix;
  /** A matrix with the values that its transposed copy has. */
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
  /** Finds a weight by its name on disk, without the prefix. */
  parameter(name: string): Parameter;
  /** What the pass is for. The buffers may be those of training while the pass only scores. */
  mode: Mode;
  /** The sublayer's buffers and all scratch, by name. */
  buffers: Record<string, GpuBuffer>;
  /** `[models, R, H]` in the dtype: the residual stream before the sublayer. */
  x: GpuBuffer;
  /** `[models, R, H]` in the dtype: the stream after it. Absent where only what a backward pass reads is computed again. */
  y?: GpuBuffer;
  /** Where keys and values of earlier positions are kept (decoding). */
  cache?: KeyValueCache;
  /** Which rows make sequences, where these share rows (scoring, f32). Default: the batch's sequences. */
  gathering?: Gathering;
  /**
   * u32 `[models, batch]`, or `[batch]` where all models read the same tokens: the real tokens of each sequence, the rest is
   * padding. Not written in decoding, where all tokens are real.
   */
  lengths: GpuBuffer;
  /** f32 `[models, R]`, or `[R]`: weight of each token in the loss; in training they add up to the pass's share of the step. */
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
export interface Report {
  /** Name, for metrics. */
  name: string;
  /** Whether it is a part of the loss, as a balance of load is: the backward pass adds its gradient. */
  loss?: boolean;
}

/** A branch of a layer. */
export interface Sublayer {
  /** Its name in `ModelConfig.sublayers`. */
  readonly name: string;
  /** Throws an `InputError` where it cannot be part of such a model; `what` names the model in the message. Default: it can. */
  validate?(config: ModelConfig, what: string): void;
  /** Lists its weights in the order of the forward pass, with their names in a checkpoint; a LayerNorm's bias follows its gain. */
  parameters(config: ModelConfig, prefix: string): ParameterSpec[];
  /** Lists its buffers. */
  buffers(config: ModelConfig, options: BufferOptions): SublayerBuffers;
  /** Plans `y = x + branch(x)`. */
  forward(pass: Pass): Dispatch[];
  /** Plans the gradients of its weights, and turns the gradient of `y` into that of `x`. */
  backward(pass: BackwardPass): Dispatch[];
  /** Counts the FLOPs of its forward pass over `sequences` of `length` tokens each. */
  flops(config: ModelConfig, sequences: number, length: number): number;
  /** What it reports: a step adds it up over layers and micro-batches. Default: nothing. */
  readonly reports?: readonly Report[];
}
