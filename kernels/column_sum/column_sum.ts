/**
 * Sums over rows, in blocks: the gradients of LayerNorm's gains and biases. {@link addBlocks} also adds up the blocks that
 * other kernels sum for their biases.
 */

import partialCode from "./column_sum_partial.wgsl" with { type: "text" };
import partialBindings from "./column_sum_partial_bindings.wgsl" with { type: "text" };
import finishCode from "./column_sum_finish.wgsl" with { type: "text" };
import finishBindings from "./column_sum_finish_bindings.wgsl" with { type: "text" };
import partialWorkgroupCode from "./column_sum_partial_workgroup.wgsl" with { type: "text" };
import finishWorkgroupCode from "./column_sum_finish_workgroup.wgsl" with { type: "text" };
import sumRowsCode from "./sum_rows.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { type Matrix, padded } from "../device/matrix.ts";
import { compose } from "../device/wgsl.ts";

/** Invocations of a workgroup. Neighbours take neighbouring columns. */
const WORKGROUP = 16;
/**
 * Lanes of a workgroup on GPUs: how many vec4s of columns lie side by side, and how many lanes share each.
 */
const [COLUMNS, ROWS] = [16, 8];
const PARTIAL_BINDINGS = { column_sum_partial_bindings: partialBindings };
const FINISH_BINDINGS = { column_sum_finish_bindings: finishBindings };
const PARTIAL = compose(partialCode, PARTIAL_BINDINGS);
const FINISH = compose(finishCode, FINISH_BINDINGS);
const PARTIAL_WORKGROUP = compose(partialWorkgroupCode, { ...PARTIAL_BINDINGS, sum_rows: sumRowsCode });
const FINISH_WORKGROUP = compose(finishWorkgroupCode, { ...FINISH_BINDINGS, sum_rows: sumRowsCode });

/** Arguments of {@link columnSums}. */
export interface ColumnSums {
  /** f32 `[models, rows, columns]`. */
  dY: GpuBuffer;
  /** LayerNorm's input, f32 or bf16, the layout of `dY`. */
  x: GpuBuffer;
  /** f32 `[models, rows, 2]`: mean and reciprocal standard deviation of the rows of `x`. */
  statistics: GpuBuffer;
  /** f32 `[models, blocks, 2, columns]`, rows padded to vec4s. */
  partial: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
  /** Rows per block. */
  blockRows: number;
}

/** Plans the sums of the columns of `dY · z` (`x` normalised), and of `dY`, over blocks of rows: {@link addBlocks} adds these. */
export function columnSums(gpu: Gpu, tensors: ColumnSums): Dispatch {
  const stride4 = padded(tensors.columns) / 4;
  const blocks = Math.ceil(tensors.rows / tensors.blockRows);
  return gpu.dispatch({
    label: "column_sum_partial",
    ...(gpu.variants.rows === "workgroup"
      ? {
        code: PARTIAL_WORKGROUP,
        constants: { COLUMNS, ROWS },
        workgroups: Math.ceil(stride4 / COLUMNS) * blocks,
      }
      : {
        code: PARTIAL,
        constants: { WG: WORKGROUP },
        workgroups: Math.ceil((stride4 * blocks) / WORKGROUP),
      }),
    params: [tensors.rows, stride4, tensors.blockRows, blocks],
    buffers: [tensors.dY, tensors.x, tensors.statistics, tensors.partial],
    models: tensors.models,
  });
}

/** Arguments of {@link addBlocks}. */
export interface AddBlocks {
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
  const ACCUMULATE = Number(accumulate);
  return gpu.dispatch({
    label: "column_sum_finish",
    ...(gpu.variants.rows === "workgroup" && blocks > 1
      ? {
        code: FINISH_WORKGROUP,
        constants: { COLUMNS, ROWS, ACCUMULATE },
        workgroups: Math.ceil(width / 4 / COLUMNS),
      }
      : {
        code: FINISH,
        constants: { WG: WORKGROUP, ACCUMULATE },
        workgroups: Math.ceil(width / 4 / WORKGROUP),
      }),
    params: [blocks, width / 4, (sums.offset ?? 0) / 4, sums.model / 4],
    buffers: [partial, sums.buffer],
    models,
  });
}
