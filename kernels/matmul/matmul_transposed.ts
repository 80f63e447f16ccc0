/** `C = Aᵀ · B` over a bank of models, in each variant: the gradients of weights. */

import { type Matrix, padded, placement } from "../device/matrix.ts";
import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../device/gpu.ts";
import { remembered } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import { groupedText, type Groups } from "./groups.ts";
import { type Product, REGISTERS_WORKGROUP, registersWorkgroups } from "./matmul.ts";
import { joinSegments, sumParams } from "./matmul_join.ts";
import code from "./matmul_transposed.wgsl" with { type: "text" };
import bindings from "./matmul_transposed_bindings.wgsl" with { type: "text" };
import {
  matmulTransposedSubgroup,
  tilePlan,
  type TileShape,
} from "./matmul_transposed_subgroup.ts";
import tailCode from "./matmul_transposed_tail.wgsl" with { type: "text" };
import {
  chooseTile,
  countSplits,
  countWorkgroups,
  matmulTransposedWorkgroup,
  partsSize,
  type Tile,
} from "./matmul_workgroup.ts";

const REGISTERS = compose(code, {
  matmul_transposed_bindings: bindings,
  matmul_transposed_tail: tailCode,
});
/**
 * The size and the matrices that groups of rows stand for in `Aᵀ · B`: the rows are the terms of
 * its sums.
 */
const grouped = (text: string) =>
  groupedText(text, { rows: "k", matrices: ["a", "b"], binding: 5 });
const GROUPED_REGISTERS = grouped(REGISTERS);
const groupedWorkgroup = remembered((tile: Tile) => grouped(matmulTransposedWorkgroup(tile)));
const groupedSubgroup = remembered((shape: TileShape) => grouped(matmulTransposedSubgroup(shape)));

/** Arguments of {@link matmulTransposed}. */
export interface MatmulTransposed extends Product {
  /** f32 or bf16 `[models, k, m]`; b may be stored in either. */
  a: Matrix;
  /** `[models, k, n]`. */
  b: Matrix;
  /** f32 `[models, m, n]`. */
  c: Matrix;
  /** f32 `[models, m]`, rows padded to vec4s: takes the sums of `a`'s columns. */
  sums?: GpuBuffer;
  /**
   * Where in the buffer of `c` these sums go instead: offset and model stride in f32 values. They
   * add where `c` does. Only the workgroup variants can, see {@link sumsIntoProduct}.
   */
  sumsInC?: { offset: number; model: number };
  /**
   * Where the rows of each model lie in a and b, each of which holds the rows of all models; k is
   * then the largest number of rows of a model.
   */
  groups?: Groups;
  /**
   * Scratch of {@link matmulTransposedScratch} f32 values. Where it is large enough, the workgroup
   * variants split the long sums of small products.
   */
  parts?: GpuBuffer;
}

/**
 * Plans `c = aᵀ · b` (or `c += …`) for every model, and the sums of `a`'s columns where `sums` is
 * given.
 *
 * Throws `RangeError` where a matrix does not fit its buffer or `c` is not f32.
 */
