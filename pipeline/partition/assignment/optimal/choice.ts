/** What rows in memory choose at given prices, and what that says of the prices. */

import { Sum } from "../sum.ts";
import type { Weighed } from "./contested.ts";
import { nearest } from "./nearest.ts";
import { largest } from "./sample.ts";

/** The expert of least cost + price of every group of rows, and how close the next one is. */
export class Choice {
  /** The expert of each group `[groups]`; ties go to the lower id. */
  readonly expert: Uint16Array;
  /** Which one comes next `[groups]`. */
  readonly next: Uint16Array;
  /** How much more that costs, prices included `[groups]`. */
  readonly margin: Float64Array;
  /** Rows that each expert gets `[E]`. */
  readonly loads: number[];
  /** What all rows cost where they are, without prices; each counts as the first of its group. */
  readonly cost: number;
  readonly #values: number;

  /** Lets `rows` choose at `prices` `[E]`. */
  constructor(readonly rows: Weighed, readonly prices: Float64Array) {
    const { groups, counts, experts } = rows;
    this.expert = new Uint16Array(groups);
    this.next = new Uint16Array(groups);
    this.margin = new Float64Array(groups);
    this.loads = new Array(experts).fill(0);
    const cost = new Sum(), values = new Sum();
    let group = 0;
    for (const block of rows.blocks()) {
      const { costs } = block;
      const found = nearest(block, prices);
      const many = costs.length / experts;
      for (let i = 0; i < many; i++, group++) {
        const e = found.expert[i], count = counts === undefined ? 1 : counts[group];
        this.expert[group] = e, this.next[group] = found.next[i], this.margin[group] = found.margin[i];
        this.loads[e] += count;
        cost.add(count * costs[i * experts + e]);
        values.add(count * found.value[i]);
      }
    }
    this.cost = cost.value;
    this.#values = values.value;
  }

  /** How far loads are from rooms `[E]`, all experts together. */
  excess(rooms: readonly number[]): number {
    return this.loads.reduce((sum, load, e) => sum + Math.abs(load - rooms[e]), 0);
  }

  /** What no assignment of these rows to the rooms `[E]` undercuts. */
  bound(rooms: readonly number[]): number {
    return boundOf(this.#values, rooms, this.prices);
  }

  /** Gives the margin of the group that comes at this place, from 1 and rounded up, by margin; of the last one where there are fewer. */
  closest(place: number): number {
    const groups = this.margin.length;
    return groups === 0 ? 0 : largest(this.margin.slice(), groups + 1 - Math.min(groups, Math.ceil(place)));
  }

  /** Counts the rows `[E, E]` with a as best and b as next expert whose margin is at most `width`. */
  near(width: number): Float64Array {
    const { experts, counts } = this.rows;
    const near = new Float64Array(experts * experts);
    this.margin.forEach((margin, group) => {
      if (margin > width) return;
      near[this.expert[group] * experts + this.next[group]] += counts === undefined ? 1 : counts[group];
    });
    return near;
  }
}

/** Gives what no assignment undercuts: the sum of what rows cost at prices `[E]`, at least, less those of all rooms `[E]`. */
export function boundOf(values: number, rooms: readonly number[], prices: Float64Array): number {
  const paid = new Sum();
  rooms.forEach((room, e) => paid.add(room * prices[e]));
  return values - paid.value;
}
