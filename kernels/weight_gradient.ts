/** The gradients of a linear layer's weight and bias: one product, which sums the columns of the output's gradient as it reads them. */

import { addBlocks } from "./column_sum.ts";
import type { Dispatch, Gpu, GpuBuffer } from "./gpu.ts";
import { matmulTransposed, type Matrix, padded, termBlocks } from "./matmul.ts";

/** Fewest terms that a form of the product sums by itself. */
const BLOCK_TERMS = 32;

/** Arguments of {@link weightGradient}. */
export interface WeightGradient {
  /** f32 or bf16, as x, `[models, rows, outputs]`: gradient of the layer's output. */
  dY: Matrix;
  /** `[models, rows, inputs]`: the layer's input. */
  x: Matrix;
  /** f32 `[models, outputs, inputs]`. */
  weight: Matrix;
  /** f32 `[models, outputs]`. */
  bias: Matrix;
  /** Scratch of at least {@link weightGradientScratch} f32 values. */
  partial: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns of `x`. */
  inputs: number;
  /** Columns of `dY`. */
  outputs: number;
  /** Adds into `weight` and `bias` instead of writing them. */
  accumulate?: boolean;
}

/** Returns the f32 values of scratch that {@link weightGradient} needs. */
export function weightGradientScratch(
  { models, rows, outputs }: Pick<WeightGradient, "models" | "rows" | "outputs">,
): number {
  return models * Math.ceil(rows / BLOCK_TERMS) * padded(outputs);
}

/** Plans `weight = dYᵀ · x` and `bias = Σ_rows dY` (or `+=`) for every model, in two dispatches. */
export function weightGradient(gpu: Gpu, t: WeightGradient): Dispatch[] {
  const { models, rows, inputs, outputs, partial, accumulate } = t;
  const sizes = { models, m: outputs, n: inputs, k: rows };
  return [
    matmulTransposed(gpu, { ...sizes, a: t.dY, b: t.x, c: t.weight, accumulate, sums: partial }),
    addBlocks(gpu, {
      partial,
      blocks: termBlocks(gpu, sizes),
      width: padded(outputs),
      sums: t.bias,
      models,
      accumulate,
    }),
  ];
}

/** Sums the columns of `[rows, columns]` output gradients for one model, in f64. */
export function biasGradientReference(values: ArrayLike<number>, columns: number): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < values.length; i++) sums[i % columns] += values[i];
  return sums;
}
