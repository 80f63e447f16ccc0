/** Where the matrices of a bank of models lie inside a buffer. */

import type { GpuBuffer } from "./gpu.ts";
import { bytesPerValue } from "./storage.ts";

/**
 * A bank of matrices inside a buffer. Offset, stride and `model` count values, not bytes, and are
 * multiples of 4.
 */
export interface Matrix {
  /** The buffer that holds it. */
  buffer: GpuBuffer;
  /** Where the matrix of model 0 starts. */
  offset?: number;
  /** From one row to the next: at least the number of columns, rounded up to a multiple of 4. */
  stride: number;
  /** From one model to the next; 0 when all models share the matrix. */
  model: number;
}

/** Sizes of rows of a bank of models. */
export interface BankRows {
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Columns without padding. */
  columns: number;
}

/** Rounds `count` up to a multiple of 4, the width of a vec4. */
export function padded(count: number): number {
  return Math.ceil(count / 4) * 4;
}

/**
 * Returns a matrix's offset, stride and model, counted in vec4s, for the params of kernel `label`.
 *
 * Throws a `RangeError` where they are no multiples of 4, or `models` matrices of `rows` by
 * `columns` do not fit the buffer.
 */
export function placement(
  label: string,
  name: string,
  matrix: Matrix,
  rows: number,
  columns: number,
  models: number,
): [offset: number, stride: number, model: number] {
  const { offset = 0, stride, model, buffer } = matrix;
  if (offset % 4 !== 0 || stride % 4 !== 0 || model % 4 !== 0 || stride < columns) {
    throw new RangeError(
      `Cannot plan ${label} as offset, stride and model of ${name} must be multiples ` +
        `of 4 and stride >= ${columns}: ` +
        `they are ${offset}, ${stride}, ${model}`,
    );
  }
  const end = offset + (models - 1) * model + (rows - 1) * stride + padded(columns);
  const endByte = end * bytesPerValue(buffer.storage);
  if (endByte > buffer.bytes) {
    throw new RangeError(
      `Cannot plan ${label} as ${name} must lie inside "${buffer.label}": it ends at ` +
        `byte ${endByte}, the buffer has ` +
        `${buffer.bytes}`,
    );
  }
  return [offset / 4, stride / 4, model / 4];
}
