/** `C = A · B` over a bank of models with a fused tail, in each variant. */

import { type Matrix, padded, placement } from "../device/matrix.ts";
import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose, replace } from "../device/wgsl.ts";
import { remembered } from "../device/subgroup.ts";
import { groupedText, type Groups } from "./groups.ts";
import { swigluForward } from "../swiglu/swiglu.ts";
import code from "./matmul.wgsl" with { type: "text" };
import tailCode from "./matmul_tail.wgsl" with { type: "text" };
import { matmulSubgroup, MOST_TERMS, panelPlan, type PanelShape } from "./matmul_subgroup.ts";
import { joinSegments } from "./matmul_join.ts";
import {
  chooseTile,
  countWorkgroups,
  LONG_SEGMENT,
  matmulWorkgroup,
  partsSize,
  planLong,
  type Tile,
} from "./matmul_workgroup.ts";

/** What happens to the product before it is stored. */
export type Tail = typeof TAILS[number];

const TAILS = ["none", "bias", "bias_gelu", "bias_residual", "gelu_slope", "residual"] as const;

/** Sizes of a product over a bank of models, and how it is done. */
export interface Product {
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
  /**
   * The tile of the workgroup variants. Default: the one that suits the shape best. It changes no
   * bit of the result.
   */
  tile?: Tile;
}

/** Arguments of {@link matmul}. */
export interface Matmul extends Product {
  /** f32 or bf16 `[models, m, k]`; b, c and extra may each be stored in either. */
  a: Matrix;
  /** `[models, k, n]`; its padding columns are zero. */
  b: Matrix;
  /** `[models, m, n]`. */
  c: Matrix;
  /** f32 `[models, n]`, for the tails with a bias. */
  bias?: Matrix;
  /**
   * `[models, m, n]`: the sum before GELU (written by `bias_gelu`, read by `gelu_slope`), or the
   * residual.
   */
  extra?: Matrix;
  /**
   * f32 `[models, m, n]`, scratch. The variants that take several passes over the terms keep their
   * sums there where `c` is bf16. Without it, such a product is computed by a variant that takes
   * one pass.
   */
  sums?: GpuBuffer;
  /** Default `none`. */
  tail?: Tail;
  /**
   * Whether it is the forward product of a linear layer: `workgroup_f16` takes no other in f16.
   * Default: where it has a bias.
   */
  linear?: boolean;
  /**
   * Where the rows of each model lie in a, c, extra and sums, each of which holds the rows of all
   * models; m is then the largest number of rows of a model. Rows beyond a model's own are neither
   * read nor written.
   */
  groups?: Groups;
}

/** Invocations of a workgroup of the register variant. */
export const REGISTERS_WORKGROUP = 16;
const REGISTERS = compose(code, { matmul_tail: tailCode });
/**
 * The size and the matrices that groups of rows stand for in `A · B`, and the binding that says
 * where they lie.
 */
const GROUPED = { rows: "m", matrices: ["a", "extra", "c"], binding: 6 } as const;
const GROUPED_REGISTERS = groupedText(REGISTERS, GROUPED);
const groupedWorkgroup = remembered((shape: Parameters<typeof matmulWorkgroup>[0]) =>
  groupedText(matmulWorkgroup(shape), { ...GROUPED, binding: shape.holds === "f16" ? 7 : 6 })
);

/**
 * Counts the workgroups that cover `m` rows and `n4` vec4s of columns with tiles of 8 × 8 elements,
 * one per invocation.
 */
export function registersWorkgroups(m: number, n4: number): number {
  return Math.ceil((Math.ceil(n4 / 2) * Math.ceil(m / 8)) / REGISTERS_WORKGROUP);
}

/**
 * Returns whether {@link matmul} takes several passes over the terms on this device, in which case
 * it can use `sums`.
 */
export function takesPasses(gpu: Gpu): boolean {
  return gpu.variants.matmul === "subgroup";
}

