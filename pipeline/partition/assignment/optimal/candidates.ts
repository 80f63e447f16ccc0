/**
 * Rows whose choice is close, the only ones that a repair may move. Rows that differ by a constant alone are one group: they are
 * all as good to move as each other.
 */

/** Groups of rows that cost the same up to a constant, and how many of each group every expert holds. */
export class Candidates {
  /** E. */
  readonly experts: number;
  /** Groups, numbered in the order in which they came. */
  groups = 0;
  #costs = new Float32Array(); // [groups, E], of a group's first row, then room
  #held = new Map<number, number>(); // rows of group · E + expert; never 0
  #slots = new Int32Array(64).fill(-1); // groups by the hash of their differences, at the next free place
  #row: Float64Array; // differences of the row at hand
  #bits: Uint32Array; // the same, as bits

  /** Starts with none. */
  constructor(experts: number) {
    this.experts = experts;
    this.#row = new Float64Array(experts);
    this.#bits = new Uint32Array(this.#row.buffer);
  }

  /** Adds a row, whose costs begin at `begin`, in the hands of an expert. */
  add(costs: Float32Array, begin: number, expert: number): void {
    let slot = this.#find(costs, begin);
    if (this.#slots[slot] < 0) {
      if (2 * this.groups >= this.#slots.length) {
        this.#grow();
        slot = this.#find(costs, begin);
      }
      this.#slots[slot] = this.groups++;
      const room = this.groups * this.experts;
      if (this.#costs.length < room) {
        const grown = new Float32Array(Math.max(2 * room, 64 * this.experts));
        grown.set(this.#costs);
        this.#costs = grown;
      }
      this.#costs.set(costs.subarray(begin, begin + this.experts), room - this.experts);
    }
    this.give(this.#slots[slot], expert, 1);
  }

  /** Finds the group of a row whose costs begin at `begin`; −1 where there is none. */
  groupOf(costs: Float32Array, begin: number): number {
    return this.#slots[this.#find(costs, begin)];
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
    const begin = group * this.experts;
    return this.#costs[begin + to] - this.#costs[begin + from];
  }

  /** Finds the slot of a row: its group's, or the free one where that belongs. */
  #find(costs: Float32Array, begin: number): number {
    const bits = this.#bits, mask = this.#slots.length - 1;
    this.#take(costs, begin);
    let hash = 0;
    for (let i = 0; i < bits.length; i++) hash = Math.imul(hash ^ bits[i], 0x9e3779b1) ^ (hash >>> 15);
    let slot = (hash ^ (hash >>> 16)) & mask;
    while (this.#slots[slot] >= 0 && !this.#same(this.#slots[slot])) slot = (slot + 1) & mask;
    return slot;
  }

  #take(costs: Float32Array, begin: number): void {
    for (let e = 0; e < this.experts; e++) this.#row[e] = costs[begin + e] - costs[begin] + 0; // -0 becomes 0, its equal
  }

  #same(group: number): boolean {
    for (let e = 1; e < this.experts; e++) if (this.difference(group, 0, e) !== this.#row[e]) return false;
    return true;
  }

  #grow(): void {
    const former = this.#slots;
    this.#slots = new Int32Array(2 * former.length).fill(-1);
    for (const group of former) {
      if (group >= 0) this.#slots[this.#find(this.#costs, group * this.experts)] = group;
    }
  }
}
