/** LayerNorm over the columns of every row, forward and backward to its input. */

import forwardCode from "./layer_norm_forward.wgsl" with { type: "text" };
import backwardCode from "./layer_norm_backward.wgsl" with { type: "text" };
import forwardWorkgroupCode from "./layer_norm_forward_workgroup.wgsl" with { type: "text" };
import backwardWorkgroupCode from "./layer_norm_backward_workgroup.wgsl" with { type: "text" };
import { type Dispatch, floatBits, type Gpu, type GpuBuffer } from "./gpu.ts";
import { type Matrix, padded } from "./matmul.ts";
import { rowPlan } from "./rows.ts";

/** Arguments of {@link layerNormForward}. */
export interface LayerNormForward {
  /** f32 or bf16, as y, `[models, rows, columns]`, rows padded to a multiple of 4 with zeros. */
  x: GpuBuffer;
  /** f32 `[models, 2, columns]`: gains, then biases. */
  parameters: Matrix;
  /** `[models, rows, columns]`. */
  y: GpuBuffer;
  /** f32 `[models, rows, 2]`: mean and reciprocal standard deviation. */
  statistics: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
  /** Added to the variance. */
  epsilon: number;
}

/** Plans `y = (x - mean) / sqrt(variance + epsilon) * gain + bias` for every row of every model. */
export function layerNormForward(gpu: Gpu, t: LayerNormForward): Dispatch {
  const { offset = 0, model } = t.parameters;
  return gpu.dispatch({
    label: "layer_norm_forward",
    ...rowPlan(gpu, t, forwardCode, forwardWorkgroupCode),
    params: [t.rows, t.columns, padded(t.columns) / 4, offset / 4, model / 4, floatBits(t.epsilon)],
    buffers: [t.x, t.parameters.buffer, t.y, t.statistics],
    models: t.models,
  });
}

/** Arguments of {@link layerNormBackward}. */
export interface LayerNormBackward {
  /** f32 `[models, rows, columns]`. */
  dY: GpuBuffer;
  /** f32 or bf16 `[models, rows, columns]`, as given to the forward pass. */
  x: GpuBuffer;
  /** f32 `[models, rows, 2]`, from the forward pass. */
  statistics: GpuBuffer;
  /** f32 `[models, 2, columns]`: gains, then biases. */
  parameters: Matrix;
  /** f32 `[models, rows, columns]`. */
  dX: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
  /** Adds into `dX` instead of writing it. */
  accumulate?: boolean;
}

/** Plans the gradient of LayerNorm's input. */
export function layerNormBackward(gpu: Gpu, t: LayerNormBackward): Dispatch {
  const { offset = 0, model } = t.parameters;
  return gpu.dispatch({
    label: "layer_norm_backward",
    ...rowPlan(gpu, t, backwardCode, backwardWorkgroupCode),
    params: [
      t.rows,
      t.columns,
      padded(t.columns) / 4,
      offset / 4,
      model / 4,
      Number(t.accumulate ?? false),
    ],
    buffers: [t.dY, t.x, t.statistics, t.parameters.buffer, t.dX],
    models: t.models,
  });
}

/** Normalises the rows of `x` for one model, in f64. `gain` and `bias` have one value per column. */
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
