/** The gated product of SwiGLU (Shazeer 2020), forward and backward. */

import forwardCode from "./swiglu_forward.wgsl" with { type: "text" };
import backwardCode from "./swiglu_backward.wgsl" with { type: "text" };
import sigmoidCode from "./sigmoid.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose } from "../device/wgsl.ts";

const WORKGROUP = 64;
const FORWARD = compose(forwardCode, { sigmoid: sigmoidCode });
const BACKWARD = compose(backwardCode, { sigmoid: sigmoidCode });

/** Sizes of the gated product. */
export interface SwigluShape {
  /** Rows of all models together. */
  rows: number;
  /** Columns of the product, a multiple of 4. */
  inner: number;
}

function swiglu(
  gpu: Gpu,
  { rows, inner }: SwigluShape,
  label: string,
  code: string,
  buffers: GpuBuffer[],
): Dispatch {
  if (inner % 4 !== 0) {
    throw new RangeError(
      `Cannot plan ${label} as inner must be divisible by 4: inner is ${inner}`,
    );
  }
  return gpu.dispatch({
    label,
    code,
    constants: { WG: WORKGROUP },
    params: [rows, inner / 4],
    buffers,
    workgroups: Math.ceil(rows * inner / 4 / WORKGROUP),
  });
}

/** Arguments of {@link swigluForward}. */
interface SwigluForward extends SwigluShape {
  /** f32 or bf16 `[rows, 2, inner]`: gates, then what they let through. */
  x: GpuBuffer;
  /** f32 or bf16 `[rows, inner]`. */
  y: GpuBuffer;
}

/** Plans `y = x0 · sigmoid(x0) · x1` for every row. */
export function swigluForward(gpu: Gpu, { x, y, ...shape }: SwigluForward): Dispatch {
  return swiglu(gpu, shape, "swiglu_forward", FORWARD, [x, y]);
}

/** Arguments of {@link swigluBackward}. */
interface SwigluBackward extends SwigluShape {
  /** f32 `[rows, inner]`. */
  dY: GpuBuffer;
  /** f32 or bf16 `[rows, 2, inner]`, as given to the forward pass. */
  x: GpuBuffer;
  /** f32 `[rows, 2, inner]`. */
  dX: GpuBuffer;
}

/** Plans the gradient of {@link swigluForward}. */
export function swigluBackward(gpu: Gpu, { dY, x, dX, ...shape }: SwigluBackward): Dispatch {
  return swiglu(gpu, shape, "swiglu_backward", BACKWARD, [dY, x, dX]);
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Computes the gated product of a gate and what it lets through, in f64. */
export function swigluReference(gate: number, value: number): number {
  return gate * sigmoid(gate) * value;
}

/** Computes the derivatives of {@link swigluReference} by its gate and by the other, in f64. */
export function swigluBackwardReference(gate: number, value: number): [number, number] {
  const open = sigmoid(gate);
  return [value * open * (1 + gate * (1 - open)), gate * open];
}
