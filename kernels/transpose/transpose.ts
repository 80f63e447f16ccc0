/** Transposed copies of weights: the forward pass reads them along its output columns. */

import code from "./transpose.wgsl" with { type: "text" };
import bindings from "./transpose_bindings.wgsl" with { type: "text" };
import workgroupCode from "./transpose_workgroup.wgsl" with { type: "text" };
import type { Dispatch, Gpu } from "../device/gpu.ts";
import type { BankRows, Matrix } from "../device/matrix.ts";
import { compose } from "../device/wgsl.ts";

const BINDINGS = { transpose_bindings: bindings };
/** The edge of a tile and the WGSL, for each variant of the kernels that work row by row. */
const TRANSPOSES = {
  invocation: { tile: 16, code: compose(code, BINDINGS) },
  workgroup: { tile: 32, code: compose(workgroupCode, BINDINGS) },
};

/** Arguments of {@link transpose}: sizes of `a`, and the matrices. */
interface Transpose extends BankRows {
  /** f32 `[models, rows, columns]`. */
  a: Matrix;
  /** f32 or bf16 `[models, columns, rows]`. */
  b: Matrix;
}

/** Plans `b = aᵀ` for every model. */
export function transpose(gpu: Gpu, { a, b, models, rows, columns }: Transpose): Dispatch {
  const variant = TRANSPOSES[gpu.variants.rows === "workgroup" ? "workgroup" : "invocation"];
  const tiles = Math.ceil(rows / variant.tile) * Math.ceil(columns / variant.tile);
  const counts = [a, b].flatMap((
    { offset = 0, stride, model },
  ) => [offset / 4, stride / 4, model / 4]);
  return gpu.dispatch({
    label: "transpose",
    code: variant.code,
    params: [rows, columns, ...counts],
    buffers: [a.buffer, b.buffer],
    workgroups: tiles,
    models,
  });
}
