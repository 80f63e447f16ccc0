/**
 * What the kernel tests share: the device, tensors with guarded surroundings, and comparisons with
 * named tolerances. Importing this opens the device, and fails with the package to install where
 * there is none: kernels are never skipped.
 */

import { assert, assertEquals } from "@std/assert";
import { InputError } from "../../kernels/errors.ts";
import {
  type Dispatch,
  foldGrid,
  type Gpu,
  type GpuBuffer,
  openGpu,
} from "../../kernels/device/gpu.ts";
import { type Matrix, padded } from "../../kernels/device/matrix.ts";
import { bytesPerValue, type Dtype, fromBf16, toBf16 } from "../../kernels/device/storage.ts";
import { KERNEL_VARIANTS, type Variants } from "../../kernels/device/variants.ts";
import { normals, uniform } from "../../pipeline/random.ts";

/**
 * The most workgroups along x in tests: folded at 65,535, where WebGPU ends, only large tensors
 * would show a wrong fold.
 */
const AXIS = 61;

/** The device of this test file. */
export const gpu = await openGpu();
const { dispatch } = gpu;
gpu.dispatch = (plan) => {
  const dispatched = dispatch(plan);
  return { ...dispatched, grid: [...foldGrid(plan.workgroups, AXIS), dispatched.grid[2]] };
};

/**
 * Every variant of a kernel that this adapter runs, with the device on which it does: all are
 * tested alike.
 */
export async function runnableVariants<Kernel extends keyof Variants>(
  kernel: Kernel,
): Promise<{ variant: Variants[Kernel]; on: Gpu }[]> {
  const variants: { variant: Variants[Kernel]; on: Gpu }[] = [];
  for (const variant of KERNEL_VARIANTS[kernel]) {
    try {
      (await openGpu({ variants: { [kernel]: variant } })).close();
    } catch (error) {
      assert(error instanceof InputError, `${kernel}=${variant}: ${error}`); // the adapter lacks what it needs
      continue;
    }
    variants.push({ variant, on: { ...gpu, variants: { ...gpu.variants, [kernel]: variant } } });
  }
  return variants;
}

const arena = gpu.arena();
Deno.test.afterEach(() => arena.destroy());

/** How far two numbers may be apart: `|a - b| <= atol + rtol |b|`. */
export interface Tolerance {
  /** Absolute part. */
  atol: number;
  /** Relative part. */
  rtol: number;
}

/**
 * Two factors of order 1, each rounded to 2^-11 of itself in f16, and sums of up to eight products,
 * of order 3, rounded as often: the errors of `k` terms are a random walk.
 */
export const halfProducts = (k: number): Tolerance => ({
  atol: 8 * 2 ** -11 * Math.sqrt(k),
  rtol: 2 ** -10,
});
/** Copies, selections and masks: no arithmetic, no difference. */
export const EXACT: Tolerance = { atol: 0, rtol: 0 };
/** A few operations on values of order 1, each rounded to 2^-24 = 6e-8. */
export const FEW_ROUNDINGS: Tolerance = { atol: 1e-6, rtol: 1e-6 };
/**
 * Sums of up to some thousand terms of order 1: each partial sum, of order 50, is rounded to 2^-24
 * of it.
 */
export const LONG_SUMS: Tolerance = { atol: 5e-5, rtol: 2e-6 };
/**
 * Sums of values of order 1 after exp, log or tanh: drivers may be off by 3 + 2|x| units in the
 * last place.
 */
export const TRANSCENDENTAL: Tolerance = { atol: 2e-5, rtol: 2e-5 };
/**
 * The f64 reference of a gradient against central differences of the forward reference: their own
 * error, h² and 1e-16/h.
 */
export const CENTRAL_DIFFERENCES: Tolerance = { atol: 1e-7, rtol: 1e-6 };

/** What tensors are stored in, in tests of kernels that take both. */
export const DTYPES: readonly Dtype[] = ["f32", "bf16"];

/**
 * Widens a tolerance by what storing the result costs: bf16 has 8 significant bits and rounds to
 * 2^-8 of the value.
 */
export function stored(dtype: Dtype, { atol, rtol }: Tolerance): Tolerance {
  return dtype === "f32" ? { atol, rtol } : { atol: 1.01 * atol, rtol: rtol + 1.01 * 2 ** -8 };
}

/** Returns the values that a tensor of this dtype holds. */
export function inStorage(dtype: Dtype, values: Float32Array): Float32Array<ArrayBuffer> {
  return dtype === "f32" ? values.slice() : fromBf16(toBf16(values));
}

/**
 * Row counts around every power of two that a workgroup, a tile or a block of rows may have, and a
 * prime.
 */
