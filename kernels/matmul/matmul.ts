/** Matrix products over a bank of models: `C = A · B` with a fused tail, and `C = Aᵀ · B`. */

import matmulCode from "./matmul.wgsl" with { type: "text" };
import matmulTransposedCode from "./matmul_transposed.wgsl" with {
  type: "text",
};
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { bytesOf } from "../device/storage.ts";
import { LANES } from "../device/subgroup.ts";
import { blockTerms, PANEL, subgroupMain, type SubgroupTile } from "./matmul_subgroup.ts";
import { subgroupUpdates, UPDATE_ROWS, type UpdateTile } from "./matmul_transposed_subgroup.ts";
import {
  matmulTransposedWorkgroupCode,
  matmulWorkgroupCode,
  matmulWorkgroupF16Code,
  workgroupTiles,
} from "./matmul_workgroup.ts";

/** A bank of matrices inside a buffer. Offset, stride and model count values and are multiples of 4. */
export interface Matrix {
  /** The buffer that holds it. */
  buffer: GpuBuffer;
  /** Where model 0 starts. */
  offset?: number;
  /** From one row to the next: at least the number of columns, rounded up to a multiple of 4. */
  stride: number;
  /** From one model to the next; 0 when all models share the matrix. */
  model: number;
}

/** What is done with the product before it is stored. */
export type Tail =
  | "none"
  | "bias"
  | "bias_gelu"
  | "bias_residual"
  | "gelu_slope";

const TAILS: Tail[] = [
  "none",
  "bias",
  "bias_gelu",
  "bias_residual",
  "gelu_slope",
];

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
}

const WORKGROUP = 16;
const TILE = 8;
/** Rows that one subgroup walks, at least: fewer would not pay for filling its panel. */
const FEWEST_ROWS = 64;
/** Workgroups to aim for, so that every core of a software adapter has some. */
const WORKGROUPS = 16;
/** Widths of A · B's panels with their speed against one another where no lane and no term idles: kernels/NOTES.md. */
const PANELS = [
  { width: 2, speed: 1.05 },
  { width: 1, speed: 1 },
];
/** The same for tiles of Aᵀ · B. */
const UPDATES = [
  { width: 2, terms: 2, speed: 1 },
  { width: 3, terms: 1, speed: 1.05 }, // more than measured, so that the products of a model share a text
  { width: 1, terms: 4, speed: 0.8 },
];

/** Declarations of a register kernel, with the uniforms that stand for its constants. */
function declarationsOf(code: string, uniforms: string): string {
  return code.slice(0, code.indexOf("@compute"))
    .replace(/override [^]*?\n\n/, "")
    .replace("struct Params {", `struct Params {\n  ${uniforms}`);
}

function subgroupCode(tile: SubgroupTile): string {
  const declarations = declarationsOf(matmulCode, "rows: u32, tail: u32, resume: u32,")
    .replace("a: array<f32>", "a: array<vec4f>")
    .replace("fn load_a(i: u32) -> f32", "fn load_a(i: u32) -> vec4f")
    .replace(/^.*ACCUMULATE ==.*\n/m, "") // sums that go on start from c
    .replace("column: u32, sum: vec4f)", "column: u32, sum: vec4f, tail: u32)")
    .replaceAll("TAIL", "tail");
  const sums = tile.apart ? "@group(0) @binding(6) var<storage, read_write> sums: array<vec4f>;\n" : "";
  return declarations + sums + subgroupMain(tile);
}

function subgroupTransposedCode(tile: UpdateTile): string {
  return declarationsOf(matmulTransposedCode, "accumulate: u32,").replaceAll(
    "ACCUMULATE",
    "params.accumulate",
  ) +
    subgroupUpdates(tile);
}

/** Counts the workgroups that cover `m` rows and `n4` vec4s of columns with one register tile per invocation. */
function registerWorkgroups(m: number, n4: number): number {
  return Math.ceil((Math.ceil(n4 / 2) * Math.ceil(m / TILE)) / WORKGROUP);
}

function used(count: number, unit: number): number {
  return count / (Math.ceil(count / unit) * unit);
}

