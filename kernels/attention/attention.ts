/**
 * Causal multi-head attention over heads split by `rotary.ts`, forward and backward. Heads of
 * queries may share heads of keys and values (grouped-query attention).
 */

import forwardCode from "./attention_forward.wgsl" with { type: "text" };
import headsCode from "./attention_backward_heads.wgsl" with { type: "text" };
import queryCode from "./attention_backward_query.wgsl" with { type: "text" };
import keyCode from "./attention_backward_key.wgsl" with { type: "text" };
import {
  attentionBackwardSubgroup,
  attentionForwardSubgroup,
  type HeadShape,
} from "./attention_subgroup.ts";
import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../device/gpu.ts";
import { padded } from "../device/matrix.ts";
import {
  attentionBackwardKeyWorkgroup,
  attentionBackwardQueryWorkgroup,
  attentionForwardWorkgroup,
  type BlockPass,
  type BlockShape,
  keepsQuery,
  rowsOfBlock,
} from "./attention_workgroup.ts";
import { compose } from "../device/wgsl.ts";
import {
  type AttentionShape,
  cacheParams,
  headedSize,
  type KeyValueCache,
  sharingHeads,
} from "../rotary/rotary.ts";

const WORKGROUP = 16;
/**
 * Keys per block of the subgroup variants: as many as fit the first-level cache with the rest of a
 * block.
 */
const FORWARD_BLOCK = 64;
const BACKWARD_BLOCK = 32;
/**
 * Largest heads for which the subgroup variant computes the product of output and gradient itself,
 * anew for each block of keys. Of larger heads a lane holds more than one vec4; there a kernel of
 * its own costs less.
 */
const MOST_MERGED = 32;

/**
 * Writes the head size, and how many heads share keys, into a WGSL text: arrays that shall lie in
 * registers need a constant length.
 */
const sized = (code: string, shape: AttentionShape) =>
  compose(code, {}, { HEAD4: padded(shape.headSize) / 4, SHARE: sharingHeads(shape) });

/** Plans a call whose params are `count`, the sizes of heads, and `lastParams`. */
function planAttention(
  gpu: Gpu,
  { models, batch, length, heads, headSize }: AttentionShape,
  count: number,
  call: Omit<DispatchPlan, "params" | "models">,
  lastParams: number[] = [],
): Dispatch {
  const params = [count, length, heads, headSize, padded(heads * headSize), ...lastParams];
  // Forward two products of half a square each; no kernel of the backward pass has more than four.
  const multiplications = 2 * batch * heads * length * length * headSize;
  return gpu.dispatch({ ...call, params, models, multiplications });
}

const countQueries = ({ batch, heads, length }: AttentionShape) => batch * heads * length;

/** Plans an invocation per query or key. */
function planInvocations(
  gpu: Gpu,
  shape: AttentionShape,
  label: string,
  code: string,
  buffers: GpuBuffer[],
  cache?: KeyValueCache,
): Dispatch {
  const workgroups = Math.ceil(countQueries(shape) / WORKGROUP);
  const call = { label, code, constants: { WG: WORKGROUP }, buffers, workgroups };
  return planAttention(gpu, shape, countQueries(shape), call, cacheParams(shape, cache));
}

/**
 * Plans one workgroup per head of a sequence, with the text that `write` gives for this head size.
 */
function planHeads(
  gpu: Gpu,
  shape: AttentionShape,
  label: string,
  write: (sizes: HeadShape) => string,
  buffers: GpuBuffer[],
  largestBlock: number,
): Dispatch {
  const { batch, length, heads, headSize } = shape;
  const block = Math.min(largestBlock, Math.ceil(length / 8) * 8);
  const code = write({ columns: padded(headSize), block, share: sharingHeads(shape) });
  return planAttention(gpu, shape, countQueries(shape), {
    label,
    code,
    buffers,
    workgroups: batch * heads,
  }, [
    length,
  ]);
}

/** Plans one workgroup per block of queries or keys of a head, with the text that `write` gives. */
function planBlocks(
  gpu: Gpu,
  shape: AttentionShape,
  pass: BlockPass,
  { label, write, rows: wanted }: {
    label: string;
    write: (blocks: BlockShape) => string;
    rows?: number;
  },
  buffers: GpuBuffer[],
): Dispatch {
  const { batch, length, heads, headSize } = shape;
  const head4 = padded(headSize) / 4;
  const rows = wanted ?? rowsOfBlock(pass, { head4, length });
  const workgroups = batch * heads * Math.ceil(length / rows);
  return planAttention(gpu, shape, batch * heads, {
    label,
    code: write({ head4, rows, share: sharingHeads(shape) }),
    buffers,
    workgroups,
  });
}

