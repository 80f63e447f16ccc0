/**
 * Optimal assignment to rooms, with a proof: a transportation problem with one source per row and
 * one sink per expert.
 *
 * Every expert has a price, and every row starts where cost + price is least. Then rows move one by
 * one, along shortest paths from experts with too many rows to experts with too few (successive
 * shortest paths: Ahuja, Magnanti and Orlin, "Network Flows", 1993, section 9.7). The graph has a
 * node per expert; its edge a → b is the row of a that loses least by going to b. The prices that
 * Dijkstra's algorithm leaves behind prove the result (`Certificate`).
 *
 * Good prices leave little to move. So the first prices come from every 17th row, assigned in the
 * same way. Only rows that are nearly as well off elsewhere may move. A move costs O(E²) to find
 * and O(E·log N) to make. All costs are held in memory, four bytes each.
 */

import { joinArrays } from "../../rows/bytes.ts";
import { Heap } from "../../text/heap.ts";
import {
  assignArgmax,
  type Assignment,
  Certificate,
  type CostRows,
  type Proof,
  Sum,
} from "./assignment.ts";
import { assignBalanced } from "./balanced.ts";

// Of the sample that first prices come from; prime, so that no rhythm of the rows repeats in it.
const STRIDE = 17;
const FEW = 4096; // rows that need no sample

