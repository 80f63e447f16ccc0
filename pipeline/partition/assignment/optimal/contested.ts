/**
 * Rows whose expert is not settled yet, in memory. Rows that differ by a constant alone are one group: they are all as good to
 * move as each other.
 */

import type { CostRows } from "../assignment.ts";

const BLOCK = 4096; // groups, or rows, whose memory is taken at once

/** Groups of rows, each with its costs and how many rows it stands for. */
export interface Weighed {
  /** E. */
  experts: number;
  /** Groups. */
  groups: number;
  /** Rows of all groups. */
  rows: number;
  /** Rows of each group `[groups]`, and then room; one each where it is absent. */
  counts?: Uint32Array;
  /** Costs of the groups, in their order. */
  blocks(): Iterable<CostRows>;
}

/** Collects rows as groups, and remembers the group of every row. */
export class Contested implements Weighed {
  readonly experts: number;
  groups = 0;
  rows = 0;
  counts = new Uint32Array(BLOCK);
  readonly #costs: Float32Array[] = []; // blocks [BLOCK, E], of a group's first row each
  readonly #groupOf: Uint32Array[] = []; // blocks [BLOCK]
  #slots = new Int32Array(4 * BLOCK).fill(-1); // groups by the hash of their differences, at the next free place
  readonly #row: Float64Array; // differences of the row at hand
  readonly #bits: Uint32Array; // the same, as bits

  /** Starts with none. */
  constructor(experts: number) {
    this.experts = experts;
    this.#row = new Float64Array(experts);
    this.#bits = new Uint32Array(this.#row.buffer);
  }

  /** Adds a row, whose costs begin at `begin`. */
  add(costs: Float32Array, begin: number): void {
    const row = this.#row;
    for (let e = 0; e < row.length; e++) row[e] = costs[begin + e] - costs[begin] + 0; // -0 becomes 0, its equal
    let slot = this.#find();
    if (this.#slots[slot] < 0) {
      if (2 * this.groups >= this.#slots.length) {
        this.#widen();
        slot = this.#find();
      }
      this.#slots[slot] = this.groups;
      this.#keep(costs, begin);
    }
    const group = this.#slots[slot];
    this.counts[group]++;
    if (this.rows % BLOCK === 0) this.#groupOf.push(new Uint32Array(BLOCK));
    this.#groupOf[this.#groupOf.length - 1][this.rows++ % BLOCK] = group;
  }

  *blocks(): Generator<CostRows> {
    const { experts } = this;
    for (const [i, costs] of this.#costs.entries()) {
      yield { experts, costs: costs.subarray(0, Math.min(BLOCK, this.groups - i * BLOCK) * experts) };
    }
  }

  /** Gives the group of every row, in the order in which they came. */
  *groupOfRows(): Generator<number> {
    for (let row = 0; row < this.rows; row++) {
      yield this.#groupOf[Math.floor(row / BLOCK)][row % BLOCK];
    }
  }

  /** Tells what a row of a group costs more with expert `to` than with `from`. */
  difference(group: number, from: number, to: number): number {
    const costs = this.#costs[Math.floor(group / BLOCK)], begin = group % BLOCK * this.experts;
    return costs[begin + to] - costs[begin + from];
  }

  #keep(costs: Float32Array, begin: number): void {
    const { experts } = this;
    const at = this.groups++ % BLOCK;
    if (at === 0) this.#costs.push(new Float32Array(BLOCK * experts));
    this.#costs[this.#costs.length - 1].set(costs.subarray(begin, begin + experts), at * experts);
    if (this.groups <= this.counts.length) return;
    const counts = new Uint32Array(2 * this.counts.length);
    counts.set(this.counts);
    this.counts = counts;
  }

  /** Finds the slot of the row at hand: its group's, or the free one where that belongs. */
  #find(): number {
    const bits = this.#bits, slots = this.#slots, mask = slots.length - 1;
    let hash = 0;
    for (let i = 0; i < bits.length; i++) hash = Math.imul(hash ^ bits[i], 0x9e3779b1) ^ (hash >>> 15);
    let slot = (hash ^ (hash >>> 16)) & mask;
    while (slots[slot] >= 0 && !this.#isRow(slots[slot])) slot = (slot + 1) & mask;
    return slot;
  }

  /** Whether the row at hand is of a group. */
  #isRow(group: number): boolean {
    const row = this.#row;
    for (let e = 1; e < row.length; e++) if (this.difference(group, 0, e) !== row[e]) return false;
    return true;
  }

  #widen(): void {
    this.#slots = new Int32Array(2 * this.#slots.length).fill(-1);
    const row = this.#row, kept = row.slice();
    for (let group = 0; group < this.groups; group++) {
      for (let e = 0; e < row.length; e++) row[e] = this.difference(group, 0, e) + 0;
      this.#slots[this.#find()] = group;
    }
    row.set(kept);
  }
}
