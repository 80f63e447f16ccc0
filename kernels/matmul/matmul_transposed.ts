/** `C = Aᵀ · B` over a bank of models, in each form: the gradients of weights. */

import { type Matrix, padded, placement } from "../device/matrix.ts";
import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose } from "../device/wgsl.ts";
import { REGISTERS_WORKGROUP, registersWorkgroups } from "./matmul.ts";
import code from "./matmul_transposed.wgsl" with { type: "text" };
import { matmulTransposedSubgroup, tilePlan } from "./matmul_transposed_subgroup.ts";
import tailCode from "./matmul_transposed_tail.wgsl" with { type: "text" };
import joinCode from "./matmul_transposed_join.wgsl" with { type: "text" };
import {
  chooseTile,
  matmulTransposedWorkgroup,
  partsSize,
  splitsOf,
  type Tile,
  workgroupsOf,
} from "./matmul_workgroup.ts";

const REGISTERS = compose(code, { matmul_transposed_tail: tailCode });

/** Arguments of {@link matmulTransposed}. */
export interface MatmulTransposed {
  /** f32 or bf16 `[models, k, m]`, as b. */
  a: Matrix;
  /** `[models, k, n]`. */
  b: Matrix;
  /** f32 `[models, m, n]`. */
  c: Matrix;
  /** Number of models. */
  models: number;
  /** Rows of the product. */
  m: number;
  /** Columns of the product. */
  n: number;
  /** Terms of each sum. */
  k: number;
  /** Adds into `c` instead of writing it. */
  accumulate?: boolean;
  /** f32 `[models, m]`, rows padded to vec4s: takes the sums of `a`'s columns. */
  sums?: GpuBuffer;
  /** Scratch of {@link matmulTransposedScratch} f32 values: where it is large enough the workgroup forms split long sums of small products. */
  parts?: GpuBuffer;
  /** The tile of the workgroup forms, instead of the one that the shape makes best; it changes no bit. */
  tile?: Tile;
}

/**
 * Plans `c = aᵀ · b` (or `c += …`) for every model, and the sums of `a`'s columns where `sums` is given.
 *
 * Throws `RangeError` where a matrix does not fit its buffer or `c` is not f32.
 */
export function matmulTransposed(gpu: Gpu, t: MatmulTransposed): Dispatch[] {
  const label = "matmul_transposed";
  const { models, m, n, k } = t;
  const a = placement(label, "a", t.a, k, m, models);
  const b = placement(label, "b", t.b, k, n, models);
  const c = placement(label, "c", t.c, m, n, models);
  if ((t.c.buffer.storage ?? "f32") !== "f32") {
    throw new RangeError(
      `Cannot plan ${label} as c must be f32, as gradients are: "${t.c.buffer.label}" is ${t.c.buffer.storage}`,
    );
  }
  const sumBytes = t.sums ? models * padded(m) * 4 : 0;
  if (t.sums && t.sums.bytes < sumBytes) {
    throw new RangeError(
      `Cannot plan ${label} as sums must lie inside "${t.sums.label}": they take ${sumBytes} bytes, the buffer has ` +
        `${t.sums.bytes}`,
    );
  }
  const params = [m, padded(n) / 4, k, ...a, ...b, ...c, Number(t.sums !== undefined)];
  const buffers = [t.a.buffer, t.b.buffer, t.c.buffer, t.sums ?? gpu.emptyWritable];
  const n4 = padded(n) / 4;
  const segments = gpu.variants.matmul.startsWith("workgroup") ? splitsOf(m, n4, k, models, t.tile) : 0;
  const fits = t.parts !== undefined && 4 * partsSize(m, n4, segments, models) <= t.parts.bytes;
  if (!t.parts || !fits || segments === 0) {
    return [gpu.dispatch({ label, buffers, models, ...formPlan(gpu, t, params) })];
  }
  const tile = t.tile ?? chooseTile(m, n4, models);
  const withSums = Number(t.sums !== undefined);
  return [
    gpu.dispatch({
      label,
      code: matmulTransposedWorkgroup(tile),
      constants: { ACCUMULATE: 0, SPLIT: 1 },
      params,
      buffers: buffers.toSpliced(2, 1, t.parts),
      workgroups: workgroupsOf(tile, m, n4) * segments,
      models,
    }),
    gpu.dispatch({
      label: "matmul_transposed_join",
      code: joinCode,
      constants: { WG: JOIN_WORKGROUP, ACCUMULATE: Number(t.accumulate ?? false) },
      params: [m, n4, segments, ...c, withSums],
      buffers: [t.parts, t.c.buffer, t.sums ?? gpu.emptyWritable],
      workgroups: Math.ceil((m * n4 + Math.ceil(m / 4) * withSums) / JOIN_WORKGROUP),
      models,
    }),
  ];
}

const JOIN_WORKGROUP = 64;

/** Returns the f32 values of scratch with which {@link matmulTransposed} may split its sums, 0 where it would not. */
export function matmulTransposedScratch(
  { m, n, k, models }: Pick<MatmulTransposed, "m" | "n" | "k" | "models">,
): number {
  const n4 = padded(n) / 4;
  return partsSize(m, n4, splitsOf(m, n4, k, models), models);
}

function formPlan(
  gpu: Gpu,
  { models, m, n, accumulate = false, tile: wanted }: MatmulTransposed,
  params: number[],
): Omit<DispatchPlan, "label" | "buffers" | "models"> {
  const n4 = padded(n) / 4;
  const ACCUMULATE = Number(accumulate);
  if (gpu.variants.matmul === "subgroup") {
    const { shape, workgroups } = tilePlan(m, n4);
    return { code: matmulTransposedSubgroup(shape), params: [ACCUMULATE, ...params], workgroups };
  }
  if (gpu.variants.matmul.startsWith("workgroup")) {
    const tile = wanted ?? chooseTile(m, n4, models);
    const workgroups = workgroupsOf(tile, m, n4);
    return { code: matmulTransposedWorkgroup(tile), constants: { ACCUMULATE }, params, workgroups };
  }
  const constants = { WG: REGISTERS_WORKGROUP, ACCUMULATE };
  return { code: REGISTERS, constants, params, workgroups: registersWorkgroups(m, n4) };
}
