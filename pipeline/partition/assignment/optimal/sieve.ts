/** A way through all rows at given prices: rows whose choice is clear are settled, the others are kept. */

import type { CostRows } from "../assignment.ts";
import { Sum } from "../sum.ts";
import { boundOf, Choice } from "./choice.ts";
import { Contested } from "./contested.ts";
import { type Nearest, nearest } from "./nearest.ts";
import { priceStep } from "./step.ts";

const OPEN = 65_535; // in place of an expert, whose ids end before it

/**
 * Settles the rows whose next expert costs more than `reach` above the best. They stay right at any other prices whose changes differ
 * by `reach` at most between any two experts, so that a whole assignment follows from the few rows that are contested.
 */
export class Sieve {
  /** The rows that are not settled. */
  readonly contested: Contested;
  readonly #expert: Uint16Array; // of every row
  readonly #settled: number[]; // rows of each expert
  readonly #values = new Sum();
  #seen = 0;
  #nearest?: Nearest;

  /** Starts with none of so many rows. `room` is that of each expert `[E]`, `prices` are `[E]`, `reach` is in nats. */
  constructor(
    rows: number,
    readonly room: readonly number[],
    readonly prices: Float64Array,
    readonly reach: number,
  ) {
    this.contested = new Contested(room.length);
    this.#expert = new Uint16Array(rows);
    this.#settled = room.map(() => 0);
  }

  /** Takes the rows that come next. */
  add(rows: CostRows): void {
    const { costs, experts } = rows;
    const { expert, value, margin } = this.#nearest = nearest(rows, this.prices, this.#nearest);
    const count = costs.length / experts;
    for (let row = 0; row < count; row++) {
      this.#values.add(value[row]);
      if (margin[row] > this.reach) {
        this.#expert[this.#seen + row] = expert[row];
        this.#settled[expert[row]]++;
      } else {
        this.#expert[this.#seen + row] = OPEN;
        this.contested.add(costs, row * experts);
      }
    }
    this.#seen += count;
  }

  /** Rows that each expert is still to get `[E]`; below 0 where it has too many. */
  get left(): number[] {
    return this.room.map((room, e) => room - this.#settled[e]);
  }

  /** What no assignment of all rows undercuts, by these prices. */
  get bound(): number {
    return boundOf(this.#values.value, this.room, this.prices);
  }

  /** Whether what is settled stays right at other prices `[E]`. */
  holdsAt(prices: Float64Array): boolean {
    return spread(prices, this.prices) <= this.reach;
  }

  /** Gives the prices `[E]` at which loads would be rooms, as far as the contested rows tell. */
  get better(): Float64Array {
    const choice = new Choice(this.contested, this.prices);
    const { left } = this;
    const change = priceStep(
      choice.near(this.reach),
      this.reach,
      choice.loads.map((load, e) => load - left[e]),
    );
    return this.prices.map((price, e) => price + change[e]);
  }

  /** Gives the expert of every row; `contested` gives those of the contested ones, in their order. */
  experts(contested: Iterator<number>): Uint16Array {
    const all = this.#expert;
    for (let row = 0; row < all.length; row++) if (all[row] === OPEN) all[row] = contested.next().value!;
    return all;
  }
}

/** Tells how far changes of prices `[E]` lie apart: what an expert may gain over another. */
export function spread(prices: Float64Array, former: Float64Array): number {
  let least = Infinity, most = -Infinity;
  prices.forEach((price, e) => {
    least = Math.min(least, price - former[e]), most = Math.max(most, price - former[e]);
  });
  return most - least;
}
