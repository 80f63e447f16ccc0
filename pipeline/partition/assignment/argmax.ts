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
 * @param prices Amounts to add to the NLLs of each expert `[E]`; 0 unless given.
 * @returns The expert of each row, `[N]`.
 * @throws {InputError} if a value isn't finite or E is impossible.
 * @throws {RangeError} if the shape is wrong.
 */
export function assignArgmax(nll: Float32Array, experts: number, prices?: ArrayLike<number>): Uint16Array {
  const rows = checkCosts(nll, experts);
  const added = Float64Array.from(prices ?? { length: experts }, (price = 0) => price);
  const expert = new Uint16Array(rows);
  for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
    let best = 0, least = Infinity;
    for (let e = 0; e < experts; e++) {
      const cost = nll[begin + e] + added[e];
      if (cost < least) best = e, least = cost;
    }
    expert[row] = best;
  }
  return expert;
}
