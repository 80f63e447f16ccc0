/** The first way through all rows: a sample, the order in which the greedy rule takes them, and what they cost with no balance. */

import { checkCosts, type CostRows, leastCost } from "../assignment.ts";
import { orderByKey } from "../balanced.ts";
import { Sum } from "../sum.ts";
import { StridedSample } from "./sample.ts";

const BLOCK = 65_536; // keys whose memory is taken at once

/** Looks at all rows once. */
export class Survey {
  /** Some of the rows, or all of them. */
  readonly sample: StridedSample;
  /** E. */
  experts = 0;
  readonly #unbalanced = new Sum();
  readonly #keys: Float64Array[] = []; // blocks [BLOCK]: the least cost of each row for each predicted token

  /** `sampled` is how many rows the sample holds at most; chosen by the number of experts unless given. */
  constructor(sampled?: number) {
    this.sample = new StridedSample(sampled);
  }

  /** Takes the rows that come next. Throws an `InputError` where a cost isn't finite. */
  add(rows: CostRows): void {
    const { costs, experts, predicted } = rows;
    const count = checkCosts(costs, experts, rows.where);
    this.experts = experts;
    for (let row = 0, at = this.rows; row < count; row++, at++) {
      const least = leastCost(costs, row * experts, experts);
      this.#unbalanced.add(least);
      if (at % BLOCK === 0) this.#keys.push(new Float64Array(BLOCK));
      this.#keys[this.#keys.length - 1][at % BLOCK] = predicted === undefined
        ? least
        : least / predicted[row];
    }
    this.sample.add(rows);
  }

  /** Rows so far. */
  get rows(): number {
    return this.sample.seen;
  }

  /** What they cost where each is with its best expert. */
  get unbalanced(): number {
    return this.#unbalanced.value;
  }

  /** Gives the turn of every row, from 0, in which the greedy rule lets it choose `[rows]`. To be asked once. */
  turns(): Uint32Array {
    const keys = new Float64Array(this.rows);
    for (let at = 0; at < keys.length; at += BLOCK) {
      keys.set(this.#keys.shift()!.subarray(0, keys.length - at), at);
    }
    const turns = new Uint32Array(keys.length);
    orderByKey(keys).forEach((row, turn) => turns[row] = turn);
    return turns;
  }
}