/**
 * Reads how many factors beyond 65,504 the device's products in f16 have taken as 65,504 so far,
 * once per product; 0 where no variant rounds to f16. The count begins again after 2^32.
 */
export async function saturatedValues(gpu: Gpu): Promise<number> {
  if (gpu.variants.matmul !== "workgroup_f16") return 0;
  const [count] = await gpu.read([{ buffer: gpu.saturated, bytes: 4 }]);
  return new Uint32Array(count)[0];
}

/**
 * Plans `c = tail(a · b)` (or `c += …`) for every model. Throws `RangeError` where a matrix does
 * not fit its buffer.
 */
export function matmul(gpu: Gpu, tensors: Matmul): Dispatch {
  const { tail = "none", bias, extra } = tensors;
  const withBias = tail.startsWith("bias");
  const withExtra = tail !== "none" && tail !== "bias";
  if (withBias !== (bias !== undefined) || withExtra !== (extra !== undefined)) {
    throw new TypeError(
      "Cannot plan matmul as bias and extra must be given exactly where the tail " +
        `uses them: it is ${tail}`,
    );
  }
  const variant = gpu.variants.matmul;
  const { params, buffers } = operands(gpu, tensors);
  const plan = variant === "subgroup" && panels(tensors, params, buffers) ||
    (variant.startsWith("workgroup")
      ? tiles(gpu, tensors, params, buffers)
      : registers(tensors, params, buffers));
  if (tensors.groups) {
    plan.params.unshift(tensors.groups.first ?? 0);
    plan.buffers = [...plan.buffers, tensors.groups.buffer];
  }
  return dispatchProduct(gpu, tensors, plan);
}

function dispatchProduct(gpu: Gpu, { models, m, n, k }: Product, plan: VariantPlan): Dispatch {
  return gpu.dispatch({ label: "matmul", models, multiplications: m * n * k, ...plan });
}

/**
 * Plans a product without a tail as {@link matmul} does, to the same bits. The workgroup variants
 * split long sums of few tiles where `parts`, scratch of {@link matmulScratch} f32 values, is large
 * enough.
 */
export function matmulSplit(
  gpu: Gpu,
  { parts, ...tensors }: Omit<Matmul, "tail" | "bias" | "extra" | "groups"> & { parts?: GpuBuffer },
): Dispatch[] {
  const { models, m, n, k, c, accumulate } = tensors;
  const n4 = padded(n) / 4;
  const { tile, segments } = planLong({ m, n4, k, models });
  const fits = parts !== undefined && 4 * partsSize(m, n4, segments, models) <= parts.bytes;
  if (!gpu.variants.matmul.startsWith("workgroup") || !isLong(tensors) || segments === 0 || !fits) {
    return [matmul(gpu, tensors)];
  }
  const { params, buffers } = operands(gpu, tensors);
  const chosenTile = tensors.tile ?? tile;
  return [
    gpu.dispatch({
      label: "matmul",
      code: matmulWorkgroup({ tile: chosenTile, holds: "f32", segmented: true }),
      constants: { TAIL: 0, ACCUMULATE: 0, SPLIT: 1 },
      params,
      buffers: buffers.toSpliced(4, 1, parts),
      workgroups: countWorkgroups(chosenTile, m, n4) * segments,
      models,
      multiplications: m * n * k,
    }),
    joinSegments(gpu, {
      label: "matmul_join",
      parts,
      segments,
      buffer: c.buffer,
      c: params.slice(-3),
      models,
      m,
      n4,
      accumulate,
    }),
  ];
}

/** Arguments of {@link matmulGated}. */
interface MatmulGated extends Omit<Matmul, "tail" | "bias" | "extra" | "groups" | "accumulate"> {
  /** f32 or bf16 `[models · m, n / 2]`: what the left half of `c` lets through of its right half. */
  gated: GpuBuffer;
}

