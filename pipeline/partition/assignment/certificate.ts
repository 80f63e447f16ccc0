/**
 * Checks an assignment by the definition of its proof. It knows the rows, who got them and the prices, and nothing of how either was
 * found.
 */

import type { CostRows } from "./assignment.ts";
import { Sum } from "./sum.ts";

/**
 * Sums what an assignment costs and what no other with the same rooms undercuts. For any prices p,
 *
 *     D(p) = Σ_rows min_e (cost_e + p_e) − Σ_e room_e · p_e
 *
 * is such a bound: every row pays its price or less than it would elsewhere, and prices paid for all rooms cancel out. Give it
 * all rows once; sums are in f64, in their order, with what additions round away kept.
 */
export class Certificate {
  /** Rows that every expert got `[E]`. */
  readonly loads: number[];
  /** Rows so far. */
  rows = 0;
  readonly #prices: Float64Array;
  readonly #cost = new Sum();
  readonly #least = new Sum();

  /** `prices` are those that prove it `[E]`. */
  constructor(prices: ArrayLike<number>) {
    this.#prices = Float64Array.from(prices);
    this.loads = new Array<number>(prices.length).fill(0);
  }

  /** Takes the rows that come next, and the expert of each. */
  add({ costs, experts }: CostRows, expert: Uint16Array): void {
    const prices = this.#prices;
    const rows = costs.length / experts;
    for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
      let least = costs[begin] + prices[0];
      for (let e = 1; e < experts; e++) {
        const sum = costs[begin + e] + prices[e];
        if (sum < least) least = sum;
      }
      this.#least.add(least);
      this.#cost.add(costs[begin + expert[row]]);
      this.loads[expert[row]]++;
    }
    this.rows += rows;
  }

  /** What the rows cost where they are. */
  get cost(): number {
    return this.#cost.value;
  }

  /** What no assignment with these rooms `[E]` undercuts. */
  bound(rooms: readonly number[]): number {
    const paid = new Sum();
    rooms.forEach((room, e) => paid.add(room * this.#prices[e]));
    return this.#least.value - paid.value;
  }
}
