/**
 * Counts what models cost (SmallTalk LM, its cost model).
 *
 * @module
 */

import type { ModelConfig } from "./model/config.ts";

/** Counts the FLOPs of one forward pass over `sequences` of `length` tokens each. */
export function forwardFlops(
  { vocabulary, hidden, layers }: ModelConfig,
  sequences: number,
  length: number,
): number {
  const tokens = sequences * length;
  const inner = 4 * hidden;
  const layer = 8 * tokens * hidden ** 2 + 4 * tokens * length * hidden + 4 * tokens * hidden * inner;
  return tokens * hidden + layers * layer + 2 * tokens * hidden * vocabulary + 3 * tokens * vocabulary;
}

/** Counts the FLOPs of one training step: forward, and twice that backward. */
export function trainingFlops(model: ModelConfig, sequences: number, length: number): number {
  return 3 * forwardFlops(model, sequences, length);
}
