/**
 * Sums over rows, in blocks: the gradients of the gains and biases of norms. {@link addBlocks} also
 * adds up the blocks that other kernels sum for their biases.
 */

import partialCode from "./column_sum_partial.wgsl" with { type: "text" };
import finishCode from "./column_sum_finish.wgsl" with { type: "text" };
import sumRowsCode from "./sum_rows.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { type BankRows, type Matrix, padded } from "../device/matrix.ts";
import { compose } from "../device/wgsl.ts";

/** Vec4s of columns that lie side by side in a workgroup: neighbours take neighbouring columns. */
const COLUMNS = 16;
/** How many lanes share a column where it is one, and on GPUs, with the texts of both kernels. */
const [ALONE, SHARED] = ([
  [1, "fn sum_rows(lane: u32, own: vec4f) -> vec4f { return own; }"],
  [8, sumRowsCode],
] as const).map(([ROWS, sum_rows]) => ({
  ROWS,
  partial: compose(partialCode, { sum_rows }),
  finish: compose(finishCode, { sum_rows }),
}));

/** Arguments of {@link columnSums}. */
interface ColumnSums extends BankRows {
  /** f32 `[models, rows, columns]`. */
  dY: GpuBuffer;
  /** The norm's input, f32 or bf16, the layout of `dY`. */
  x: GpuBuffer;
  /** f32 `[models, rows, 2]`: mean and reciprocal standard deviation of the rows of `x`. */
  statistics: GpuBuffer;
  /** f32 `[models, blocks, 2, columns]` (RMSNorm: 1 instead of 2), rows padded to vec4s. */
  partial: GpuBuffer;
  /** Whether it is RMSNorm, which has no biases. */
  rms?: boolean;
  /** Rows per block. */
  blockRows: number;
}

/**
 * Plans the sums of the columns of `dY · z` (`x` normalised), and for biases of `dY`, over blocks
 * of rows: {@link addBlocks} adds these.
 */
export function columnSums(gpu: Gpu, tensors: ColumnSums): Dispatch {
  const stride4 = padded(tensors.columns) / 4;
  const blocks = Math.ceil(tensors.rows / tensors.blockRows);
  const { partial: code, ROWS } = gpu.variants.rows === "workgroup" ? SHARED : ALONE;
  return gpu.dispatch({
    label: "column_sum_partial",
    code,
    constants: { COLUMNS, ROWS, ...tensors.rms && { CENTRED: 0 } },
    workgroups: Math.ceil(stride4 / COLUMNS) * blocks,
    params: [tensors.rows, stride4, tensors.blockRows, blocks],
    buffers: [tensors.dY, tensors.x, tensors.statistics, tensors.partial],
    models: tensors.models,
  });
}

/** Arguments of {@link addBlocks}. */
interface AddBlocks {
  /** f32 `[models, blocks, width]`. */
  partial: GpuBuffer;
  /** Blocks per model. */
  blocks: number;
  /** Values per block, a multiple of 4. */
  width: number;
  /** f32 `[models, width]`. */
  sums: Matrix;
  /** Number of models. */
  models: number;
  /** Adds into `sums` instead of writing them. */
  accumulate?: boolean;
}

/** Plans the sums over blocks, in ascending order. */
export function addBlocks(
  gpu: Gpu,
  { partial, blocks, width, sums, models, accumulate = false }: AddBlocks,
): Dispatch {
  const { finish: code, ROWS } = gpu.variants.rows === "workgroup" && blocks > 1 ? SHARED : ALONE;
  return gpu.dispatch({
    label: "column_sum_finish",
    code,
    constants: { COLUMNS, ROWS, ACCUMULATE: Number(accumulate) },
    workgroups: Math.ceil(width / 4 / COLUMNS),
    params: [blocks, width / 4, (sums.offset ?? 0) / 4, sums.model / 4],
    buffers: [partial, sums.buffer],
    models,
  });
}