/** Returns the f32 values of scratch that {@link attentionForward} needs apart from its results. */
export function attentionScratch(shape: AttentionShape): { running: number; sums: number } {
  const { models, batch, heads, length } = shape;
  return { running: models * batch * heads * length * 16, sums: headedSize(shape) };
}

/** Arguments of {@link attentionForward}. */
interface AttentionForward {
  /** Sizes. */
  shape: AttentionShape;
  /**
   * f32 or bf16, and so are k, v and out: `[models, batch, heads, length, headSize]`, heads padded
   * to vec4s, rotated and scaled.
   */
  q: GpuBuffer;
  /** The same layout of `keyHeads` (of `slots` and `capacity` with a cache), rotated. */
  k: GpuBuffer;
  /** The layout of `k`. */
  v: GpuBuffer;
  /** `[models, batch, length, heads · headSize]`, rows padded to vec4s. */
  out: GpuBuffer;
  /** f32 `[models, batch, heads, length]`: log of the softmax's denominator. */
  lse: GpuBuffer;
  /**
   * The cache that holds the keys of each sequence, and the position of its first query. Without it
   * the first query is at position 0. With it the variant `query` runs.
   */
  cache?: KeyValueCache;
  /**
   * Scratch of {@link attentionScratch} f32 values; without it the variant that needs none runs.
   */
  scratch?: { running: GpuBuffer; sums: GpuBuffer };
  /**
   * Queries or keys that a workgroup of the `workgroup` variant holds, 32 or 64. Default: as the
   * shape makes best. It changes no bit.
   */
  blockRows?: number;
}

/** Plans `out[i] = Σ_{j ≤ i} softmax_j(q[i]·k[j]) v[j]` for every head. */
export function attentionForward(gpu: Gpu, tensors: AttentionForward): Dispatch {
  const { shape, q, k, v, out, lse, cache, scratch } = tensors;
  if (gpu.variants.attention === "subgroup" && scratch && !cache) {
    const buffers = [q, k, v, out, lse, scratch.running, scratch.sums];
    return planHeads(
      gpu,
      shape,
      "attention_forward",
      attentionForwardSubgroup,
      buffers,
      FORWARD_BLOCK,
    );
  }
  if (gpu.variants.attention === "workgroup" && !cache) {
    const write = (blocks: BlockShape) =>
      attentionForwardWorkgroup({ ...blocks, keep: keepsQuery(gpu, blocks) });
    const variant = { label: "attention_forward", write, rows: tensors.blockRows };
    return planBlocks(gpu, shape, "forward", variant, [q, k, v, out, lse]);
  }
  const buffers = [q, k, v, cache?.places ?? gpu.empty, out, lse];
  return planInvocations(
    gpu,
    shape,
    "attention_forward",
    sized(forwardCode, shape),
    buffers,
    cache,
  );
}

/**
 * Arguments of {@link attentionBackward}: those of the forward pass, their gradients and scratch.
 */
interface AttentionBackward extends AttentionForward {
  /** f32 in any case, and so is everything below; the layout of `out`. */
  dOut: GpuBuffer;
  /** Scratch of the variants that first split `dOut` by heads; the layout of `q`. */
  dHeads: GpuBuffer;
  /** Scratch of the same variants; the layout of `lse`. */
  product: GpuBuffer;
  /** f32, the layout of `q`. */
  dQ: GpuBuffer;
  /** f32, the layout of `q`: of each head of queries, also where several share keys. */
  dK: GpuBuffer;
  /** The layout of `dK`. */
  dV: GpuBuffer;
}