export const EDGE_ROWS = [1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 131];
/**
 * More than 16 times the workgroups along x: the grid is folded where a workgroup has up to 16
 * rows.
 */
export const MANY_ROWS = 1009;
/** A sum so long that one f32 after another is off by its roundings. */
export const MANY_TERMS = 65_537;

/**
 * A value that no kernel computes, and that ruins every sum that reads it; finite, since WGSL may
 * assume that, and the same in bf16.
 */
const SENTINEL = -(2 ** 100);
const GUARD = 64; // f32 values behind a tensor that must stay as they were

/** Throws unless every value is within `tolerance` of the expected one; names the worst. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol, rtol }: Tolerance,
  what = "value",
): void {
  assertEquals(actual.length, expected.length, `length of ${what}`);
  let worst = -1;
  let excess = 0;
  for (let i = 0; i < actual.length; i++) {
    const over = Math.abs(actual[i] - expected[i]) - (atol + rtol * Math.abs(expected[i]));
    if (!(over <= excess)) { // NaN is an excess
      worst = i;
      excess = over;
      if (Number.isNaN(over)) break;
    }
  }
  assert(worst < 0, `${what} [${worst}] is ${actual[worst]}, expected ${expected[worst]}`);
}

/** Throws unless two lists of f32 values have the same bits. */
export function assertSameBits(actual: Float32Array, expected: Float32Array, what = "value"): void {
  const [a, b] = [actual, expected].map((values) =>
    new Uint32Array(values.buffer, values.byteOffset, values.length)
  );
  assertEquals(a.length, b.length, `length of ${what}`);
  const differs = a.findIndex((bits, i) => bits !== b[i]);
  assert(
    differs < 0,
    `${what} [${differs}] is ${actual[differs]}, expected ${expected[differs]} to the bit`,
  );
}

/** Draws `count` normal values, the same for the same purpose. */
export function random(count: number, purpose: string, scale = 1): Float32Array {
  return normals(count, 1, purpose).map((value) => value * scale);
}

/** Draws `count` whole numbers below `limit`, the same for the same purpose. */
export function randomIntegers(count: number, limit: number, purpose: string): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => Math.floor(uniform(1, purpose, i) * limit));
}

/** Uploads whole numbers. */
export function integers(label: string, values: Uint32Array): GpuBuffer {
  return arena.buffer(label, values);
}

/** Sizes of a bank `[models, rows, columns]`, and where it lies. */
export interface Sizes {
  /** Number of models. */
  models?: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
  /** f32 values before model 0. */
  offset?: number;
  /** From row to row; default: the columns rounded up to a vec4. */
  stride?: number;
  /** f32 values between two models. */
  gap?: number;
  /** What the padding columns hold: 0 by default, as the kernels demand of most inputs. */
  padding?: number;
  /** What its values are stored in: f32 by default. */
  dtype?: Dtype;
}

/** A bank on the device, with sentinels wherever no value belongs. */
export interface Bank extends Matrix {
  /** Its sizes. */
  sizes: Required<Sizes>;
  /** What the whole buffer held at first. */
  initial: Float32Array;
  /** Whether it started without values. */
  blank: boolean;
}

/**
 * Uploads `values` `[models, rows, columns]`, or makes an output full of sentinels where there are
 * none.
 */
export function bank(label: string, sizes: Sizes, values?: ArrayLike<number>): Bank {
  const { models = 1, rows, columns, offset = 0, gap = 0, padding = 0, dtype = "f32" } = sizes;
  const stride = sizes.stride ?? padded(columns);
  const model = rows * stride + gap;
  const full = { models, rows, columns, offset, stride, gap, padding, dtype };
  let initial = new Float32Array(offset + models * model + GUARD).fill(SENTINEL);
  if (values) {
    assertEquals(values.length, models * rows * columns, `values of ${label}`);
    eachRow(full, (start, row) => {
      for (let column = 0; column < paddedEnd(full); column++) {
        initial[start + column] = column < columns ? values[row * columns + column] : padding;
      }
    });
  }
  initial = inStorage(dtype, initial);
  const data = packed(dtype, initial);
  return {
    buffer: arena.buffer(label, data, dtype),
    offset,
    stride,
    model,
    sizes: full,
    initial,
    blank: !values,
  };
}

/** The words that hold these values. */
function packed(dtype: Dtype, values: Float32Array): Uint32Array | Float32Array {
  return dtype === "f32" ? values : new Uint32Array(toBf16(values).buffer);
}

/**
 * Where a row's vec4s end: after the padding columns, which kernels write along with the others.
 */
function paddedEnd({ columns, stride }: Required<Sizes>): number {
  return Math.min(padded(columns), stride);
}

