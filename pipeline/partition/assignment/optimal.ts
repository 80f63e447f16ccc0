/**
 * Optimal assignment to rooms, with a proof: a transportation problem with one source per row and one sink per expert.
 *
 * Every expert has a price, and every row starts where cost + price is least. Then rows move one by one, along shortest paths from
 * experts with too many rows to experts with too few (successive shortest paths: Ahuja, Magnanti and Orlin, "Network Flows", 1993,
 * section 9.7). The graph has a node per expert; its edge a → b is the row of a that loses least by going to b. The prices that Dijkstra's
 * algorithm leaves behind prove the result (`certificate.ts`).
 *
 * Good prices leave little to move. So the first prices come from every 17th row, assigned in the same way, and only rows that are nearly
 * as well off elsewhere may move. A move costs O(E²) to find and O(E·log N) to make. All costs are held in memory, four bytes each.
 */

import { assignArgmax } from "./argmax.ts";
import type { Assignment, CostRows, Proof } from "./assignment.ts";
import { assignBalanced } from "./balanced.ts";
import { Certificate, Sum } from "./certificate.ts";

const STRIDE = 17; // of the sample that first prices come from; prime, so that no rhythm of the rows repeats in it
const FEW = 4096; // rows that need no sample

/** Gives every expert what it has room for at the least cost. */
export const optimal: Assignment = {
  method: "optimal",
  about: "equal parts at the least cost over all rows, with a proof and with prices that assign other rows",
  revision: 3,
  passes: 2,
  balanced: true,
  byChunk: false,
  perToken: true,
  async *assign({ open, rooms }): AsyncGenerator<Uint16Array, Proof | undefined> {
    const { costs, experts, predicted } = await collect(open());
    if (costs.length === 0) return undefined;
    const rows = costs.length / experts, room = rooms(rows, experts);
    const places = room.reduce((sum, places) => sum + places, 0);
    if (places !== rows) {
      throw new RangeError(
        `Cannot assign as rooms must hold every row: rooms hold ${places}, rows are ${rows}`,
      );
    }
    const { expert, prices } = solve(costs, room);
    const certificate = new Certificate(prices);
    for await (const group of open()) {
      const begin = certificate.rows;
      const part = expert.slice(begin, begin + group.costs.length / experts);
      certificate.add(group, part);
      yield part;
    }
    const greedy = new Sum();
    const chosen = assignBalanced(costs, experts, predicted, room);
    chosen.forEach((e, row) => greedy.add(costs[row * experts + e]));
    return { ...certificate.proof, greedy: greedy.value };
  },
};

/** Joins all rows. */
async function collect(groups: AsyncIterable<CostRows>): Promise<CostRows> {
  const parts: CostRows[] = [];
  let rows = 0;
  for await (const { experts, costs, predicted } of groups) {
    parts.push({ experts, costs: costs.slice(), predicted: predicted?.slice() });
    rows += costs.length / experts;
  }
  const experts = parts[0]?.experts ?? 1;
  const costs = new Float32Array(rows * experts);
  const predicted = parts[0]?.predicted && new Uint32Array(rows);
  let row = 0;
  for (const part of parts) {
    costs.set(part.costs, row * experts);
    if (part.predicted) predicted?.set(part.predicted, row);
    row += part.costs.length / experts;
  }
  return { experts, costs, predicted };
}

/** An optimal assignment. */
interface Solution {
  /** The expert of every row. */
  expert: Uint16Array;
  /** Prices `[E]` that prove it. */
  prices: Float64Array;
  /** By how much the first prices were wrong: what one expert gained over another, at most. */
  spread: number;
}

/**
 * Assigns rows to rooms at the least cost.
 *
 * @param costs Costs `[rows, E]`.
 * @param rooms Rows for each expert `[E]`, all rows together.
 * @param few Rows that are assigned without a sample.
 */
export function solve(costs: Float32Array, rooms: readonly number[], few = FEW): Solution {
  const experts = rooms.length, rows = costs.length / experts;
  if (rows <= few) return new Exchange(costs, rooms, new Float64Array(experts)).fill(Infinity)!;
  const sample = solve(...sampleOf(costs, rooms), few);
  let { prices } = sample;
  // Chance makes prices of 17 times the rows wrong by a quarter of what the sample's were; half of it is allowed for.
  for (const reach of [sample.spread / 2, 2 * sample.spread, Infinity]) {
    const exchange = new Exchange(costs, rooms, prices);
    const found = exchange.fill(reach);
    if (found !== undefined) return found;
    prices = exchange.prices;
  }
  throw new Error("a reach without end fills all rooms");
}

/** Takes some rows at a fixed stride, and their share of the rooms. */
function sampleOf(costs: Float32Array, rooms: readonly number[]): [costs: Float32Array, rooms: number[]] {
  const experts = rooms.length, rows = costs.length / experts;
  const sampled = Math.ceil(rows / STRIDE);
  const sample = new Float32Array(sampled * experts);
  for (let row = 0; row < sampled; row++) {
    const begin = row * STRIDE * experts;
    sample.set(costs.subarray(begin, begin + experts), row * experts);
  }
  let before = 0; // rows that the experts so far have room for
  return [
    sample,
    rooms.map((room) => {
      const begin = Math.floor(before * sampled / rows);
      before += room;
      return Math.floor(before * sampled / rows) - begin;
    }),
  ];
}

