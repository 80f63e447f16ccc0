/**
 * The gradients of a linear layer's weight and bias, by one product: it also sums the columns of
 * the output's gradient as it reads them.
 */

import { addBlocks } from "../column_sum/column_sum.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { type Matrix, padded } from "../device/matrix.ts";
import type { Groups } from "../matmul/groups.ts";
import { matmulTransposed, sumsIntoProduct } from "../matmul/matmul_transposed.ts";

/** Arguments of {@link weightGradient}. */
interface WeightGradient {
  /** f32 or bf16, and so is x: `[models, rows, outputs]`, the gradient of the layer's output. */
  dY: Matrix;
  /** `[models, rows, inputs]`: the layer's input. */
  x: Matrix;
  /** f32 `[models, outputs, inputs]`. */
  weight: Matrix;
  /** f32 `[models, outputs]`; left out where the layer has no bias. */
  bias?: Matrix;
  /** Scratch of at least {@link weightGradientScratch} f32 values. */
  partial: GpuBuffer;
  /** Scratch with which a GPU may split the sums: see `matmulTransposedScratch`. */
  parts?: GpuBuffer;
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
  /**
   * Where the rows of each model lie in dY and x, each of which holds the rows of all models;
   * `rows` is then the largest number of rows of a model.
   */
  groups?: Groups;
}

/** Returns the f32 values of scratch that {@link weightGradient} needs. */
export function weightGradientScratch(
  { models, outputs }: Pick<WeightGradient, "models" | "outputs">,
): number {
  return models * padded(outputs);
}

/**
 * Plans `weight = dYᵀ · x` and `bias = Σ_rows dY`, if any, (or `+=`) for every model, in one to
 * three dispatches.
 */
export function weightGradient(gpu: Gpu, tensors: WeightGradient): Dispatch[] {
  const { models, rows, inputs, outputs, partial, bias, accumulate, groups } = tensors;
  const together = bias && sumsIntoProduct(gpu) && bias.buffer === tensors.weight.buffer;
  const apart = !together && bias;
  return [
    ...matmulTransposed(gpu, {
      a: tensors.dY,
      b: tensors.x,
      c: tensors.weight,
      models,
      m: outputs,
      n: inputs,
      k: rows,
      accumulate,
      groups,
      ...together
        ? { sumsInC: { offset: bias.offset ?? 0, model: bias.model } }
        : apart && { sums: partial },
      parts: tensors.parts,
    }),
    // One block: the bias's gradient may share the weight's buffer, which one dispatch must not
    // bind twice for writing.
    ...apart
      ? [addBlocks(gpu, {
        partial,
        blocks: 1,
        width: padded(outputs),
        sums: bias,
        models,
        accumulate,
      })]
      : [],
  ];
}
