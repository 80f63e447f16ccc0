/**
 * LayerNorm and RMSNorm over the columns of every row, forward and backward. RMSNorm is LayerNorm
 * with a mean of 0 and without biases.
 */

import forwardCode from "./layer_norm_forward.wgsl" with { type: "text" };
import forwardBindings from "./layer_norm_forward_bindings.wgsl" with { type: "text" };
import backwardCode from "./layer_norm_backward.wgsl" with { type: "text" };
import backwardBindings from "./layer_norm_backward_bindings.wgsl" with { type: "text" };
import { addBlocks, columnSums } from "../column_sum/column_sum.ts";
import {
  type Dispatch,
  type DispatchPlan,
  floatBits,
  type Gpu,
  type GpuBuffer,
} from "../device/gpu.ts";
import { type BankRows, type Matrix, padded } from "../device/matrix.ts";
import {
  layerNormBackwardSubgroup,
  layerNormForwardSubgroup,
  MOST_VEC4S,
} from "./layer_norm_subgroup.ts";
import { rowPlan, rowVariants } from "../device/rows.ts";

const forwardTexts = rowVariants(forwardCode, { layer_norm_forward_bindings: forwardBindings });
const backwardTexts = rowVariants(backwardCode, { layer_norm_backward_bindings: backwardBindings });

/** Rows that a subgroup sums before it leaves a block. */
const BLOCK_ROWS = 64;
/** How many subgroups the forward pass is cut into at least, so that every core has work. */
const SUBGROUPS = 16;

/**
 * Returns the number of vec4s per lane, or undefined where the variant with subgroups does not run.
 */
function subgroupWidth(gpu: Gpu, columns: number): number | undefined {
  const vec4s = Math.ceil(columns / 32);
  return gpu.variants.rows === "subgroup" && vec4s <= MOST_VEC4S ? vec4s : undefined;
}

const sizeParams = (
  { rows, columns }: { rows: number; columns: number },
) => [rows, columns, padded(columns) / 4];

/** What the texts of RMSNorm set. */
const centred = ({ rms }: { rms?: boolean }): Record<string, number> => rms ? { CENTRED: 0 } : {};

/** Arguments of {@link layerNormForward}. */
interface LayerNormForward extends BankRows {
  /** f32 or bf16, as y, `[models, rows, columns]`, rows padded to a multiple of 4 with zeros. */
  x: GpuBuffer;
  /** f32 `[models, 2, columns]`: gains, then biases; in RMSNorm gains alone. */
  parameters: Matrix;
  /** `[models, rows, columns]`. */
  y: GpuBuffer;
  /** f32 `[models, rows, 2]`: mean and reciprocal standard deviation. */
  statistics: GpuBuffer;
  /** Added to the variance. */
  epsilon: number;
  /** Whether it is RMSNorm. */
  rms?: boolean;
}

/**
 * Plans `y = (x - mean) / sqrt(variance + epsilon) * gain + bias` for every row of every model; as
 * RMSNorm `y = x / sqrt(mean(x²) + epsilon) * gain`.
 */
export function layerNormForward(gpu: Gpu, tensors: LayerNormForward): Dispatch {
  const { offset = 0, model } = tensors.parameters;
  const vec4s = subgroupWidth(gpu, tensors.columns);
  const block = Math.min(BLOCK_ROWS, Math.ceil(tensors.rows * tensors.models / SUBGROUPS));
  const variant: Pick<DispatchPlan, "code" | "constants" | "workgroups"> = vec4s === undefined
    ? rowPlan(gpu, tensors, ...forwardTexts(gpu))
    : { code: layerNormForwardSubgroup(vec4s), workgroups: Math.ceil(tensors.rows / block) };
  return gpu.dispatch({
    label: "layer_norm_forward",
    ...variant,
    constants: { ...variant.constants, ...centred(tensors) },
    params: [...sizeParams(tensors), offset / 4, model / 4, floatBits(tensors.epsilon), block],
    buffers: [tensors.x, tensors.parameters.buffer, tensors.y, tensors.statistics],
    models: tensors.models,
  });
}

/** Arguments of {@link layerNormBackward}. */
interface LayerNormBackward extends BankRows {
  /** f32 `[models, rows, columns]`. */
  dY: GpuBuffer;
  /** f32 or bf16 `[models, rows, columns]`, as given to the forward pass. */
  x: GpuBuffer;
  /** f32 `[models, rows, 2]`, from the forward pass. */
  statistics: GpuBuffer;
  /** f32 `[models, 2, columns]`: gains, then biases; in RMSNorm gains alone. */
  parameters: Matrix;
  /** f32 `[models, rows, columns]`. */
  dX: GpuBuffer;
  /** f32, the layout of `parameters`: gradients of gains, then of biases. */
  dParameters: Matrix;
  /** Scratch of at least {@link layerNormScratch} f32 values. */
  partial: GpuBuffer;
  /** Adds into `dX` instead of writing it. */
  accumulate?: boolean;
  /** Adds into `dParameters` instead of writing them. */
  accumulateParameters?: boolean;
  /** Whether it is RMSNorm. */
  rms?: boolean;
}

/** Returns the f32 values of scratch that {@link layerNormBackward} needs. */
export function layerNormScratch({ models, rows, columns }: BankRows): number {
  return 2 * models * Math.ceil(rows / BLOCK_ROWS) * padded(columns);
}

