/** Sums over rows: the gradients of biases, and of LayerNorm's gains and biases. */

import partialCode from "./column_sum_partial.wgsl" with { type: "text" };
import finishCode from "./column_sum_finish.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "./gpu.ts";
import { type Matrix, padded } from "./matmul.ts";

/** Neighbours take neighbouring columns in either form: a GPU just needs more of them in a workgroup. */
const WORKGROUPS = { invocation: 16, workgroup: 64 };
const BLOCK_ROWS = 64;

/** Arguments of {@link columnSum}. */
export interface ColumnSum {
  /** f32 `[models, rows, columns]`. */
  dY: GpuBuffer;
  /** LayerNorm's input, f32 or bf16, and statistics: with them the sums are those of the gains, then of the biases. */
  normalized?: { x: GpuBuffer; statistics: GpuBuffer };
  /** Scratch of at least {@link columnSumScratch} f32 values. */
  partial: GpuBuffer;
  /** f32 `[models, columns]`, or `[models, 2, columns]` with `normalized`. */
  sums: Matrix;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
  /** Adds into `sums` instead of writing them. */
  accumulate?: boolean;
}

/** Returns the f32 values of scratch that {@link columnSum} needs for `columns` (twice as many where normalized). */
export function columnSumScratch(models: number, rows: number, columns: number): number {
  return models * Math.ceil(rows / BLOCK_ROWS) * padded(columns);
}

/** Plans the sums of the columns of `dY` (with `normalized`: of `dY · z` and of `dY`), in two dispatches. */
export function columnSum(gpu: Gpu, t: ColumnSum): Dispatch[] {
  const { rows, models } = t;
  const workgroup = WORKGROUPS[gpu.variants.rows];
  const stride4 = padded(t.columns) / 4;
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const normalized = Number(t.normalized !== undefined);
  const width4 = stride4 * (1 + normalized);
  return [
    gpu.dispatch({
      label: "column_sum_partial",
      code: partialCode,
      constants: { WG: workgroup, NORMALIZED: normalized },
      params: [rows, stride4, BLOCK_ROWS, blocks],
      buffers: [t.dY, t.normalized?.x ?? gpu.empty, t.normalized?.statistics ?? gpu.empty, t.partial],
      workgroups: Math.ceil((stride4 * blocks) / workgroup),
      models,
    }),
    gpu.dispatch({
      label: "column_sum_finish",
      code: finishCode,
      constants: { WG: workgroup, ACCUMULATE: Number(t.accumulate ?? false) },
      params: [blocks, width4, (t.sums.offset ?? 0) / 4, t.sums.model / 4],
      buffers: [t.partial, t.sums.buffer],
      workgroups: Math.ceil(width4 / workgroup),
      models,
    }),
  ];
}

/** Sums the columns of `[rows, columns]` values for one model, in f64. */
export function columnSumReference(values: ArrayLike<number>, columns: number): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < values.length; i++) sums[i % columns] += values[i];
  return sums;
}
