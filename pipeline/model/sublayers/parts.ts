/**
 * The parts that sublayers are made of: a LayerNorm and a linear layer, with their weights, forward and
 * backward.
 */

import type { Dispatch, GpuBuffer } from "../../../kernels/device/gpu.ts";
import { layerNormBackward, layerNormForward } from "../../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded } from "../../../kernels/device/matrix.ts";
import { matmul, type Tail } from "../../../kernels/matmul/matmul.ts";
import { weightGradient } from "../../../kernels/weight_gradient/weight_gradient.ts";
import type { ModelConfig, ParameterSpec } from "../config.ts";
import type { BackwardPass, BatchShape, Pass } from "./sublayer.ts";

/** What every kernel call of a pass needs. */
type Context = Pick<Pass, "gpu" | "config" | "shape" | "parameter">;

/** Epsilon of every LayerNorm. */
export const LAYER_NORM_EPSILON = 1e-5;

/** Lists the weights of a LayerNorm. */
export function normParameters(name: string, columns: number): ParameterSpec[] {
  return [
    { name: `${name}.weight`, shape: [columns], initial: "ones" },
    { name: `${name}.bias`, shape: [columns], initial: "zeros" },
  ];
}

/** Lists the weights of a linear layer, or of a stack of them. */
export function linearParameters(
  name: string,
  outputs: number,
  inputs: number,
  initial: "normal" | "residual",
  stack?: number,
): ParameterSpec[] {
  const many = stack === undefined ? {} : { stack };
  return [
    { name: `${name}.weight`, shape: [outputs, inputs], initial, ...many },
    { name: `${name}.bias`, shape: [outputs], initial: "zeros", ...many },
  ];
}

/** Describes a matrix of `rows` rows of `columns` values per model. */
export function matrixOf(buffer: GpuBuffer, rows: number, columns: number): Matrix {
  return { buffer, stride: padded(columns), model: rows * padded(columns) };
}

/** Gives the sizes of the residual stream. */
function sizesOf({ hidden: columns }: ModelConfig, { models, batch, length }: BatchShape) {
  return { models, rows: batch * length, columns };
}

/** Plans `y = LayerNorm(x)`. */
export function norm(
  { gpu, config, shape, parameter }: Context,
  name: string,
  t: { x: GpuBuffer; y: GpuBuffer; statistics: GpuBuffer },
): Dispatch {
  const parameters = parameter(`${name}.weight`).matrix;
  return layerNormForward(gpu, { ...t, parameters, ...sizesOf(config, shape), epsilon: LAYER_NORM_EPSILON });
}

/**
 * Plans the gradients of a LayerNorm's weights and input. The gradient of its output is `branch`; that of its
 * input is added to `residual` or becomes it.
 */
export function normBackward(
  pass: Context & Pick<BackwardPass, "residual" | "branch" | "partial" | "accumulate">,
  name: string,
  { x, statistics, add = true }: { x: GpuBuffer; statistics: GpuBuffer; add?: boolean },
): Dispatch[] {
  const { matrix, gradient } = pass.parameter(`${name}.weight`);
  return layerNormBackward(pass.gpu, {
    dY: pass.branch,
    x,
    statistics,
    parameters: matrix,
    dX: pass.residual,
    dParameters: gradient,
    partial: pass.partial,
    ...sizesOf(pass.config, pass.shape),
    accumulate: add,
    accumulateParameters: pass.accumulate,
  });
}

/** Plans `y = tail(W · x + b)`, with scratch `sums` if there is some. */
export function linear(
  { gpu, shape, parameter, buffers }: Pass,
  name: string,
  { x, y, tail, extra }: { x: GpuBuffer; y: GpuBuffer; tail: Tail; extra?: GpuBuffer },
): Dispatch {
  const { rows: outputs, columns: inputs, transposed } = parameter(`${name}.weight`);
  const rows = shape.batch * shape.length;
  return matmul(gpu, {
    a: matrixOf(x, rows, inputs),
    b: transposed,
    c: matrixOf(y, rows, outputs),
    bias: parameter(`${name}.bias`).matrix,
    extra: extra && matrixOf(extra, rows, outputs),
    sums: buffers.sums,
    models: shape.models,
    m: rows,
    n: outputs,
    k: inputs,
    tail,
  });
}

/**
 * Plans the gradients of a linear layer's weights and input. Where the input is the output of GELU, `gelu` is
 * its input, and its slope is multiplied in.
 */
export function linearBackward(
  { gpu, shape, parameter, partial, parts, accumulate }: BackwardPass,
  name: string,
  { dY, x, dX, gelu }: { dY: GpuBuffer; x: GpuBuffer; dX: GpuBuffer; gelu?: GpuBuffer },
): Dispatch[] {
  const { rows: outputs, columns: inputs, asRead, gradient } = parameter(`${name}.weight`);
  const { models } = shape;
  const rows = shape.batch * shape.length;
  const output = matrixOf(dY, rows, outputs);
  return [
    ...weightGradient(gpu, {
      dY: output,
      x: matrixOf(x, rows, inputs),
      weight: gradient,
      bias: parameter(`${name}.bias`).gradient,
      partial,
      parts,
      models,
      rows,
      inputs,
      outputs,
      accumulate,
    }),
    matmul(gpu, {
      a: output,
      b: asRead,
      c: matrixOf(dX, rows, inputs),
      ...gelu && { extra: matrixOf(gelu, rows, inputs), tail: "gelu_slope" },
      models,
      m: rows,
      n: inputs,
      k: outputs,
    }),
  ];
}