export function matmulTransposed(gpu: Gpu, tensors: MatmulTransposed): Dispatch[] {
  const label = "matmul_transposed";
  const { models, m, n, k } = tensors;
  const a = placement(label, "a", tensors.a, k, m, models);
  const b = placement(label, "b", tensors.b, k, n, models);
  const c = placement(label, "c", tensors.c, m, n, models);
  if ((tensors.c.buffer.storage ?? "f32") !== "f32") {
    throw new RangeError(
      `Cannot plan ${label} as c must be f32, as gradients are: ` +
        `"${tensors.c.buffer.label}" is ${tensors.c.buffer.storage}`,
    );
  }
  const sumBytes = tensors.sums ? models * padded(m) * 4 : 0;
  if (tensors.sums && tensors.sums.bytes < sumBytes) {
    throw new RangeError(
      `Cannot plan ${label} as sums must lie inside "${tensors.sums.label}": they ` +
        `take ${sumBytes} bytes, the buffer has ` +
        `${tensors.sums.bytes}`,
    );
  }
  const tiled = sumsIntoProduct(gpu);
  const sumsInC = tensors.sumsInC &&
    { offset: tensors.sumsInC.offset / 4, model: tensors.sumsInC.model / 4 };
  const sums = tiled ? sumParams(tensors.sums, sumsInC) : [Number(tensors.sums !== undefined)];
  const params = [m, padded(n) / 4, k, ...a, ...b, ...c, ...sums];
  const buffers = [
    tensors.a.buffer,
    tensors.b.buffer,
    tensors.c.buffer,
    tensors.sums ?? gpu.emptyWritable,
  ];
  const n4 = padded(n) / 4;
  const splits = tiled && !tensors.groups; // only the device knows how many terms a group has
  const segments = splits ? countSplits(m, n4, k, models, tensors.tile) : 0;
  const fits = tensors.parts !== undefined &&
    4 * partsSize(m, n4, segments, models) <= tensors.parts.bytes;
  if (!tensors.parts || !fits || segments === 0) {
    const plan = variantPlan(gpu, tensors, params);
    if (tensors.groups) {
      plan.params.unshift(tensors.groups.first ?? 0);
      buffers.push(tensors.groups.buffer);
    }
    return [gpu.dispatch({ label, buffers, models, multiplications: m * n * k, ...plan })];
  }
  const tile = tensors.tile ?? chooseTile(m, n4, models);
  return [
    gpu.dispatch({
      label,
      code: matmulTransposedWorkgroup(tile),
      constants: { ACCUMULATE: 0, SPLIT: 1 },
      params,
      buffers: buffers.toSpliced(2, 1, tensors.parts),
      workgroups: countWorkgroups(tile, m, n4) * segments,
      models,
      multiplications: m * n * k,
    }),
    joinSegments(gpu, {
      label: "matmul_transposed_join",
      parts: tensors.parts,
      segments,
      c,
      sums: tensors.sums,
      sumsAt: sums,
      accumulate: tensors.accumulate,
      buffer: tensors.c.buffer,
      models,
      m,
      n4,
    }),
  ];
}

/**
 * Whether {@link matmulTransposed} can put the sums of columns next to its product in one buffer.
 */
export function sumsIntoProduct(gpu: Gpu): boolean {
  return gpu.variants.matmul.startsWith("workgroup");
}

/**
 * Returns the f32 values of scratch with which {@link matmulTransposed} may split its sums, 0 where
 * it would not.
 */
export function matmulTransposedScratch(
  { m, n, k, models }: Pick<MatmulTransposed, "m" | "n" | "k" | "models">,
): number {
  const n4 = padded(n) / 4;
  return partsSize(m, n4, countSplits(m, n4, k, models), models);
}

function variantPlan(
  gpu: Gpu,
  { models, m, n, accumulate = false, groups, tile: wanted }: MatmulTransposed,
  params: number[],
): Omit<DispatchPlan, "label" | "buffers" | "models"> {
  const n4 = padded(n) / 4;
  const ACCUMULATE = Number(accumulate);
  if (gpu.variants.matmul === "subgroup") {
    const { shape, workgroups } = tilePlan(m, n4);
    return {
      code: (groups ? groupedSubgroup : matmulTransposedSubgroup)(shape),
      params: [ACCUMULATE, ...params],
      workgroups,
    };
  }
  if (gpu.variants.matmul.startsWith("workgroup")) {
    const tile = wanted ?? chooseTile(m, n4, models);
    const code = (groups ? groupedWorkgroup : matmulTransposedWorkgroup)(tile);
    return { code, constants: { ACCUMULATE }, params, workgroups: countWorkgroups(tile, m, n4) };
  }
  const constants = { WG: REGISTERS_WORKGROUP, ACCUMULATE };
  return {
    code: groups ? GROUPED_REGISTERS : REGISTERS,
    constants,
    params,
    workgroups: registersWorkgroups(m, n4),
  };
}