/** Plans the gradients of q, k and v. */
export function attentionBackward(gpu: Gpu, tensors: AttentionBackward): Dispatch[] {
  const { shape, q, k, v, out, lse, dOut, dHeads, product, dQ, dK, dV } = tensors;
  const { headSize } = shape;
  const variant = gpu.variants.attention;
  const merged = headSize % 4 === 0 &&
    (variant === "workgroup" || variant === "subgroup" && headSize <= MOST_MERGED);
  const heads = merged ? [] : [
    planInvocations(gpu, shape, "attention_backward_heads", headsCode, [
      dOut,
      out,
      dHeads,
      product,
    ]),
  ];
  const rowInputs = merged ? [dOut, lse, out] : [dHeads, lse, product];
  const inputs = [q, k, v, ...rowInputs];
  if (variant === "subgroup") {
    const write = (sizes: HeadShape) => attentionBackwardSubgroup({ ...sizes, merged });
    const buffers = [...inputs, dQ, dK, dV];
    return [...heads, planHeads(gpu, shape, "attention_backward", write, buffers, BACKWARD_BLOCK)];
  }
  if (variant === "workgroup") {
    // Where heads are merged, the pass of queries leaves the products for that of keys.
    const [queryInputs, keyInputs] = merged
      ? [[dOut, lse, out, product], [dOut, lse, product]]
      : [rowInputs, rowInputs];
    const passes = [
      ["query", attentionBackwardQueryWorkgroup, [q, k, v, ...queryInputs, dQ]],
      ["key", attentionBackwardKeyWorkgroup, [q, k, v, ...keyInputs, dK, dV]],
    ] as const;
    return [
      ...heads,
      ...passes.map(([pass, text, buffers]) => {
        const write = (blocks: BlockShape) => text({ ...blocks, merged });
        const variant = { label: `attention_backward_${pass}`, write, rows: tensors.blockRows };
        return planBlocks(gpu, shape, pass, variant, [...buffers]);
      }),
    ];
  }
  return [
    ...heads,
    planInvocations(gpu, shape, "attention_backward_query", sized(queryCode, shape), [
      ...inputs,
      dQ,
    ]),
    planInvocations(gpu, shape, "attention_backward_key", sized(keyCode, shape), [
      ...inputs,
      dK,
      dV,
    ]),
  ];
}

/** One head of one sequence, in f64: `q`, `k`, `v` are `[length, headSize]`, `q` already scaled. */
export function attentionForwardReference(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  headSize: number,
): { out: Float64Array; lse: Float64Array; weights: Float64Array } {
  const length = q.length / headSize;
  const out = new Float64Array(q.length);
  const lse = new Float64Array(length);
  const weights = new Float64Array(length * length);
  for (let i = 0; i < length; i++) {
    const scores = Array.from({ length: i + 1 }, (_, j) => dotRows(q, i, k, j, headSize));
    const peak = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - peak), 0);
    lse[i] = peak + Math.log(total);
    scores.forEach((score, j) => {
      const weight = Math.exp(score - lse[i]);
      weights[i * length + j] = weight;
      for (let c = 0; c < headSize; c++) out[i * headSize + c] += weight * v[j * headSize + c];
    });
  }
  return { out, lse, weights };
}

/**
 * The gradients of one head of one sequence, in f64: the derivative of
 * {@link attentionForwardReference}.
 */
export function attentionBackwardReference(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  dOut: ArrayLike<number>,
  headSize: number,
): { dQ: Float64Array; dK: Float64Array; dV: Float64Array } {
  const length = q.length / headSize;
  const { weights } = attentionForwardReference(q, k, v, headSize);
  const dQ = new Float64Array(q.length);
  const dK = new Float64Array(q.length);
  const dV = new Float64Array(q.length);
  for (let i = 0; i < length; i++) {
    const gains = Array.from({ length: i + 1 }, (_, j) => dotRows(dOut, i, v, j, headSize));
    const mean = gains.reduce((sum, gain, j) => sum + gain * weights[i * length + j], 0);
    gains.forEach((gain, j) => {
      const weight = weights[i * length + j];
      const slope = weight * (gain - mean);
      for (let c = 0; c < headSize; c++) {
        dV[j * headSize + c] += weight * dOut[i * headSize + c];
        dQ[i * headSize + c] += slope * k[j * headSize + c];
        dK[j * headSize + c] += slope * q[i * headSize + c];
      }
    });
  }
  return { dQ, dK, dV };
}

function dotRows(
  a: ArrayLike<number>,
  i: number,
  b: ArrayLike<number>,
  j: number,
  columns: number,
): number {
  let sum = 0;
  for (let c = 0; c < columns; c++) sum += a[i * columns + c] * b[j * columns + c];
  return sum;
}
