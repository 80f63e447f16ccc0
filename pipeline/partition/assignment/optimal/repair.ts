/** Brings loads to rooms at the least cost, by moving candidates along shortest paths between experts. */

import type { Holdings } from "./holdings.ts";

/** What a repair did. */
export interface Repaired {
  /** Prices of the experts `[E]` at which no candidate is better off elsewhere. */
  prices: Float64Array;
  /** How much the assignment's cost rose. */
  rise: number;
}

/**
 * Moves candidates until every expert has as many rows as it has room for; who holds them and loads are changed in place. While an
 * expert has too many, the shortest path from such experts to one with too few is found, and one row is moved over each of its edges,
 * or as many equal ones as fit. As every row starts where it costs least at the prices given, no cheaper way to the same loads is left
 * among the candidates. Returns undefined where they do not reach.
 *
 * @param loads Rows that every expert has `[E]`, all of them and not the candidates alone.
 * @param rooms Rows that it is to have `[E]`; as many in all.
 * @param start Prices `[E]`.
 */
export function repair(
  candidates: Holdings,
  loads: number[],
  rooms: readonly number[],
  start: Float64Array,
): Repaired | undefined {
  const { experts } = candidates;
  const prices = start.slice();
  const heaps = heapsOf(candidates);
  let rise = 0;

  /** The group of which expert a can best give a row to b; −1 where there is none. */
  function best(a: number, b: number): number {
    const heap = heaps[a * experts + b];
    while (heap.size > 0 && candidates.held(heap.top, a) === 0) heap.pop();
    return heap.size > 0 ? heap.top : -1;
  }

  const distance = new Float64Array(experts);
  const done = new Uint8Array(experts);
  const from = new Int32Array(experts);
  const via = new Int32Array(experts);

  /** Finds the nearest expert with room, by Dijkstra's way from all that have too many; −1 where none can be reached. */
  function nearestWithRoom(): number {
    for (let e = 0; e < experts; e++) distance[e] = loads[e] > rooms[e] ? 0 : Infinity;
    done.fill(0), from.fill(-1);
    for (;;) {
      let a = -1;
      for (let e = 0; e < experts; e++) {
        if (!done[e] && distance[e] < Infinity && (a < 0 || distance[e] < distance[a])) a = e;
      }
      if (a < 0 || loads[a] < rooms[a]) return a;
      done[a] = 1;
      for (let b = 0; b < experts; b++) {
        if (done[b]) continue;
        const group = best(a, b);
        if (group < 0) continue;
        // Not below 0 but for rounding: every row is where it costs least.
        const length = Math.max(0, candidates.difference(group, a, b) + prices[b] - prices[a]);
        if (distance[a] + length < distance[b]) {
          distance[b] = distance[a] + length, from[b] = a, via[b] = group;
        }
      }
    }
  }

  while (loads.some((load, e) => load > rooms[e])) {
    const end = nearestWithRoom();
    if (end < 0) return undefined;
    let begin = end;
    let rows = rooms[end] - loads[end];
    while (from[begin] >= 0) {
      rows = Math.min(rows, candidates.held(via[begin], from[begin]));
      begin = from[begin];
    }
    rows = Math.min(rows, loads[begin] - rooms[begin]);
    for (let e = 0; e < experts; e++) prices[e] -= Math.min(distance[e], distance[end]);
    for (let b = end; b !== begin; b = from[b]) {
      const group = via[b], fresh = candidates.held(group, b) === 0;
      rise += rows * candidates.difference(group, from[b], b);
      candidates.give(group, from[b], -rows);
      candidates.give(group, b, rows);
      if (!fresh) continue;
      for (let c = 0; c < experts; c++) {
        if (c !== b) heaps[b * experts + c].push(group, candidates.difference(group, b, c));
      }
    }
    loads[begin] -= rows;
    loads[end] += rows;
  }
  return { prices, rise };
}

/** Makes the heaps `[E, E]` of what each expert could give to each other. */
function heapsOf(candidates: Holdings): Heap[] {
  const { experts } = candidates;
  const heaps = Array.from({ length: experts * experts }, () => new Heap());
  for (const [group, a] of candidates.holders()) {
    for (let b = 0; b < experts; b++) {
      if (b !== a) heaps[a * experts + b].push(group, candidates.difference(group, a, b));
    }
  }
  return heaps;
}

/** Groups and what they cost to move, the cheapest on top, the lowest number first among equals. */
class Heap {
  readonly #groups: number[] = [];
  readonly #costs: number[] = [];

  get size(): number {
    return this.#groups.length;
  }

  get top(): number {
    return this.#groups[0];
  }

  push(group: number, cost: number): void {
    const groups = this.#groups, costs = this.#costs;
    let at = groups.push(group) - 1;
    costs.push(cost);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(group, cost, groups[above], costs[above])) break;
      groups[at] = groups[above], costs[at] = costs[above];
      at = above;
    }
    groups[at] = group, costs[at] = cost;
  }

  pop(): void {
    const groups = this.#groups, costs = this.#costs;
    const group = groups.pop()!, cost = costs.pop()!;
    if (groups.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= groups.length) break;
      const other = below + 1;
      if (other < groups.length && isBefore(groups[other], costs[other], groups[below], costs[below])) {
        below = other;
      }
      if (!isBefore(groups[below], costs[below], group, cost)) break;
      groups[at] = groups[below], costs[at] = costs[below];
      at = below;
    }
    groups[at] = group, costs[at] = cost;
  }
}

function isBefore(groupA: number, costA: number, groupB: number, costB: number): boolean {
  return costA < costB || costA === costB && groupA < groupB;
}
