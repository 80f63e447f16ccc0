/** Finds the expert that each row costs least, prices included, and how close the next one is. */

import type { CostRows } from "../assignment.ts";

/** The best expert of every row at given prices. */
export interface Nearest {
  /** The expert of least cost + price `[rows]`; ties go to the lower id. */
  expert: Uint16Array;
  /** Which one comes next `[rows]`; `expert` itself where there is one expert alone. */
  next: Uint16Array;
  /** The least cost + price `[rows]`. */
  value: Float64Array;
  /** How much more the next one costs `[rows]`, at least 0; infinite where there is none. */
  margin: Float64Array;
}

/**
 * Finds each row's best and second-best expert at `prices` `[E]`. Sums are in f64. A row's result does not depend on its company.
 *
 * @param rows Costs `[rows, E]`.
 * @param reuse A former result, whose arrays are filled again where they have room.
 */
export function nearest({ costs, experts }: CostRows, prices: Float64Array, reuse?: Nearest): Nearest {
  const rows = costs.length / experts;
  const result = reuse !== undefined && reuse.expert.length >= rows ? reuse : {
    expert: new Uint16Array(rows),
    next: new Uint16Array(rows),
    value: new Float64Array(rows),
    margin: new Float64Array(rows),
  };
  for (let row = 0; row < rows; row++) nearestOf(row, costs, experts, prices, result);
  return result;
}

/** Finds the best and the second-best expert of one row. */
export function nearestOf(
  row: number,
  costs: Float32Array,
  experts: number,
  prices: Float64Array,
  result: Nearest,
): void {
  const begin = row * experts;
  let best = Infinity, second = Infinity, first = 0, other = 0;
  for (let e = 0; e < experts; e++) {
    const sum = costs[begin + e] + prices[e];
    if (sum >= second) continue;
    if (sum < best) second = best, other = first, best = sum, first = e;
    else second = sum, other = e;
  }
  result.expert[row] = first, result.next[row] = other;
  result.value[row] = best, result.margin[row] = second - best;
}
