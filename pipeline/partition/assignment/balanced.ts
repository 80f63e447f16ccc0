/**
 * Balanced assignment as in the paper: chunk by chunk, every expert gets an equal part of each
 * chunk.
 */

import { type Assignment, checkCosts, equalRooms, leastCost } from "./assignment.ts";

/** Greedy assignment in equal parts (SmallTalk LM, Algorithm 1). */
export const balanced: Assignment = {
  method: "balanced",
  about: "equal parts: the rows that are likeliest for their length choose first, among " +
    "the experts with room",
  passes: 1,
  balanced: true,
  byChunk: true,
  perToken: true,
  async *assign({ open, rooms }) {
    for await (const { costs, experts, predicted } of open()) {
      yield assignBalanced(costs, experts, predicted, rooms(costs.length / experts, experts));
    }
    return undefined;
  },
};

/**
 * Assigns the rows of one chunk in equal parts: ordered by their best NLL per predicted token,
 * lowest first, each row takes its best expert that still has room (SmallTalk LM, Algorithm 1,
 * balanced_assignments).
 *
 * Without `rooms` every expert gets `floor(N / E)` rows and the first `N mod E` experts one more.
 * Ties: the earlier row first, the lower expert first. Takes O(N·(E + log N)) time and 14 bytes per
 * row.
 *
 * @param nll Prefix NLLs `[N, E]`, nats, lower is better; row-major.
 * @param experts E, 1 to 65,535.
 * @param predicted Predicted prefix tokens of each row `[N]`, `min(M, length) - 1`, at least 1; all
 * equal by default.
 * @param rooms Rows for each expert `[E]`, N in all; equal by default.
 * @returns The expert of each row, `[N]`.
 * @throws {InputError} if a value of `nll` isn't finite or E is impossible.
 * @throws {RangeError} if a shape is wrong or one of `predicted` is 0.
 */
export function assignBalanced(
  nll: Float32Array,
  experts: number,
  predicted?: Uint32Array,
  rooms?: readonly number[],
): Uint16Array {
  const rows = checkCosts(nll, experts);
  if (predicted !== undefined) checkPredicted(predicted, rows);
  const keys = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    // Two different quotients of an f32 and an integer below 2^28 differ by more than an f64's
    // rounding, and equal ones round alike: the order of these keys, ties included, is that of the
    // exact quotients.
    keys[row] = leastCost(nll, row * experts, experts) / (predicted?.[row] ?? 1);
  }
  const expert = new Uint16Array(rows);
  const room = [...rooms ?? equalRooms(rows, experts)];
  // Ascending, so that the first of equals is the lowest id.
  const open = room.flatMap((n, e) => n > 0 ? [e] : []);
  // The earlier of equals first.
  const order = Uint32Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b]);
  for (const row of order) {
    const base = row * experts;
    let best = 0;
    for (let i = 1; i < open.length; i++) {
      if (nll[base + open[i]] < nll[base + open[best]]) best = i;
    }
    expert[row] = open[best];
    if (--room[open[best]] === 0) open.splice(best, 1);
  }
  return expert;
}

function checkPredicted(predicted: Uint32Array, rows: number) {
  const zero = predicted.indexOf(0);
  if (predicted.length === rows && zero < 0) return;
  const fact = zero < 0
    ? `predicted has ${predicted.length}, rows is ${rows}`
    : `predicted of row ${zero} is 0; leave out such rows`;
  throw new RangeError(`Cannot assign as every row must predict a token or more: ${fact}`);
}
