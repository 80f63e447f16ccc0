/** `C = A · B` over a bank of models with a fused tail, in each form. */

import { type Matrix, padded, placement } from "../device/matrix.ts";
import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose, replace } from "../device/wgsl.ts";
import { remembered } from "../device/subgroup.ts";
import { groupedText, type Groups } from "./groups.ts";
import code from "./matmul.wgsl" with { type: "text" };
import tailCode from "./matmul_tail.wgsl" with { type: "text" };
import { matmulSubgroup, PANEL, panelPlan, type PanelShape } from "./matmul_subgroup.ts";
import { chooseTile, matmulWorkgroup, type Tile, workgroupsOf } from "./matmul_workgroup.ts";

/** What is done with the product before it is stored. */
export type Tail = typeof TAILS[number];

const TAILS = ["none", "bias", "bias_gelu", "bias_residual", "gelu_slope"] as const;

/** Arguments of {@link matmul}. */
export interface Matmul {
  /** f32 or bf16 `[models, m, k]`, as b, c and extra, each on its own. */
  a: Matrix;
  /** `[models, k, n]`; its padding columns are zero. */
  b: Matrix;
  /** `[models, m, n]`. */
  c: Matrix;
  /** f32 `[models, n]`, for the tails with a bias. */
  bias?: Matrix;
  /** `[models, m, n]`: the sum before GELU (written by `bias_gelu`, read by `gelu_slope`), or the residual. */
  extra?: Matrix;
  /**
   * f32 `[models, m, n]`, scratch: where the sums of a bf16 `c` wait, in forms that take several passes over the terms.
   * Without it such a product is left to a form that takes one.
   */
  sums?: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows of the product. */
  m: number;
  /** Columns of the product. */
  n: number;
  /** Terms of each sum. */
  k: number;
  /** Default `none`. */
  tail?: Tail;
  /** Adds into `c` instead of writing it. */
  accumulate?: boolean;
  /**
   * Where each model's rows of a, c, extra and sums lie, whose rows are all models' together; m is the most that a model may have.
   * Rows beyond a model's are neither read nor written.
   */
  groups?: Groups;
  /** The tile of the workgroup forms, instead of the one that the shape makes best; it changes no bit. */
  tile?: Tile;
}

/** Invocations of a workgroup of the register form. */
export const REGISTERS_WORKGROUP = 16;
const REGISTERS = compose(code, { matmul_tail: tailCode });
/** What rows of groups are of, and the binding that says where they lie. */
const GROUPED = { rows: "m", matrices: ["a", "extra", "c"], binding: 6 } as const;
const GROUPED_REGISTERS = groupedText(REGISTERS, GROUPED);
const groupedWorkgroup = remembered((shape: Parameters<typeof matmulWorkgroup>[0]) =>
  groupedText(matmulWorkgroup(shape), GROUPED)
);

/** Counts the workgroups that cover `m` rows and `n4` vec4s of columns with tiles of 8 × 8 elements, one per invocation. */
export function registersWorkgroups(m: number, n4: number): number {
  return Math.ceil((Math.ceil(n4 / 2) * Math.ceil(m / 8)) / REGISTERS_WORKGROUP);
}

/** Returns whether {@link matmul} takes several passes over the terms on this device, so that `sums` are of use to it. */
export function takesPasses(gpu: Gpu): boolean {
  return gpu.variants.matmul === "subgroup";
}

/** Plans `c = tail(a · b)` (or `c += …`) for every model. Throws `RangeError` where a matrix does not fit its buffer. */
export function matmul(gpu: Gpu, tensors: Matmul): Dispatch {
  const { tail = "none", bias, extra } = tensors;
  const withBias = tail.startsWith("bias");
  const withExtra = tail !== "none" && tail !== "bias";
  if (withBias !== (bias !== undefined) || withExtra !== (extra !== undefined)) {
    throw new TypeError(
      `Cannot plan matmul as bias and extra must be given exactly where the tail uses them: it is ${tail}`,
    );
  }
  const form = gpu.variants.matmul;
  const { params, buffers } = operands(gpu, tensors);
  const plan = form === "subgroup" && panels(tensors, params, buffers) ||
    (form.startsWith("workgroup")
      ? tiles(tensors, params, buffers, form === "workgroup_f16")
      : registers(tensors, params, buffers));
  if (tensors.groups) {
    plan.params.unshift(tensors.groups.first ?? 0);
    plan.buffers = [...plan.buffers, tensors.groups.buffer];
  }
  return gpu.dispatch({ label: "matmul", models: tensors.models, ...plan });
}