function eachRow(
  { models, rows, stride, offset, gap }: Required<Sizes>,
  visit: (start: number, row: number) => void,
): void {
  for (let row = 0; row < models * rows; row++) {
    visit(offset + Math.floor(row / rows) * gap + row * stride, row);
  }
}

/** What {@link run} checks of the outputs. */
export interface RunOptions {
  /** Padding columns are written but may hold anything. */
  paddingFree?: boolean;
  /** Scratch: whatever the kernels leave there, they must not leave its surroundings. */
  scratch?: Bank[];
  /** Rows of the outputs (over all models) that must stay as they were. */
  untouched?: (row: number) => boolean;
}

/**
 * Runs the dispatches twice on fresh outputs, the second time with every grid folded over three
 * rows as large grids are, and returns the outputs' values `[models, rows, columns]`.
 *
 * Throws unless both runs give the same bits, every value was written, padding columns became zero,
 * and nothing around the outputs changed.
 */
export async function run(
  dispatches: Dispatch[],
  outputs: Bank[],
  { paddingFree = false, scratch = [], untouched = () => false }: RunOptions = {},
): Promise<Float32Array[]> {
  const all = [...outputs, ...scratch];
  const once = async (list: Dispatch[]) => {
    for (const { buffer, initial, sizes } of all) gpu.write(buffer, packed(sizes.dtype, initial));
    gpu.submit(list);
    const sources = all.map(({ buffer, initial, sizes }) => ({
      buffer,
      bytes: initial.length * bytesPerValue(sizes.dtype),
    }));
    return (await gpu.read(sources)).map((bytes, i) =>
      all[i].sizes.dtype === "f32" ? new Float32Array(bytes) : fromBf16(new Uint16Array(bytes))
    );
  };
  const first = await once(dispatches);
  const second = await once(dispatches.map(fold));
  return all.map((output, index) => {
    const { sizes, initial, blank, buffer: { label } } = output;
    const after = first[index];
    const isScratch = index >= outputs.length;
    if (!isScratch) assertSameBits(second[index], after, `${label}, run twice`);
    const values = new Float32Array(sizes.models * sizes.rows * sizes.columns);
    const inside = new Uint8Array(after.length);
    eachRow(sizes, (start, row) => {
      const end = paddedEnd(sizes);
      if (!isScratch && untouched(row)) return;
      inside.fill(1, start, start + end);
      if (isScratch) return;
      values.set(after.subarray(start, start + sizes.columns), row * sizes.columns);
      for (let column = 0; column < end; column++) {
        const value = after[start + column];
        if (blank && value === SENTINEL) {
          assert(false, `${label}, row ${row}, column ${column} was not written`);
        }
        if (column >= sizes.columns && !paddingFree && value !== 0) {
          assert(false, `${label}, row ${row}, padding column ${column} is ${value}, expected 0`);
        }
      }
    });
    for (let i = 0; i < after.length; i++) {
      if (!inside[i] && after[i] !== initial[i]) {
        assert(false, `${label}, value ${i} lies outside but changed`);
      }
    }
    return values;
  }).slice(0, outputs.length);
}

/** Folds a grid over three rows, so that the last workgroups lie beyond the work. */
function fold(dispatch: Dispatch): Dispatch {
  const [x, y, z] = dispatch.grid;
  return { ...dispatch, grid: [Math.ceil((x * y) / 3), 3, z] };
}

/** Concatenates one list of values per model. */
export function stack(
  models: number,
  modelValues: (model: number) => ArrayLike<number>,
): Float64Array {
  return Float64Array.from(
    Array.from({ length: models }, (_, model) => Array.from(modelValues(model))).flat(),
  );
}

/** Returns model `index`'s part of values `[models, …]`. */
export function part<T extends Float32Array | Float64Array | Uint32Array>(
  values: T,
  models: number,
  index: number,
): T {
  const size = values.length / models;
  return values.subarray(index * size, (index + 1) * size) as T;
}

/** Sums the columns of values `[rows, columns]`. */
export function columnSumsOf(values: ArrayLike<number>, columns: number): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < values.length; i++) sums[i % columns] += values[i];
  return sums;
}

/** Differentiates `f` at `x` by central differences, in f64. */
export function centralDifferences(
  f: (x: Float64Array) => number,
  x: ArrayLike<number>,
): Float64Array {
  const at = Float64Array.from(x);
  const h = 1e-5;
  return Float64Array.from(at, (value, i) => {
    at[i] = value + h;
    const above = f(at);
    at[i] = value - h;
    const below = f(at);
    at[i] = value;
    return (above - below) / (2 * h);
  });
}

/** Sums the products of two lists. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