/** Plans the gradients of the norm's input, gains and biases. */
export function layerNormBackward(gpu: Gpu, tensors: LayerNormBackward): Dispatch[] {
  const { models, rows, columns, partial } = tensors;
  const { offset = 0, model } = tensors.parameters;
  const label = "layer_norm_backward";
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const accumulate = Number(tensors.accumulate ?? false);
  const params = [...sizeParams(tensors), offset / 4, model / 4, accumulate, BLOCK_ROWS];
  const buffers = [
    tensors.dY,
    tensors.x,
    tensors.statistics,
    tensors.parameters.buffer,
    tensors.dX,
  ];
  const finish = addBlocks(gpu, {
    partial,
    blocks,
    width: (tensors.rms ? 1 : 2) * padded(columns),
    sums: tensors.dParameters,
    models,
    accumulate: tensors.accumulateParameters,
  });
  const vec4s = subgroupWidth(gpu, columns);
  if (vec4s !== undefined) {
    const backward = gpu.dispatch({
      label,
      code: layerNormBackwardSubgroup(vec4s),
      constants: centred(tensors),
      params,
      buffers: [...buffers, partial],
      workgroups: blocks,
      models,
    });
    return [backward, finish];
  }
  const variant = rowPlan(gpu, tensors, ...backwardTexts(gpu));
  return [
    columnSums(gpu, { ...tensors, blockRows: BLOCK_ROWS }),
    finish,
    gpu.dispatch({
      label,
      ...variant,
      constants: { ...variant.constants, ...centred(tensors) },
      params,
      buffers,
      models,
    }),
  ];
}

/**
 * Normalises the rows of `x` for one model, in f64. `gain` and `bias` have one value per column.
 */
export function layerNormForwardReference(
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  bias: ArrayLike<number>,
  epsilon: number,
): { y: Float64Array; mean: Float64Array; scale: Float64Array } {
  const columns = gain.length;
  const rows = x.length / columns;
  const y = new Float64Array(x.length);
  const mean = new Float64Array(rows);
  const scale = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: columns }, (_, column) => x[row * columns + column]);
    mean[row] = values.reduce((sum, value) => sum + value, 0) / columns;
    const variance = values.reduce((sum, value) => sum + (value - mean[row]) ** 2, 0) / columns;
    scale[row] = 1 / Math.sqrt(variance + epsilon);
    values.forEach((value, column) => {
      y[row * columns + column] = (value - mean[row]) * scale[row] * gain[column] + bias[column];
    });
  }
  return { y, mean, scale };
}

/** Computes the gradients of LayerNorm's input, gains and biases for one model, in f64. */
export function layerNormBackwardReference(
  dY: ArrayLike<number>,
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  epsilon: number,
): { dX: Float64Array; dGain: Float64Array; dBias: Float64Array } {
  const columns = gain.length;
  const rows = x.length / columns;
  const { mean, scale } = layerNormForwardReference(x, gain, new Float64Array(columns), epsilon);
  const dX = new Float64Array(x.length);
  const dGain = new Float64Array(columns);
  const dBias = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    let product = 0;
    for (let column = 0; column < columns; column++) {
      const i = row * columns + column;
      const z = (x[i] - mean[row]) * scale[row];
      dGain[column] += dY[i] * z;
      dBias[column] += dY[i];
      sum += dY[i] * gain[column];
      product += dY[i] * gain[column] * z;
    }
    for (let column = 0; column < columns; column++) {
      const i = row * columns + column;
      const z = (x[i] - mean[row]) * scale[row];
      dX[i] = scale[row] * (dY[i] * gain[column] - sum / columns - (z * product) / columns);
    }
  }
  return { dX, dGain, dBias };
}

/** Divides the rows of `x` by their root mean square for one model, in f64. */
export function rmsNormForwardReference(
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  epsilon: number,
): { y: Float64Array; scale: Float64Array } {
  const columns = gain.length;
  const scale = new Float64Array(x.length / columns);
  for (let i = 0; i < x.length; i++) scale[Math.floor(i / columns)] += x[i] ** 2 / columns;
  scale.forEach((square, row) => scale[row] = 1 / Math.sqrt(square + epsilon));
  const y = Float64Array.from(
    x,
    (value, i) => value * scale[Math.floor(i / columns)] * gain[i % columns],
  );
  return { y, scale };
}

/** Computes the gradients of RMSNorm's input and gains for one model, in f64. */
export function rmsNormBackwardReference(
  dY: ArrayLike<number>,
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  epsilon: number,
): { dX: Float64Array; dGain: Float64Array } {
  const columns = gain.length;
  const { scale } = rmsNormForwardReference(x, gain, epsilon);
  const products = new Float64Array(scale.length);
  const dGain = new Float64Array(columns);
  for (let i = 0; i < x.length; i++) {
    const row = Math.floor(i / columns);
    dGain[i % columns] += dY[i] * x[i] * scale[row];
    products[row] += dY[i] * gain[i % columns] * x[i];
  }
  const dX = Float64Array.from(x, (value, i) => {
    const row = Math.floor(i / columns);
    return scale[row] * dY[i] * gain[i % columns] -
      value * scale[row] ** 3 * products[row] / columns;
  });
  return { dX, dGain };
}
