/** How many sequences run through a model at once. */

import type { ModelConfig } from "./shape.ts";
import { largestActivation } from "./activations.ts";

const TOKENS_PER_PASS = 8192;
const MOST_ROWS_PER_PASS = 256;

/** Gives the sequences of one forward pass: as asked, or as many as are quick and fit bindings of `limit` bytes. */
export function rowsPerPass(limit: number, config: ModelConfig, length: number, asked?: number): number {
  const { values } = largestActivation(config, { models: 1, batch: 1, length });
  const rows = Math.min(MOST_ROWS_PER_PASS, TOKENS_PER_PASS / length, limit / (4 * values));
  return asked ?? Math.max(1, Math.floor(rows));
}
