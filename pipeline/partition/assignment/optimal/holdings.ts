/** Who holds the rows of those groups that may move. */

import type { Choice } from "./choice.ts";
import type { Contested } from "./contested.ts";

/** How many rows of each group every expert holds, of the groups whose choice is close. */
export class Holdings {
  /** E. */
  readonly experts: number;
  readonly #contested: Contested;
  readonly #held = new Map<number, number>(); // rows of group · E + expert; never 0
  readonly #mayMove: Uint8Array;

  /** Starts with every group at its choice. So many groups may move: those whose margin is least, the first of equals. */
  constructor(contested: Contested, choice: Choice, candidates: number) {
    const { expert, margin } = choice;
    this.experts = contested.experts;
    this.#contested = contested;
    this.#mayMove = new Uint8Array(contested.groups);
    const reach = choice.closest(candidates);
    let ties = Math.min(candidates, contested.groups);
    for (const value of margin) if (value < reach) ties--;
    for (let group = 0; group < contested.groups; group++) {
      if (!(margin[group] < reach || margin[group] === reach && ties-- > 0)) continue;
      this.#mayMove[group] = 1;
      this.#held.set(group * this.experts + expert[group], contested.counts[group]);
    }
  }

  /** Whether rows of a group may move. */
  mayMove(group: number): boolean {
    return this.#mayMove[group] === 1;
  }

  /** Tells how many rows of a group an expert holds. */
  held(group: number, expert: number): number {
    return this.#held.get(group * this.experts + expert) ?? 0;
  }

  /** Gives an expert more rows of a group, or takes some. */
  give(group: number, expert: number, rows: number): void {
    const key = group * this.experts + expert;
    const held = (this.#held.get(key) ?? 0) + rows;
    if (held === 0) this.#held.delete(key);
    else this.#held.set(key, held);
  }

  /** Lists who holds rows: group and expert, in the order in which they came to hold them. */
  *holders(): Generator<[group: number, expert: number]> {
    for (const key of this.#held.keys()) yield [Math.floor(key / this.experts), key % this.experts];
  }

  /** Tells what a row of a group costs more with expert `to` than with `from`. */
  difference(group: number, from: number, to: number): number {
    return this.#contested.difference(group, from, to);
  }
}