/** The subgroup form over groups; sums that wait apart lie as c does. */
const groupedSubgroup = remembered(({ width, apart }: Required<PanelShape>) => {
  const text = matmulSubgroup({ width, apart });
  const placed = apart ? replace(text, "(model * params.m + row)", "(group_start + row)") : text;
  return groupedText(placed, { ...GROUPED, binding: apart ? 7 : 6 });
});

/** What of a plan depends on the form. */
type FormPlan = Omit<DispatchPlan, "label" | "models">;

/** Returns params and buffers as the forms share them; strides and offsets count vec4s. */
function operands(gpu: Gpu, tensors: Matmul): Pick<DispatchPlan, "params" | "buffers"> {
  const { models, m, n, k } = tensors;
  const place = (name: string, matrix: Matrix, rows: number, columns: number) =>
    placement("matmul", name, matrix, rows, columns, models);
  const a = place("a", tensors.a, m, k);
  const b = place("b", tensors.b, k, n);
  const c = place("c", tensors.c, m, n);
  const bias = tensors.bias ? place("bias", tensors.bias, 1, n) : [0, 0, 0];
  const extra = tensors.extra ? place("extra", tensors.extra, m, n) : [0, 0, 0];
  // Without an extra this binding is stored as one would be, so that products with and without one share a text.
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
 * Plans the subgroup form; undefined where it cannot run. Its partial sums wait in `c`: a tail that is not linear cannot be
 * taken of them one by one, and a `c` of bf16 would round them.
 */
function panels(
  { models, m, n, k, c, tail = "none", accumulate = false, sums, groups }: Matmul,
  params: number[],
  buffers: GpuBuffer[],
): FormPlan | undefined {
  const rounds = c.buffer.storage === "bf16";
  const apart = rounds && sums !== undefined;
  if (accumulate && tail !== "none" || rounds && !apart && k > PANEL) return undefined;
  const n4 = padded(n) / 4;
  const ofModel = groups ? 0 : m * n4 * 4;
  if (apart) placement("matmul", "sums", { buffer: sums, stride: n4 * 4, model: ofModel }, m, n, models);
  const { width, rows, workgroups } = panelPlan(m, n4, k, models);
  return {
    code: (groups ? groupedSubgroup : matmulSubgroup)({ width, apart }),
    params: [rows, TAILS.indexOf(tail), Number(accumulate), ...params],
    buffers: apart ? [...buffers, sums] : buffers,
    workgroups,
  };
}

function tiles(
  { models, m, n, tail = "none", accumulate = false, bias, groups, tile: wanted }: Matmul,
  params: number[],
  buffers: GpuBuffer[],
  f16: boolean,
): FormPlan {
  const n4 = padded(n) / 4;
  const tile = wanted ?? chooseTile(m, n4, models);
  return {
    // A bias tells the forward product of a linear layer. No other product is in f16: kernels/NOTES.md tells why.
    code: (groups ? groupedWorkgroup : matmulWorkgroup)({ tile, holds: f16 && bias ? "f16" : "f32" }),
    constants: { TAIL: TAILS.indexOf(tail), ACCUMULATE: Number(accumulate) },
    params,
    buffers,
    workgroups: workgroupsOf(tile, m, n4),
  };
}

function registers(
  { m, n, tail = "none", accumulate = false, groups }: Matmul,
  params: number[],
  buffers: GpuBuffer[],
): FormPlan {
  const countsOfA = params.slice(3, 6).map((count) => count * 4); // this text reads A float by float
  return {
    code: groups ? GROUPED_REGISTERS : REGISTERS,
    constants: { WG: REGISTERS_WORKGROUP, TAIL: TAILS.indexOf(tail), ACCUMULATE: Number(accumulate) },
    params: params.toSpliced(3, 3, ...countsOfA),
    buffers,
    workgroups: registersWorkgroups(m, padded(n) / 4),
  };
}

/** Computes `a · b` in f64 for one model: `a` is `[m, k]` (or `[k, m]` when `transposed`), `b` is `[k, n]`. */
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

/** Computes GELU in its tanh form, in f64. */
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