function fastest<Tile>(tiles: readonly Tile[], speed: (tile: Tile) => number): Tile {
  return tiles.reduce((best, tile) => speed(tile) > speed(best) ? tile : best);
}

/** Chooses the panel by size alone. */
function subgroupPlan(m: number, n4: number, k: number, models: number) {
  const speed = (panel: typeof PANELS[number]) =>
    panel.speed * used(k, blockTerms(panel.width)) * used(n4, LANES * panel.width);
  const { width } = fastest(PANELS, speed);
  const across = Math.ceil(n4 / (LANES * width));
  const parts = Math.max(
    1,
    Math.min(
      Math.ceil(m / FEWEST_ROWS),
      Math.ceil(WORKGROUPS / (across * models)),
    ),
  );
  const rows = Math.ceil(m / parts);
  return {
    tile: { width },
    rows,
    workgroups: across * Math.ceil(m / rows),
  };
}

/** The same for Aᵀ · B. */
function updatePlan(m: number, n4: number) {
  const speed = (tile: typeof UPDATES[number]) => tile.speed * used(n4, LANES * tile.width);
  const { width, terms } = fastest(UPDATES, speed);
  return {
    tile: { width, terms },
    workgroups: Math.ceil(n4 / (LANES * width)) * Math.ceil(m / UPDATE_ROWS),
  };
}

/** Rounds `count` up to a multiple of 4, the width of a vec4. */
export function padded(count: number): number {
  return Math.ceil(count / 4) * 4;
}

function placement(
  label: string,
  name: string,
  matrix: Matrix,
  rows: number,
  columns: number,
  models: number,
) {
  const { offset = 0, stride, model, buffer } = matrix;
  if (
    offset % 4 !== 0 || stride % 4 !== 0 || model % 4 !== 0 || stride < columns
  ) {
    throw new RangeError(
      `Cannot plan ${label} as offset, stride and model of ${name} must be multiples of 4 and stride >= ${columns}: ` +
        `they are ${offset}, ${stride}, ${model}`,
    );
  }
  const end = offset + (models - 1) * model + (rows - 1) * stride +
    padded(columns);
  const endByte = end * bytesOf(buffer.storage);
  if (endByte > buffer.bytes) {
    throw new RangeError(
      `Cannot plan ${label} as ${name} must lie inside "${buffer.label}": it ends at byte ${endByte}, the buffer has ` +
        `${buffer.bytes}`,
    );
  }
  return [offset / 4, stride / 4, model / 4];
}

/** Returns whether {@link matmul} takes several passes over the terms on this device, so that `sums` are of use to it. */
export function takesPasses(gpu: Gpu): boolean {
  return gpu.variants.matmul === "subgroup";
}

