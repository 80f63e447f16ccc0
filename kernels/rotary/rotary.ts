/**
 * Rotary positions, and the layout change between the fused projection and heads, forward and
 * backward.
 */

import forwardCode from "./rotary_forward.wgsl" with { type: "text" };
import backwardCode from "./rotary_backward.wgsl" with { type: "text" };
import { type Dispatch, floatBits, type Gpu, type GpuBuffer } from "../device/gpu.ts";
import { padded } from "../device/matrix.ts";

/** Invocations of a workgroup: on a GPU two subgroups. */
const workgroupSize = (gpu: Gpu) => gpu.variants.rows === "workgroup" ? 64 : 16;

/** Sizes of a batch. */
export interface BatchShape {
  /** Number of models. */
  models: number;
  /** Sequences per model. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
}

/** Sizes of attention, shared by the rotary and attention kernels. */
export interface AttentionShape extends BatchShape {
  /** Heads. */
  heads: number;
  /** Columns of one head, even. */
  headSize: number;
  /**
   * Heads of keys and values, a divisor of `heads`: each is shared by equally many neighbouring
   * heads of queries. Default: `heads`.
   */
  keyHeads?: number;
}

/** Returns how many heads of queries share a head of keys and values. */
export function sharingHeads({ heads, keyHeads = heads }: AttentionShape): number {
  return heads / keyHeads;
}

/** Returns the columns of a row of the fused projection: queries, keys and values of all heads. */
export function fusedColumns({ heads, headSize, keyHeads = heads }: AttentionShape): number {
  return (heads + 2 * keyHeads) * headSize;
}

/** Where the queries, keys and values of a head begin in a row of the fused projection. */
function fusedPlaces({ heads, headSize, keyHeads = heads }: AttentionShape, apart: boolean) {
  return apart
    ? [headSize, heads * headSize, (heads + keyHeads) * headSize, headSize]
    : [3 * headSize, headSize, 2 * headSize, 3 * headSize];
}

/**
 * Returns the f32 values of a tensor `[models, batch, heads, length, headSize]`, each head padded
 * to vec4s.
 */
export function headedSize({ models, batch, length, heads, headSize }: AttentionShape): number {
  return models * batch * heads * length * padded(headSize);
}

/** Returns cos and sin `[length, headSize / 2, 2]` of every position and pair of columns. */
export function rotaryAngles(length: number, headSize: number, base = 10_000): Float32Array {
  const half = headSize / 2;
  const angles = new Float32Array(length * half * 2);
  for (let position = 0; position < length; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * base ** (-2 * i / headSize);
      angles[(position * half + i) * 2] = Math.cos(angle);
      angles[(position * half + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return angles;
}

/** The cache of keys and values that outlive one call, with a slot for each sequence. */
export interface KeyValueCache {
  /**
   * u32 `[batch, 2]`, written by the host before each call: the slot of each sequence of the batch,
   * and the position of its first row. All models share them. A sequence whose slot is `slots` is
   * idle: nothing is written for it.
   */
  places: GpuBuffer;
  /** Sequences that k and v have room for. */
  slots: number;
  /** Positions of each. */
  capacity: number;
}

/**
 * Returns the last params of kernels that take a cache: positions per slot, slots, and whether
 * there is a cache.
 */
export function cacheParams({ batch, length }: AttentionShape, cache?: KeyValueCache): number[] {
  return cache ? [cache.capacity, cache.slots, 1] : [length, batch, 0];
}

function rotary(
  gpu: Gpu,
  shape: AttentionShape,
  label: string,
  code: string,
  buffers: GpuBuffer[],
  { apart = false, cache }: { apart?: boolean; cache?: KeyValueCache },
): Dispatch {
  const { models, batch, length, heads, headSize } = shape;
  const SHARE = sharingHeads(shape);
  if (SHARE > 1 && !apart) {
    throw new RangeError(
      `Cannot plan ${label} as shared keys must lie apart from queries: ${SHARE} heads share one`,
    );
  }
  const rows = batch * length;
  const WG = workgroupSize(gpu);
  const width = fusedColumns(shape);
  const sizes = [rows, padded(width), heads, headSize, padded(headSize), length];
  const places = [...fusedPlaces(shape, apart), width];
  return gpu.dispatch({
    label,
    code,
    buffers,
    models,
    constants: { WG, PAIRS: Number(headSize % 4 === 0), SHARE },
    params: [
      ...sizes,
      floatBits(1 / Math.sqrt(headSize)),
      ...places,
      ...cacheParams(shape, cache),
    ],
    workgroups: Math.ceil((rows * heads) / WG),
  });
}

/** Arguments of {@link rotaryForward}. */
interface RotaryForward {
  /** Sizes. */
  shape: AttentionShape;
  /**
   * f32 `[models, batch · length, heads, 3, headSize]`, or with `apart` all queries, then all keys,
   * then all values of a row; rows padded to vec4s.
   */
  qkv: GpuBuffer;
  /** Whether queries, keys and values lie apart. Default: each head's lie together. */
  apart?: boolean;
  /** f32 from {@link rotaryAngles}. */
  angles: GpuBuffer;
  /**
   * f32 or bf16, and so are k and v: {@link headedSize} values, rotated and divided by √headSize.
   */
  q: GpuBuffer;
  /**
   * {@link headedSize} values of the heads of keys (with a cache those of `slots` sequences of
   * `capacity` tokens), rotated.
   */
  k: GpuBuffer;
  /** The layout of `k`. */
  v: GpuBuffer;
  /**
   * The cache that takes the keys and values of each sequence. Without it they start at position 0.
   */
  cache?: KeyValueCache;
}

/** Plans the split of `qkv` into heads with rotary positions on q and k. */
export function rotaryForward(gpu: Gpu, tensors: RotaryForward): Dispatch {
  const { shape, qkv, angles, q, k, v, apart, cache } = tensors;
  const buffers = [qkv, angles, cache?.places ?? gpu.empty, q, k, v];
  return rotary(gpu, shape, "rotary_forward", forwardCode, buffers, { apart, cache });
}

/** Arguments of {@link rotaryBackward}. */
interface RotaryBackward {
  /** Sizes. */
  shape: AttentionShape;
  /** f32 {@link headedSize}. */
  dQ: GpuBuffer;
  /** f32 {@link headedSize}, of each head of queries: those that share a head are added here. */
  dK: GpuBuffer;
  /** The layout of `dK`. */
  dV: GpuBuffer;
  /** f32 from {@link rotaryAngles}. */
  angles: GpuBuffer;
  /** f32, laid out as `qkv` of the forward pass. */
  dQkv: GpuBuffer;
  /** Whether queries, keys and values lie apart there. */
  apart?: boolean;
}

/** Plans the gradient of {@link rotaryForward}. */
export function rotaryBackward(gpu: Gpu, tensors: RotaryBackward): Dispatch {
  const { shape, dQ, dK, dV, angles, dQkv, apart } = tensors;
  const buffers = [dQ, dK, dV, angles, dQkv];
  return rotary(gpu, shape, "rotary_backward", backwardCode, buffers, { apart });
}

/** Rotates one head's vector (`[headSize]`) at `position`, in f64; `direction` -1 turns it back. */
export function rotateReference(
  x: ArrayLike<number>,
  position: number,
  direction = 1,
  base = 10_000,
): Float64Array {
  const half = x.length / 2;
  const y = new Float64Array(x.length);
  for (let i = 0; i < half; i++) {
    const angle = direction * position * base ** (-2 * i / x.length);
    y[i] = x[i] * Math.cos(angle) - x[half + i] * Math.sin(angle);
    y[half + i] = x[half + i] * Math.cos(angle) + x[i] * Math.sin(angle);
  }
  return y;
}