/** Fills the room of every expert at the least total cost. */
export const optimal: Assignment = {
  method: "optimal",
  about: "equal parts at the least cost over all rows, with a proof and with prices that " +
    "assign other rows",
  revision: 3,
  passes: 2,
  balanced: true,
  byChunk: false,
  perToken: true,
  async *assign({ open, rooms }): AsyncGenerator<Uint16Array, Proof | undefined> {
    const { costs, experts, predicted } = await collect(open());
    if (costs.length === 0) return undefined;
    const room = rooms(costs.length / experts, experts);
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
  const parts = await Array.fromAsync(groups, ({ experts, costs, predicted }) => (
    { experts, costs: costs.slice(), predicted: predicted?.slice() }
  ));
  const [first] = parts;
  return {
    experts: first?.experts ?? 1,
    costs: joinArrays(Float32Array, parts.map(({ costs }) => costs)),
    predicted: first?.predicted &&
      joinArrays(Uint32Array, parts.map(({ predicted }) => predicted!)),
  };
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
  let prices: Float64Array = new Float64Array(rooms.length);
  if (costs.length > few * rooms.length) {
    const sample = solve(...takeSample(costs, rooms), few);
    prices = sample.prices;
    // Chance makes prices of 17 times the rows wrong by a quarter of what the sample's were; half
    // of it is allowed for.
    for (const reach of [sample.spread / 2, 2 * sample.spread]) {
      const exchange = new Exchange(costs, rooms, prices);
      const assignment = exchange.fill(reach);
      if (assignment !== undefined) return assignment;
      prices = exchange.prices;
    }
  }
  return new Exchange(costs, rooms, prices).fill(Infinity)!;
}

/** Takes some rows at a fixed stride, and their share of the rooms. */
function takeSample(
  costs: Float32Array,
  rooms: readonly number[],
): [costs: Float32Array, rooms: number[]] {
  const experts = rooms.length;
  const rows = costs.length / experts;
  const sampled = Math.ceil(rows / STRIDE);
  const sample = new Float32Array(sampled * experts);
  for (let row = 0; row < sampled; row++) {
    const begin = row * STRIDE * experts;
    sample.set(costs.subarray(begin, begin + experts), row * experts);
  }
  let roomBefore = 0; // rows that the experts so far have room for
  return [
    sample,
    rooms.map((room) => {
      const begin = Math.floor(roomBefore * sampled / rows);
      roomBefore += room;
      return Math.floor(roomBefore * sampled / rows) - begin;
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
  /**
   * [E, E]: the rows of a that may go to b, first those that lose least by it, the last row among
   * equals; absent where there are none.
   */
  readonly #heaps: Heap<number>[] = [];
  // [E, E]: what the first of these loses by going; infinite where there is none.
  readonly #losses: Float64Array;

  /** Puts every row where cost + price is least; the lower id among equals. */
  constructor(costs: Float32Array, rooms: readonly number[], prices: Float64Array) {
    this.#costs = costs, this.prices = prices.slice();
    this.expert = assignArgmax(costs, rooms.length, prices);
    this.#over = rooms.map((room) => -room);
    for (const e of this.expert) this.#over[e]++;
    this.#losses = new Float64Array(rooms.length ** 2).fill(Infinity);
  }

  /**
   * Fills all rooms. A row may leave the expert that it has at first for one that costs at most
   * `reach` more, prices included. It stays best off as long as no expert gains more than `reach`
   * on another. Returns undefined where some gains more, or rooms stay empty.
   */
  fill(reach: number): Solution | undefined {
    const { prices, expert } = this;
    const over = this.#over;
    const first = prices.slice();
    expert.forEach((_, row) => this.#offer(row, reach));
    over.forEach((_, e) => this.#refresh(e));
    for (
      let excess = over.reduce((sum, rows) => sum + Math.max(0, rows), 0);
      excess > 0;
      excess--
    ) {
      const { end, distance, from } = this.#nearest();
      if (end < 0) return undefined;
      distance.forEach((far, e) => prices[e] -= Math.min(far, distance[end]));
      const path = [end];
      for (let e = end; from[e] >= 0; e = from[e], path.push(e)) {
        const row = this.#heaps[from[e] * over.length + e].first!;
        expert[row] = e;
        this.#offer(row);
      }
      over[end]++, over[path.at(-1)!]--;
      for (const e of path) this.#refresh(e);
    }
    const changes = prices.map((price, e) => price - first[e]);
    const spread = Math.max(...changes) - Math.min(...changes);
    return spread <= reach ? { expert, prices, spread } : undefined;
  }

  /** Lets a row go from its expert to those that cost at most `reach` more, prices included. */
  #offer(row: number, reach = Infinity): void {
    const { prices } = this;
    const costs = this.#costs;
    const experts = prices.length;
    const begin = row * experts;
    const a = this.expert[row];
    const most = costs[begin + a] + prices[a] + reach;
    for (let b = 0; b < experts; b++) {
      if (b === a || costs[begin + b] + prices[b] > most) continue;
      (this.#heaps[a * experts + b] ??= new Heap((row, otherRow) => {
        const difference = this.#loss(row, a, b) - this.#loss(otherRow, a, b);
        return difference < 0 || difference === 0 && row > otherRow;
      })).push(row);
    }
  }

  /** What a row loses by going from a to b. */
  #loss(row: number, a: number, b: number): number {
    const begin = row * this.prices.length;
    return this.#costs[begin + b] - this.#costs[begin + a];
  }

  /** Looks which rows of an expert are the first to go. */
  #refresh(a: number): void {
    const experts = this.prices.length;
    for (let b = 0; b < experts; b++) {
      const heap = this.#heaps[a * experts + b];
      if (heap === undefined) continue;
      while (heap.first !== undefined && this.expert[heap.first] !== a) heap.pop(); // it has gone
      this.#losses[a * experts + b] = heap.first === undefined
        ? Infinity
        : this.#loss(heap.first, a, b);
    }
  }

  /**
   * Finds the nearest expert with room by Dijkstra's algorithm, from all that have too many rows;
   * -1 where none can be reached. `from` is the expert before each on the shortest path, -1 where
   * it begins.
   */
  #nearest(): { end: number; distance: Float64Array; from: Int32Array } {
    const over = this.#over;
    const prices = this.prices;
    const losses = this.#losses;
    const experts = over.length;
    const distance = Float64Array.from(over, (rows) => rows > 0 ? 0 : Infinity);
    const from = new Int32Array(experts).fill(-1);
    const done = new Uint8Array(experts);
    for (;;) {
      let a = -1;
      let least = Infinity;
      for (let e = 0; e < experts; e++) {
        if (!done[e] && distance[e] < least) a = e, least = distance[e];
      }
      if (a < 0 || over[a] < 0) return { end: a, distance, from };
      done[a] = 1;
      for (let b = 0; b < experts; b++) {
        // A length is below 0 by rounding alone, as every row is where cost + price is least.
        const far = least + Math.max(0, losses[a * experts + b] + prices[b] - prices[a]);
        if (!done[b] && far < distance[b]) distance[b] = far, from[b] = a;
      }
    }
  }
}
