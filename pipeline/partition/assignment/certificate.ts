/**
 * Checks an assignment by the definition of its proof. It knows the rows, who got them and the prices, and nothing of how either was
 * found.
 */

import { type CostRows, leastCost, type Proof } from "./assignment.ts";

/** Adds up millions of costs without losing what tells one assignment from another: the error of each addition is kept (Neumaier). */
export class Sum {
  #sum = 0;
  #lost = 0;

  /** Adds a number. */
  add(x: number): void {
    const next = this.#sum + x;
    this.#lost += Math.abs(this.#sum) >= Math.abs(x) ? (this.#sum - next) + x : (x - next) + this.#sum;
    this.#sum = next;
  }

  /** The sum so far. */
  get value(): number {
    return this.#sum + this.#lost;
  }
}

/**
 * Sums what an assignment costs and what no other with the same rooms undercuts. For any prices p,
 *
 *     D(p) = Σ_rows min_e (cost_e + p_e) − Σ_e room_e · p_e
 *
 * is such a bound: every row pays its price or less than it would elsewhere, and prices paid for all rooms cancel out. Give it
 * all rows once; sums are in f64, in their order, with what additions round away kept.
 */
export class Certificate {
  /** Rows so far. */
  rows = 0;
  readonly #loads: number[];
  readonly #prices: readonly number[];
  readonly #cost = new Sum();
  readonly #least = new Sum();
  readonly #unbalanced = new Sum();

  /** `prices` are those that prove it `[E]`. */
  constructor(prices: ArrayLike<number>) {
    this.#prices = Array.from(prices);
    this.#loads = this.#prices.map(() => 0);
  }

  /** Takes the rows that come next, and the expert of each. */
  add({ costs, experts }: CostRows, expert: Uint16Array): void {
    const prices = this.#prices, rows = costs.length / experts;
    for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
      let least = Infinity;
      for (let e = 0; e < experts; e++) least = Math.min(least, costs[begin + e] + prices[e]);
      this.#least.add(least);
      this.#unbalanced.add(leastCost(costs, begin, experts));
      this.#cost.add(costs[begin + expert[row]]);
      this.#loads[expert[row]]++;
    }
    this.rows += rows;
  }

  /** Reports what the rows prove. */
  get proof(): Proof & { prices: number[] } {
    const prices = [...this.#prices], loads = [...this.#loads];
    const paid = new Sum();
    loads.forEach((load, e) => paid.add(load * prices[e]));
    const cost = this.#cost.value,
      bound = this.#least.value - paid.value,
      unbalanced = this.#unbalanced.value;
    return { cost, bound, rows: this.rows, loads, unbalanced, prices };
  }
}
