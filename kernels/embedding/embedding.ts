/** Token embedding: the look-up, and the gradient of its weights without atomics. */

import forwardCode from "./embedding_forward.wgsl" with { type: "text" };
import backwardCode from "./embedding_backward.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import type { Matrix } from "../device/matrix.ts";

const WORKGROUP = 64;

/** Arguments of {@link embeddingForward}. */
export interface EmbeddingForward {
  /** f32 `[models, vocabulary, columns]`. */
  weights: Matrix;
  /** u32 `[models, rows]`, or `[rows]` when `sharedTokens`. */
  tokens: GpuBuffer;
  /** f32 or bf16 `[models, rows, columns]`. */
  x: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Whether all models read the same tokens. */
  sharedTokens: boolean;
}

/**
 * Plans `x[r] = weights[tokens[r]]` for every model. The caller has checked that token ids are below the
 * vocabulary.
 */
export function embeddingForward(gpu: Gpu, tensors: EmbeddingForward): Dispatch {
  const stride4 = tensors.weights.stride / 4;
  return gpu.dispatch({
    label: "embedding_forward",
    code: forwardCode,
    constants: { WG: WORKGROUP },
    params: [
      tensors.rows,
      stride4,
      (tensors.weights.offset ?? 0) / 4,
      tensors.weights.model / 4,
      tensors.sharedTokens ? 0 : tensors.rows,
    ],
    buffers: [tensors.weights.buffer, tensors.tokens, tensors.x],
    workgroups: Math.ceil((tensors.rows * stride4) / WORKGROUP),
    models: tensors.models,
  });
}

/** Arguments of {@link embeddingBackward}. */
export interface EmbeddingBackward {
  /** f32 `[models, rows, columns]`. */
  dX: GpuBuffer;
  /** u32 `[models, rows]`. */
  tokens: GpuBuffer;
  /** u32 `[models, rows]` from {@link tokenOrder}. */
  order: GpuBuffer;
  /** f32 `[models, vocabulary, columns]`. */
  dWeights: Matrix;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
}

/** Plans `dWeights[tokens[r]] += dX[r]` for every model. */
export function embeddingBackward(gpu: Gpu, tensors: EmbeddingBackward): Dispatch {
  const stride4 = tensors.dWeights.stride / 4;
  return gpu.dispatch({
    label: "embedding_backward",
    code: backwardCode,
    constants: { WG: WORKGROUP },
    params: [tensors.rows, stride4, (tensors.dWeights.offset ?? 0) / 4, tensors.dWeights.model / 4],
    buffers: [tensors.dX, tensors.tokens, tensors.order, tensors.dWeights.buffer],
    workgroups: Math.ceil((tensors.rows * stride4) / WORKGROUP),
    models: tensors.models,
  });
}

/** Writes into `order` the indices of `tokens` sorted by token, earlier ones first (a counting sort). */
export function tokenOrder(tokens: Uint32Array, vocabulary: number, order: Uint32Array): void {
  const next = new Uint32Array(vocabulary + 1);
  for (const token of tokens) next[token + 1]++;
  for (let token = 0; token < vocabulary; token++) next[token + 1] += next[token];
  for (let row = 0; row < tokens.length; row++) order[next[tokens[row]]++] = row;
}

/** Looks up rows of `[vocabulary, columns]` weights for one model. */
export function embeddingForwardReference(
  weights: ArrayLike<number>,
  tokens: ArrayLike<number>,
  columns: number,
): Float64Array {
  const x = new Float64Array(tokens.length * columns);
  for (let row = 0; row < tokens.length; row++) {
    for (let column = 0; column < columns; column++) {
      x[row * columns + column] = weights[tokens[row] * columns + column];
    }
  }
  return x;
}

/** Sums the gradient of each looked-up row, for one model. */
export function embeddingBackwardReference(
  dX: ArrayLike<number>,
  tokens: ArrayLike<number>,
  columns: number,
  vocabulary: number,
): Float64Array {
  const dWeights = new Float64Array(vocabulary * columns);
  for (let row = 0; row < tokens.length; row++) {
    for (let column = 0; column < columns; column++) {
      dWeights[tokens[row] * columns + column] += dX[row * columns + column];
    }
  }
  return dWeights;
}