/**
 * Plans `c = a · b` and `gated = c0 · sigmoid(c0) · c1`, for the halves c0 and c1 of the columns of
 * `c`; n is a multiple of 8. The subgroup variant takes one dispatch.
 */
export function matmulGated(gpu: Gpu, { gated, ...tensors }: MatmulGated): Dispatch[] {
  const { models, m, n, c } = tensors;
  const inner = n / 2;
  if (gpu.variants.matmul === "subgroup") {
    const extra = { buffer: gated, stride: inner, model: m * inner };
    const { params, buffers } = operands(gpu, { ...tensors, extra }, inner);
    const plan = panels({ ...tensors, extra }, params, buffers, { gated: true });
    if (plan) return [dispatchProduct(gpu, tensors, plan)];
  }
  return [
    matmul(gpu, tensors),
    swigluForward(gpu, { x: c.buffer, y: gated, rows: models * m, inner }),
  ];
}

/**
 * Returns the f32 values of scratch with which {@link matmulSplit} may split its sums, 0 where it
 * would not.
 */
export function matmulScratch(
  { m, n, k, models }: Pick<Matmul, "m" | "n" | "k" | "models">,
): number {
  const n4 = padded(n) / 4;
  return partsSize(m, n4, planLong({ m, n4, k, models }).segments, models);
}

/**
 * Whether the workgroup variants add a product's terms segment by segment: it has no tail, and its
 * sums are f32.
 */
function isLong({ c, k, tail = "none" }: Pick<Matmul, "c" | "k" | "tail">): boolean {
  return k > LONG_SEGMENT && tail === "none" && (c.buffer.storage ?? "f32") === "f32";
}

/**
 * How the subgroup variant runs over groups. Its partial sums, where they have a buffer of their
 * own, lie as c does.
 */
const groupedSubgroup = remembered(({ panel, apart }: Required<Omit<PanelShape, "gated">>) => {
  const text = matmulSubgroup({ panel, apart });
  const placed = apart ? replace(text, "(model * params.m + row)", "(group_start + row)") : text;
  return groupedText(placed, { ...GROUPED, binding: apart ? 7 : 6 });
});

/** The parts of a plan that depend on the variant. */
type VariantPlan = Omit<DispatchPlan, "label" | "models">;

/**
 * Returns params and buffers as the variants share them; strides and offsets count vec4s. `extra`
 * has as many columns as `c` unless said otherwise.
 */
function operands(
  gpu: Gpu,
  tensors: Matmul,
  extraColumns = tensors.n,
): Pick<DispatchPlan, "params" | "buffers"> {
  const { models, m, n, k } = tensors;
  const place = (name: string, matrix: Matrix, rows: number, columns: number) =>
    placement("matmul", name, matrix, rows, columns, models);
  const a = place("a", tensors.a, m, k);
  const b = place("b", tensors.b, k, n);
  const c = place("c", tensors.c, m, n);
  const bias = tensors.bias ? place("bias", tensors.bias, 1, n) : [0, 0, 0];
  const extra = tensors.extra ? place("extra", tensors.extra, m, extraColumns) : [0, 0, 0];
  // Without `extra` its binding is declared all the same, so that products with and without it
  // share a text.
  const noExtra: GpuBuffer = {
    ...gpu.emptyWritable,
    storage: tensors.b.buffer.storage === "f32" ? "f32" : "bf16",
  };
  return {
    params: [m, padded(n) / 4, k, ...a, ...b, bias[0], bias[2], ...extra, ...c],
    buffers: [
      tensors.a.buffer,
      tensors.b.buffer,
      tensors.bias?.buffer ?? gpu.empty,
      tensors.extra?.buffer ?? noExtra,
      tensors.c.buffer,
    ],
  };
}

/**
 * Plans the subgroup variant, or returns undefined where it cannot run. It keeps its partial sums
 * in `c`. That is impossible where the tail is not linear, since a tail cannot be taken of partial
 * sums. Also where `c` is bf16, which would round them.
 */
