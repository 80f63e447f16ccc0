/**
 * What the greedy rule would cost over the same rows, all of them in one chunk, in bounded memory: it reads the rows a few times.
 */

import type { CostRows } from "../assignment.ts";
import { bestPerToken, orderByKey } from "../balanced.ts";
import { Sum } from "./sum.ts";

const LISTS = 2 ** 26; // bytes for the lists of a pass
const [FEWEST, MOST] = [4, 8]; // experts in a list; MOST in the first lists, twice as many in every pass after it

/**
 * Finds the cost of greedy assignment (`balanced`). Rows choose in the order of their keys; experts close as they fill. So the whole
 * assignment follows from the order and the E moments at which experts close. The first pass gives the order. Every later one lists
 * for each row still to choose its best experts among those still open, and as many rows choose as can by their lists. When all have
 * chosen, one more pass sums the costs. Give it every pass the same rows, then {@linkcode endPass}.
 */
export class GreedyCost {
  /** The cost, when it is known. */
  cost?: number;
  /** Lets the lists of the next pass take the memory that they need to be the last ones. */
  wide = false;
  #pass = 0;
  #seen = 0; // rows of this pass
  #keys: Float64Array[] = [];
  #turn = new Uint32Array(); // when each row chooses `[N]`
  #chosen = 0; // rows that have chosen
  #room: number[] = [];
  #closings: number[] = []; // turns from which one expert less is open, ascending
  #open: number[] = [];
  #stages: number[][] = []; // experts open before the first closing, after it, …
  #width = 0;
  #lists: Uint8Array | Uint16Array = new Uint8Array();
  readonly #sum = new Sum();
  readonly #rooms: (rows: number, experts: number) => number[];

  /** `rooms` gives the room of every expert `[E]`. */
  constructor(rooms: (rows: number, experts: number) => number[]) {
    this.#rooms = rooms;
  }

  /** Whether the next pass will tell the cost, or one told it. */
  get settled(): boolean {
    return this.cost !== undefined || this.#pass > 0 && this.#chosen === this.#turn.length;
  }

  /** Takes the rows that come next. */
  add(rows: CostRows): void {
    const { costs, experts, predicted } = rows;
    if (this.cost !== undefined) return;
    if (this.#pass === 0) {
      this.#keys.push(bestPerToken(costs, experts, predicted));
      this.#open = Array.from({ length: experts }, (_, e) => e);
    } else if (this.settled) this.#addCosts(rows);
    else this.#addLists(rows);
    this.#seen += costs.length / experts;
  }

  /** Ends a pass. */
  endPass(): void {
    if (this.cost !== undefined) return;
    if (this.#pass === 0) this.#order();
    else if (this.settled) {
      this.cost = this.#sum.value;
      this.#turn = new Uint32Array();
    } else this.#choose();
    this.#seen = 0;
    this.#pass++;
  }

  #order(): void {
    const keys = new Float64Array(this.#seen);
    let at = 0;
    for (const part of this.#keys.splice(0)) keys.set(part, at), at += part.length;
    this.#turn = new Uint32Array(keys.length);
    orderByKey(keys).forEach((row, turn) => this.#turn[row] = turn);
    this.#room = [...this.#rooms(this.#seen, this.#open.length)];
    this.#open = this.#open.filter((e) => this.#room[e] > 0);
    this.#stages.push(this.#open);
  }

  #startLists(): void {
    const left = this.#turn.length - this.#chosen;
    const fitting = Math.min(MOST * 2 ** (this.#pass - 1), Math.floor(LISTS / left));
    this.#width = Math.min(this.#open.length, this.wide ? Infinity : Math.max(FEWEST, fitting));
    const bytes = this.#room.length <= 256 ? Uint8Array : Uint16Array;
    this.#lists = new bytes(left * this.#width);
  }

  #addLists({ costs, experts }: CostRows): void {
    if (this.#seen === 0) this.#startLists();
    const rows = costs.length / experts, open = this.#open, width = this.#width, lists = this.#lists;
    const best = new Float64Array(width);
    for (let row = 0; row < rows; row++) {
      const turn = this.#turn[this.#seen + row];
      if (turn < this.#chosen) continue;
      const begin = (turn - this.#chosen) * width;
      let found = 0;
      for (const e of open) {
        const cost = costs[row * experts + e];
        if (found === width && cost >= best[width - 1]) continue;
        let at = found < width ? found++ : width - 1;
        for (; at > 0 && cost < best[at - 1]; at--) {
          best[at] = best[at - 1];
          lists[begin + at] = lists[begin + at - 1];
        }
        best[at] = cost;
        lists[begin + at] = e;
      }
    }
  }

  #choose(): void {
    const width = this.#width, room = this.#room;
    for (let begin = 0; this.#chosen < this.#turn.length; begin += width) {
      let at = begin;
      while (at < begin + width && room[this.#lists[at]] === 0) at++;
      if (at === begin + width) break; // all that it lists are closed: the next pass tells what else it wants
      const e = this.#lists[at];
      this.#chosen++;
      if (--room[e] > 0) continue;
      this.#open = this.#open.filter((f) => f !== e);
      this.#stages.push(this.#open);
      this.#closings.push(this.#chosen);
    }
    this.#lists = new Uint8Array();
  }

  #addCosts({ costs, experts }: CostRows): void {
    const rows = costs.length / experts, closings = this.#closings;
    for (let row = 0; row < rows; row++) {
      const turn = this.#turn[this.#seen + row];
      let low = 0, high = closings.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (closings[middle] <= turn) low = middle + 1;
        else high = middle;
      }
      let best = Infinity;
      for (const e of this.#stages[low]) best = Math.min(best, costs[row * experts + e]);
      this.#sum.add(best);
    }
  }
}
