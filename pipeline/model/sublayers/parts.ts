/**
 * The parts that sublayers are made of: norms and linear layers, with their weights, forward and
 * backward.
 */

import type { Dispatch, GpuBuffer } from "../../../kernels/device/gpu.ts";
import { layerNormBackward, layerNormForward } from "../../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded } from "../../../kernels/device/matrix.ts";
import type { Groups } from "../../../kernels/matmul/groups.ts";
import { matmul, matmulGated, type Tail } from "../../../kernels/matmul/matmul.ts";
import { weightGradient } from "../../../kernels/weight_gradient/weight_gradient.ts";
import type { BackwardPass, BatchShape, ModelConfig, ParameterSpec, Pass } from "./sublayer.ts";

/** What every kernel call of a pass needs. */
type Context = Pick<Pass, "gpu" | "config" | "shape" | "parameter">;

/** Epsilon of norms, unless the shape of a model says another. */
export const NORM_EPSILON = 1e-5;

/** Lists the weights of a LayerNorm, or of an RMSNorm, which has no bias. */
export function normParameters(
  name: string,
  columns: number,
  { rms = false } = {},
): ParameterSpec[] {
  const gain: ParameterSpec = { name: `${name}.weight`, shape: [columns], initial: "ones" };
  return rms ? [gain] : [gain, { name: `${name}.bias`, shape: [columns], initial: "zeros" }];
}

/** Lists the weights of a linear layer, or of a stack of them. */
export function linearParameters(
  name: string,
  outputs: number,
  inputs: number,
  initial: "normal" | "residual",
  { stack, bias = true, matrix }: { stack?: number; bias?: boolean; matrix?: string } = {},
): ParameterSpec[] {
  const many = stack === undefined ? {} : { stack };
  const joined = matrix === undefined ? {} : { matrix: `${matrix}.weight` };
  const weight: ParameterSpec = {
    name: `${name}.weight`,
    shape: [outputs, inputs],
    initial,
    ...many,
    ...joined,
  };
  return bias
    ? [weight, { name: `${name}.bias`, shape: [outputs], initial: "zeros", ...many }]
    : [weight];
}

/** Describes a matrix of `rows` rows of `columns` values per model. */
export function describeMatrix(buffer: GpuBuffer, rows: number, columns: number): Matrix {
  return { buffer, stride: padded(columns), model: rows * padded(columns) };
}

function streamSizes({ hidden: columns }: ModelConfig, { models, batch, length }: BatchShape) {
  return { models, rows: batch * length, columns };
}

/** Plans `y = LayerNorm(x)` or RMSNorm. */
export function norm(
  { gpu, config, shape, parameter }: Context,
  name: string,
  t: { x: GpuBuffer; y: GpuBuffer; statistics: GpuBuffer; rms?: boolean },
): Dispatch {
  const parameters = parameter(`${name}.weight`).matrix;
  return layerNormForward(gpu, {
    ...t,
    parameters,
    ...streamSizes(config, shape),
    epsilon: config.normEpsilon ?? NORM_EPSILON,
  });
}

/**
 * Plans the gradients of a norm's weights and input. The gradient of its output is `branch`;
 * that of its input is added to `residual` or becomes it.
 */
export function normBackward(
  pass: Context & Pick<BackwardPass, "residual" | "branch" | "partial" | "accumulate">,
  name: string,
  { x, statistics, add = true, rms }: {
    x: GpuBuffer;
    statistics: GpuBuffer;
    add?: boolean;
    rms?: boolean;
  },
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
    ...streamSizes(pass.config, pass.shape),
    accumulate: add,
    accumulateParameters: pass.accumulate,
    rms,
  });
}

/** Where the rows of each layer of a stack lie: layer after layer. */
export interface StackedRows {
  groups: GpuBuffer; // u32 `[stack, 2]`: first row and number of rows of each layer
  most: number; // most rows of one layer
}

/**
 * Returns the sizes of a linear layer's products, and a function that describes its rows as a
 * matrix. A stack has rows for each of its layers.
 */
function productSizes(
  { shape: { models, batch, length } }: Pass,
  stack: number,
  stacked?: StackedRows,
) {
  const m = batch * length;
  const sizes: { models: number; m: number; groups?: Groups } = stacked
    ? { models: stack, m: stacked.most, groups: { buffer: stacked.groups } }
    : { models, m };
  const rows = (buffer: GpuBuffer, columns: number): Matrix => {
    return { ...describeMatrix(buffer, m, columns), ...stacked && { model: 0 } };
  };
  return { sizes, rows };
}

/**
 * Plans `y = tail(W · x + b)`, where the tail has a bias, with scratch `sums` if there is some; of
 * a stack for the rows of each layer.
 */
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
  const { rows: n, columns: k, stack, transposed } = pass.parameter(`${name}.weight`);
  const { sizes, rows } = productSizes(pass, stack, stacked);
  return [matmul(pass.gpu, {
    a: rows(x, k),
    b: transposed,
    c: rows(y, n),
    bias: tail.startsWith("bias") ? pass.parameter(`${name}.bias`).matrix : undefined,
    linear: true,
    extra: extra && rows(extra, n),
    sums: pass.buffers.sums,
    ...sizes,
    n,
    k,
    tail,
  })];
}

/**
 * Plans `y = W · x`, without a bias, and what the left half of y's columns lets through of the right
 * half, as SwiGLU gates it.
 */
export function gatedLinear(
  pass: Pass,
  name: string,
  { x, y, gated }: { x: GpuBuffer; y: GpuBuffer; gated: GpuBuffer },
): Dispatch[] {
  const { rows: n, columns: k, stack, transposed } = pass.parameter(`${name}.weight`);
  const { sizes, rows } = productSizes(pass, stack);
  return matmulGated(pass.gpu, {
    a: rows(x, k),
    b: transposed,
    c: rows(y, n),
    gated,
    linear: true,
    sums: pass.buffers.sums,
    ...sizes,
    n,
    k,
  });
}

/**
 * Plans the gradients of a linear layer's weights and input. Where the input is the output of GELU,
 * `gelu` is its input, and its slope is multiplied in.
 */
export function linearBackward(
  pass: BackwardPass,
  name: string,
  { dY, x, dX, gelu, bias = true, stacked }: {
    dY: GpuBuffer;
    x: GpuBuffer;
    dX: GpuBuffer;
    gelu?: GpuBuffer;
    bias?: boolean;
    stacked?: StackedRows;
  },
): Dispatch[] {
  const { gpu, partial, parts, accumulate } = pass;
  const { rows: outputs, columns: inputs, stack, asRead, gradient } = pass.parameter(
    `${name}.weight`,
  );
  const { sizes, sizes: { models, m, groups }, rows } = productSizes(pass, stack, stacked);
  return [
    ...weightGradient(gpu, {
      dY: rows(dY, outputs),
      x: rows(x, inputs),
      weight: gradient,
      bias: bias ? pass.parameter(`${name}.bias`).gradient : undefined,
      partial,
      models,
      rows: m,
      inputs,
      outputs,
      accumulate,
      groups,
      parts: groups ? undefined : parts,
    }),
    matmul(gpu, {
      a: rows(dY, outputs),
      b: asRead,
      c: rows(dX, inputs),
      ...gelu && { extra: rows(gelu, inputs), tail: "gelu_slope" },
      ...sizes,
      n: inputs,
      k: outputs,
    }),
  ];
}
