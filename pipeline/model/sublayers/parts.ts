/**
 * The parts that sublayers are made of: a LayerNorm and a linear layer, with their weights, forward and
 * backward.
 */

import type { Dispatch, GpuBuffer } from "../../../kernels/device/gpu.ts";
import { layerNormBackward, layerNormForward } from "../../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded, stackOf } from "../../../kernels/device/matrix.ts";
import type { Groups } from "../../../kernels/matmul/groups.ts";
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

/** Where the rows of each layer of a stack lie: layer after layer, those of every model for itself. */
export interface StackedRows {
  /** u32 `[models, stack, 2]`: first row and number of rows of each layer. */
  groups: GpuBuffer;
  /** Most rows of one layer. */
  most: number;
}

/** What one dispatch takes of a linear layer: its sizes, and views of matrices of weights and of rows. */
interface Product {
  sizes: { models: number; m: number; groups?: Groups };
  /** A tensor of the layer, of so many rows per matrix. */
  own(tensor: Matrix, rows: number): Matrix;
  /** Rows of so many columns. */
  rows(buffer: GpuBuffer, columns: number): Matrix;
}

/** Lists the dispatches of a linear layer: one for all models, or of a stack of layers one per model. */
function productsOf({ shape, parameter }: Pass, name: string, stacked?: StackedRows): Product[] {
  const { models } = shape;
  const m = shape.batch * shape.length;
  const all = (buffer: GpuBuffer, columns: number) => matrixOf(buffer, m, columns);
  if (!stacked) return [{ sizes: { models, m }, own: (tensor) => tensor, rows: all }];
  const { stack } = parameter(`${name}.weight`);
  const { groups: buffer, most } = stacked;
  return Array.from({ length: models }, (_, model) => ({
    sizes: { models: stack, m: most, groups: { buffer, first: model * stack } },
    own: (tensor, rows) => stackOf(tensor, rows, model),
    rows(buffer, columns) {
      const matrix = all(buffer, columns);
      return { ...matrix, offset: model * matrix.model, model: 0 };
    },
  }));
}

/** Plans `y = tail(W · x + b)`, with scratch `sums` if there is some; of a stack for the rows of each layer. */
export function linear(
  pass: Pass,
  name: string,
  { x, y, tail, extra, stacked }: {
    x: GpuBuffer;
    y: GpuBuffer;
    tail: Tail;
    extra?: GpuBuffer;
    stacked?: StackedRows;
  },
): Dispatch[] {
  const { rows: n, columns: k, transposed } = pass.parameter(`${name}.weight`);
  const bias = pass.parameter(`${name}.bias`).matrix;
  return productsOf(pass, name, stacked).map(({ sizes, own, rows }) =>
    matmul(pass.gpu, {
      a: rows(x, k),
      b: own(transposed, k),
      c: rows(y, n),
      bias: own(bias, 1),
      extra: extra && rows(extra, n),
      sums: pass.buffers.sums,
      ...{ ...sizes, n, k, tail },
    })
  );
}

/**
 * Plans the gradients of a linear layer's weights and input. Where the input is the output of GELU, `gelu` is
 * its input, and its slope is multiplied in.
 */
export function linearBackward(
  pass: BackwardPass,
  name: string,
  { dY, x, dX, gelu, stacked }: {
    dY: GpuBuffer;
    x: GpuBuffer;
    dX: GpuBuffer;
    gelu?: GpuBuffer;
    stacked?: StackedRows;
  },
): Dispatch[] {
  const { gpu, partial, parts, accumulate } = pass;
  const { rows: outputs, columns: inputs, asRead, gradient } = pass.parameter(`${name}.weight`);
  const bias = pass.parameter(`${name}.bias`).gradient;
  return productsOf(pass, name, stacked).flatMap(({ sizes, sizes: { models, m, groups }, own, rows }) => [
    ...weightGradient(gpu, {
      dY: rows(dY, outputs),
      x: rows(x, inputs),
      weight: own(gradient, outputs),
      bias: own(bias, 1),
      ...{ partial, models, rows: m, inputs, outputs, accumulate, groups },
      parts: groups ? undefined : parts,
    }),
    matmul(gpu, {
      a: rows(dY, outputs),
      b: own(asRead, outputs),
      c: rows(dX, inputs),
      ...gelu && { extra: rows(gelu, inputs), tail: "gelu_slope" },
      ...{ ...sizes, n: inputs, k: outputs },
    }),
  ]);
}
