/**
 * How many sequences run through a model at once.
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import { MLP_EXPANSION, type ModelConfig } from "./shape.ts";

const TOKENS_PER_PASS = 8192;
const MOST_ROWS_PER_PASS = 256;

/** Gives the sequences of one forward pass: as asked, or as many as are quick and fit the adapter's bindings. */
export function rowsPerPass(gpu: Gpu, { hidden }: ModelConfig, length: number, asked?: number): number {
  const widest = length * MLP_EXPANSION * hidden * 4; // bytes of one sequence's MLP activations
  const rows = Math.min(MOST_ROWS_PER_PASS, TOKENS_PER_PASS / length, gpu.maxBindingBytes / widest);
  return asked ?? Math.max(1, Math.floor(rows));
}
