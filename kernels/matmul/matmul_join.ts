/** Adds the segments of long sums that the workgroup variants of products leave apart. */

import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import code from "./matmul_join.wgsl" with { type: "text" };

const WORKGROUP = 64;

/** Arguments of {@link joinSegments}. */
interface JoinSegments {
  /** Label of the dispatch. */
  label: string;
  /** f32 `[models, segments, 4 (m · n4 + ⌈m / 4⌉)]`. */
  parts: GpuBuffer;
  /** Number of segments. */
  segments: number;
  /** f32: takes the product. */
  buffer: GpuBuffer;
  /** Offset, row stride and model stride of the product in it, in vec4s. */
  c: readonly number[];
  /** f32 `[models, m]`, rows padded to vec4s: takes the sums behind a part's elements. */
  sums?: GpuBuffer;
  /** Where these go, from {@link sumParams}. Default: nowhere. */
  sumsAt?: readonly number[];
  /** Number of models. */
  models: number;
  /** Rows of the product. */
  m: number;
  /** Vec4s of columns of the product. */
  n4: number;
  /** Adds to the product instead of writing it. */
  accumulate?: boolean;
}

/** Plans the sums over segments, in ascending order. */
export function joinSegments(gpu: Gpu, tensors: JoinSegments): Dispatch {
  const {
    label,
    parts,
    segments,
    buffer,
    c,
    sums,
    sumsAt = sumParams(),
    models,
    m,
    n4,
    accumulate = false,
  } = tensors;
  return gpu.dispatch({
    label,
    code,
    constants: { WG: WORKGROUP, ACCUMULATE: Number(accumulate) },
    params: [m, n4, segments, ...c, ...sumsAt],
    buffers: [parts, buffer, sums ?? gpu.emptyWritable],
    workgroups: Math.ceil((m * n4 + Math.ceil(m / 4) * Math.min(1, sumsAt[0])) / WORKGROUP),
    models,
  });
}

/**
 * Returns the params that say where sums of columns go: nowhere (0), into a buffer of their own
 * (1), or into the product's buffer (2). The offset and the model stride there follow.
 */
export function sumParams(sums?: GpuBuffer, inC?: { offset: number; model: number }): number[] {
  return inC ? [2, inC.offset, inC.model] : [Number(sums !== undefined), 0, 0];
}