function panels(
  { models, m, n, k, c, tail = "none", accumulate = false, sums, groups }: Matmul,
  params: number[],
  buffers: GpuBuffer[],
  { gated = false } = {},
): VariantPlan | undefined {
  const rounds = c.buffer.storage === "bf16";
  const apart = rounds && sums !== undefined;
  if (accumulate && tail !== "none" || rounds && !apart && k > MOST_TERMS) return undefined;
  const n4 = padded(n) / 4;
  const ofModel = groups ? 0 : m * n4 * 4;
  if (apart) {
    placement("matmul", "sums", { buffer: sums, stride: n4 * 4, model: ofModel }, m, n, models);
  }
  const { panel, rows, workgroups } = panelPlan(m, n4, k, models, { gated });
  return {
    code: groups ? groupedSubgroup({ panel, apart }) : matmulSubgroup({ panel, apart, gated }),
    params: [rows, TAILS.indexOf(tail), Number(accumulate), ...params],
    buffers: apart ? [...buffers, sums] : buffers,
    workgroups,
  };
}

function tiles(
  gpu: Gpu,
  tensors: Matmul,
  params: number[],
  buffers: GpuBuffer[],
): VariantPlan {
  const { models, m, n, k, c, tail = "none", accumulate = false, bias, groups } = tensors;
  const n4 = padded(n) / 4;
  const tile = tensors.tile ?? chooseTile(m, n4, models);
  const segmented = isLong({ c, k, tail });
  // kernels/NOTES.md tells why no other product is in f16. Segments of long sums are f32 alone.
  const { linear = bias !== undefined } = tensors;
  const half = gpu.variants.matmul === "workgroup_f16" && linear && !segmented;
  return {
    code: (groups ? groupedWorkgroup : matmulWorkgroup)({
      tile,
      holds: half ? "f16" : "f32",
      segmented,
    }),
    constants: {
      TAIL: TAILS.indexOf(tail),
      ACCUMULATE: Number(accumulate),
      ...segmented && { SPLIT: 0 },
    },
    params,
    buffers: half ? [...buffers, gpu.saturated] : buffers,
    workgroups: countWorkgroups(tile, m, n4),
  };
}

function registers(
  { m, n, tail = "none", accumulate = false, groups }: Matmul,
  params: number[],
  buffers: GpuBuffer[],
): VariantPlan {
  // This text reads A float by float.
  const countsOfA = params.slice(3, 6).map((count) => count * 4);
  return {
    code: groups ? GROUPED_REGISTERS : REGISTERS,
    constants: {
      WG: REGISTERS_WORKGROUP,
      TAIL: TAILS.indexOf(tail),
      ACCUMULATE: Number(accumulate),
    },
    params: params.toSpliced(3, 3, ...countsOfA),
    buffers,
    workgroups: registersWorkgroups(m, padded(n) / 4),
  };
}

/**
 * Computes `a · b` in f64 for one model: `a` is `[m, k]` (or `[k, m]` when `transposed`), `b` is
 * `[k, n]`.
 */
export function matmulReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { m, n, k, transposed = false }: {
    m: number;
    n: number;
    k: number;
    transposed?: boolean;
  },
): Float64Array {
  const c = new Float64Array(m * n);
  for (let row = 0; row < m; row++) {
    for (let term = 0; term < k; term++) {
      const value = transposed ? a[term * m + row] : a[row * k + term];
      for (let column = 0; column < n; column++) {
        c[row * n + column] += value * b[term * n + column];
      }
    }
  }
  return c;
}

/** Computes GELU by its tanh, in f64. */
export function geluReference(x: number): number {
  return 0.5 * x *
    (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** Computes the derivative of {@link geluReference}, in f64. */
export function geluSlopeReference(x: number): number {
  const t = Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) +
    0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
}