/** Rows that move between experts. */
class Exchange {
  /** The expert of each row. */
  readonly expert: Uint16Array;
  /** Prices `[E]` at which each row is where cost + price is least. */
  readonly prices: Float64Array;
  readonly #costs: Float32Array;
  readonly #over: number[]; // rows that each expert has above its room
  readonly #heaps: Heap[] = []; // [E, E]: the rows of a that may go to b; absent where there are none
  readonly #losses: Float64Array; // [E, E]: what the first of these loses by going; infinite where there is none
  readonly #distance: Float64Array; // of each expert from those that have too many rows
  readonly #from: Int32Array; // the expert before it on the shortest path

  /** Puts every row where cost + price is least; the lower id among equals. */
  constructor(costs: Float32Array, rooms: readonly number[], prices: Float64Array) {
    const experts = rooms.length;
    this.#costs = costs, this.prices = prices.slice();
    this.expert = assignArgmax(costs, experts, prices);
    this.#over = rooms.map((room) => -room);
    for (const e of this.expert) this.#over[e]++;
    this.#losses = new Float64Array(experts ** 2).fill(Infinity);
    this.#distance = new Float64Array(experts);
    this.#from = new Int32Array(experts);
  }

  /**
   * Fills all rooms. A row may leave the expert that it has at first for one that costs at most `reach` more, prices included. It stays
   * best off as long as no expert gains more than `reach` on another. Returns undefined where some gains more, or rooms stay empty.
   */
  fill(reach: number): Solution | undefined {
    const { prices, expert } = this, over = this.#over, first = prices.slice();
    for (let row = 0; row < expert.length; row++) this.#offer(row, reach);
    over.forEach((_, e) => this.#refresh(e));
    for (let excess = over.reduce((sum, rows) => sum + Math.max(0, rows), 0); excess > 0; excess--) {
      let e = this.#nearest();
      if (e < 0) return undefined;
      const most = this.#distance[e];
      this.#distance.forEach((distance, e) => prices[e] -= Math.min(distance, most));
      over[e]++;
      const path = [e];
      for (; this.#from[e] >= 0; e = this.#from[e], path.push(e)) {
        const row = this.#heaps[this.#from[e] * over.length + e].row;
        expert[row] = e;
        this.#offer(row);
      }
      over[e]--;
      for (const e of path) this.#refresh(e);
    }
    const changes = prices.map((price, e) => price - first[e]);
    const spread = Math.max(...changes) - Math.min(...changes);
    return spread <= reach ? { expert, prices, spread } : undefined;
  }

  /** Lets a row go from its expert to those that cost at most `reach` more, prices included. */
  #offer(row: number, reach = Infinity): void {
    const { prices } = this, costs = this.#costs, experts = prices.length;
    const begin = row * experts, a = this.expert[row];
    const most = costs[begin + a] + prices[a] + reach;
    for (let b = 0; b < experts; b++) {
      if (b === a || costs[begin + b] + prices[b] > most) continue;
      const heap = this.#heaps[a * experts + b] ??= new Heap();
      heap.push(row, costs[begin + b] - costs[begin + a]);
    }
  }

  /** Looks which rows of an expert are the first to go. */
  #refresh(a: number): void {
    const experts = this.prices.length;
    for (let b = 0; b < experts; b++) {
      const heap = this.#heaps[a * experts + b];
      if (heap === undefined) continue;
      while (heap.size > 0 && this.expert[heap.row] !== a) heap.pop(); // it has gone
      this.#losses[a * experts + b] = heap.size > 0 ? heap.cost : Infinity;
    }
  }

  /** Finds the nearest expert with room by Dijkstra's algorithm, from all that have too many rows; -1 where none can be reached. */
  #nearest(): number {
    const over = this.#over, prices = this.prices, distance = this.#distance, losses = this.#losses;
    const experts = over.length, done = new Uint8Array(experts);
    for (let e = 0; e < experts; e++) distance[e] = over[e] > 0 ? 0 : Infinity;
    this.#from.fill(-1);
    for (;;) {
      let a = -1, least = Infinity;
      for (let e = 0; e < experts; e++) if (!done[e] && distance[e] < least) a = e, least = distance[e];
      if (a < 0 || over[a] < 0) return a;
      done[a] = 1;
      for (let b = 0; b < experts; b++) {
        // A length is below 0 by rounding alone, as every row is where cost + price is least.
        const far = least + Math.max(0, losses[a * experts + b] + prices[b] - prices[a]);
        if (done[b] || far >= distance[b]) continue;
        distance[b] = far, this.#from[b] = a;
      }
    }
  }
}

/** Rows and what it costs to move them; the cheapest is on top, the last one among equals. */
class Heap {
  readonly #rows: number[] = [];
  readonly #costs: number[] = [];

  get size(): number {
    return this.#rows.length;
  }

  get row(): number {
    return this.#rows[0];
  }

  get cost(): number {
    return this.#costs[0];
  }

  push(row: number, cost: number): void {
    let at = this.#rows.length;
    for (; at > 0; at = (at - 1) >> 1) {
      const above = (at - 1) >> 1;
      if (!this.#isBefore(row, cost, above)) break;
      this.#rows[at] = this.#rows[above], this.#costs[at] = this.#costs[above];
    }
    this.#rows[at] = row, this.#costs[at] = cost;
  }

  pop(): void {
    const row = this.#rows.pop()!, cost = this.#costs.pop()!, size = this.size;
    if (size === 0) return;
    let at = 0;
    for (let below = 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && this.#isBefore(this.#rows[below + 1], this.#costs[below + 1], below)) below++;
      if (this.#isBefore(row, cost, below)) break;
      this.#rows[at] = this.#rows[below], this.#costs[at] = this.#costs[below];
      at = below;
    }
    this.#rows[at] = row, this.#costs[at] = cost;
  }

  #isBefore(row: number, cost: number, at: number): boolean {
    return cost < this.#costs[at] || cost === this.#costs[at] && row > this.#rows[at];
  }
}