/** Plans `c = tail(a · b)` (or `c += …`) for every model. Throws `RangeError` where a matrix does not fit its buffer. */
export function matmul(gpu: Gpu, t: Matmul): Dispatch {
  const label = "matmul";
  const { models, m, n, k, tail = "none", accumulate = false } = t;
  const [a, aStride, aModel] = placement(label, "a", t.a, m, k, models).map((
    count,
  ) => count * 4);
  const b = placement(label, "b", t.b, k, n, models);
  const c = placement(label, "c", t.c, m, n, models);
  const withBias = tail.startsWith("bias");
  const withExtra = tail !== "none" && tail !== "bias";
  if (
    withBias !== (t.bias !== undefined) || withExtra !== (t.extra !== undefined)
  ) {
    throw new TypeError(
      `Cannot plan ${label} as bias and extra must be given exactly where the tail uses them: it is ${tail}`,
    );
  }
  const bias = t.bias ? placement(label, "bias", t.bias, 1, n, models) : [0, 0, 0];
  const extra = t.extra ? placement(label, "extra", t.extra, m, n, models) : [0, 0, 0];
  const n4 = padded(n) / 4;
  const params = [
    m,
    n4,
    k,
    a,
    aStride,
    aModel,
    ...b,
    bias[0],
    bias[2],
    ...extra,
    ...c,
  ];
  const buffers = [
    t.a.buffer,
    t.b.buffer,
    t.bias?.buffer ?? gpu.empty,
    // Without an extra, stored as one would be: so that products with and without share a text.
    t.extra?.buffer ?? { ...gpu.emptyWritable, storage: t.b.buffer.storage === "f32" ? "f32" : "bf16" },
    t.c.buffer,
  ];
  // Sums that go on from c cannot pass a curved tail: that rare pair is left to the register kernel.
  if (gpu.variants.matmul === "subgroup" && !(accumulate && tail !== "none")) {
    const { tile, rows, workgroups } = subgroupPlan(m, n4, k, models);
    const sums = t.sums && t.c.buffer.storage === "bf16" ? [t.sums] : [];
    if (sums.length > 0 || t.c.buffer.storage !== "bf16" || k <= PANEL) {
      for (const buffer of sums) {
        placement(label, "sums", { buffer, stride: n4 * 4, model: m * n4 * 4 }, m, n, models);
      }
      params.splice(3, 3, a / 4, aStride / 4, aModel / 4);
      return gpu.dispatch({
        label,
        code: subgroupCode({ ...tile, apart: sums.length > 0 }),
        params: [rows, TAILS.indexOf(tail), Number(accumulate), ...params],
        buffers: [...buffers, ...sums],
        workgroups,
        models,
      });
    }
  }
  if (gpu.variants.matmul.startsWith("workgroup")) {
    const { tile, workgroups } = workgroupTiles(m, n4, models);
    // Of all products, those of linear layers forward alone have a bias: kernels/NOTES.md tells why no others are in f16.
    const f16 = gpu.variants.matmul === "workgroup_f16" && withBias;
    params.splice(3, 3, a / 4, aStride / 4, aModel / 4);
    return gpu.dispatch({
      label,
      code: f16 ? matmulWorkgroupF16Code : matmulWorkgroupCode,
      constants: { TILE: tile, TAIL: TAILS.indexOf(tail), ACCUMULATE: Number(accumulate) },
      params,
      buffers,
      workgroups,
      models,
    });
  }
  return gpu.dispatch({
    label,
    code: matmulCode,
    constants: {
      WG: WORKGROUP,
      TAIL: TAILS.indexOf(tail),
      ACCUMULATE: Number(accumulate),
    },
    params,
    buffers,
    workgroups: registerWorkgroups(m, n4),
    models,
  });
}

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
}

/**
 * Plans `c = aᵀ · b` (or `c += …`) for every model, and the sums of `a`'s columns where `sums` is given.
 *
 * Throws `RangeError` where a matrix does not fit its buffer or `c` is not f32.
 */
export function matmulTransposed(gpu: Gpu, t: MatmulTransposed): Dispatch {
  const label = "matmul_transposed";
  const { models, m, n, k, accumulate = false } = t;
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
  const n4 = padded(n) / 4;
  const params = [m, n4, k, ...a, ...b, ...c, Number(t.sums !== undefined)];
  const buffers = [t.a.buffer, t.b.buffer, t.c.buffer, t.sums ?? gpu.emptyWritable];
  if (gpu.variants.matmul === "subgroup") {
    const { tile, workgroups } = updatePlan(m, n4);
    return gpu.dispatch({
      label,
      code: subgroupTransposedCode(tile),
      params: [Number(accumulate), ...params],
      buffers,
      workgroups,
      models,
    });
  }
  if (gpu.variants.matmul.startsWith("workgroup")) {
    const { tile, workgroups } = workgroupTiles(m, n4, models);
    return gpu.dispatch({
      label,
      code: matmulTransposedWorkgroupCode,
      constants: { TILE: tile, ACCUMULATE: Number(accumulate) },
      params,
      buffers,
      workgroups,
      models,
    });
  }
  return gpu.dispatch({
    label,
    code: matmulTransposedCode,
    constants: { WG: WORKGROUP, ACCUMULATE: Number(accumulate) },
    params,
    buffers,
    workgroups: registerWorkgroups(m, n4),
    models,
  });
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
