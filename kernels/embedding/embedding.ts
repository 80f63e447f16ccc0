/** Token embedding: the look-up, and the gradient of its weights without atomics. */

import forwardCode from "./embedding_forward.wgsl" with { type: "text" };
import clearCode from "./embedding_clear.wgsl" with { type: "text" };
import backwardCode from "./embedding_backward.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import type { BankRows, Matrix } from "../device/matrix.ts";

const WORKGROUP = 64;

/** Arguments of {@link embeddingForward}. */
interface EmbeddingForward extends Pick<BankRows, "models" | "rows"> {
  /** f32 `[models, vocabulary, columns]`. */
  weights: Matrix;
  /** u32 `[models, rows]`, or `[rows]` when `sharedTokens`. */
  tokens: GpuBuffer;
  /** f32 or bf16 `[models, rows, columns]`. */
  x: GpuBuffer;
  /** Whether all models read the same tokens. */
  sharedTokens: boolean;
}

/**
 * Plans `x[r] = weights[tokens[r]]` for every model. The caller has checked that token ids are
 * below the vocabulary.
 */
export function embeddingForward(gpu: Gpu, tensors: EmbeddingForward): Dispatch {
  const { weights: { buffer, offset = 0, stride, model }, tokens, x, models, rows, sharedTokens } =
    tensors;
  return gpu.dispatch({
    label: "embedding_forward",
    code: forwardCode,
    constants: { WG: WORKGROUP },
    params: [rows, stride / 4, offset / 4, model / 4, sharedTokens ? 0 : rows],
    buffers: [buffer, tokens, x],
    workgroups: Math.ceil(rows * stride / 4 / WORKGROUP),
    models,
  });
}

/** Arguments of {@link embeddingBackward}. */
interface EmbeddingBackward extends Pick<BankRows, "models" | "rows"> {
  /** f32 `[models, rows, columns]`. */
  dX: GpuBuffer;
  /** u32 `[models, rows]`. */
  tokens: GpuBuffer;
  /** u32 `[models, rows]` from {@link tokenOrder}. */
  order: GpuBuffer;
  /** f32 `[models, vocabulary, columns]`. */
  dWeights: Matrix;
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

/** Plans zeros for the gradient of a vocabulary of so many tokens. */
export function embeddingClear(
  gpu: Gpu,
  { dWeights, models, vocabulary }: Pick<EmbeddingBackward, "dWeights" | "models"> & {
    vocabulary: number;
  },
): Dispatch {
  const { buffer, offset = 0, stride, model } = dWeights;
  const vec4s = vocabulary * stride / 4;
  return gpu.dispatch({
    label: "embedding_clear",
    code: clearCode,
    constants: { WG: WORKGROUP },
    params: [vec4s, offset / 4, model / 4],
    buffers: [buffer],
    workgroups: Math.ceil(vec4s / WORKGROUP),
    models,
  });
}

/**
 * Writes into `order` the indices of `tokens` sorted by token, earlier ones first (a counting
 * sort).
 */
export function tokenOrder(tokens: Uint32Array, vocabulary: number, order: Uint32Array): void {
  const next = new Uint32Array(vocabulary + 1);
  for (const token of tokens) next[token + 1]++;
  for (let token = 0; token < vocabulary; token++) next[token + 1] += next[token];
  for (let row = 0; row < tokens.length; row++) order[next[tokens[row]]++] = row;
}
