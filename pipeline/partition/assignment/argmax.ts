/** Assignment without balance: each row to its best expert, as prompts and held-out text are routed. */

import { type Assignment, checkCosts } from "./assignment.ts";

/** Gives each row to its best expert. */
export const argmax: Assignment = {
  method: "argmax",
  about: "each row to its best expert, with no balance",
  passes: 1,
  balanced: false,
  byChunk: false,
  perToken: false,
  async *assign({ open }) {
    for await (const { costs, experts } of open()) yield assignArgmax(costs, experts);
    return undefined;
  },
};

/**
 * Assigns every row to the expert of its lowest NLL, with no balance (ties: the lower id), as inference routes.
 *
 * @param nll Prefix NLLs `[N, E]`, nats; row-major.
 * @param experts E, 1 to 65,535.
 * @returns The expert of each row, `[N]`.
 * @throws {InputError} if a value isn't finite or E is impossible.
 * @throws {RangeError} if the shape is wrong.
 */
export function assignArgmax(nll: Float32Array, experts: number): Uint16Array {
  const rows = checkCosts(nll, experts);
  const expert = new Uint16Array(rows);
  for (let row = 0; row < rows; row++) {
    const base = row * experts;
    let best = 0;
    for (let e = 1; e < experts; e++) {
      if (nll[base + e] < nll[base + best]) best = e;
    }
    expert[row] = best;
  }
  return expert;
}
