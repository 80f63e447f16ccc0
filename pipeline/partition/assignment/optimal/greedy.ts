/**
 * What the greedy rule would cost over the same rows, all of them in one chunk. It reads the rows a few times, and keeps a list of
 * experts for each: a few where the sample tells well when experts close, hundreds where there are hundreds of them.
 */

import type { CostRows } from "../assignment.ts";
import { orderByKey } from "../balanced.ts";
import { Sum } from "../sum.ts";
import type { StridedSample } from "./sample.ts";

const DEVIATIONS = 4; // of chance, by which experts may close earlier or later than the sample says
const SAMPLED_PASSES = 3; // that go by the sample; the next one lists all that are open
const BLOCK = 2 ** 22; // entries of lists whose memory is taken at once

/**
 * Finds the cost of greedy assignment (`balanced`). Rows choose in their turns; experts close as they fill. So the whole assignment
 * follows from the turns and the E moments at which experts close. A sample tells these moments within limits. A pass lists for each
 * row the experts that it may get: the best one of those that are certainly open at its turn, and what is better and may be open.
 * Then all rows choose by their lists. Where an expert closed outside its limits, another pass lists the rows from there on. When all
 * have chosen, one more pass sums the costs. Give it every pass the same rows, then {@linkcode endPass}.
 */
export class GreedyCost {
  /** The cost, when it is known. */
  cost?: number;
  #pass = 0;
  #seen = 0; // rows of this pass
  #chosen = 0; // turns that are over
  #limits: Limits;
  #lists: Lists;
  readonly #room: number[];
  readonly #turns: Uint32Array;
  readonly #choice: Uint16Array; // of each turn
  readonly #sample: StridedSample;
  readonly #sum = new Sum();

  /**
   * @param turns The turn of each row `[rows]`, from 0.
   * @param room Rows that each expert gets `[E]`.
   * @param sample Some of the rows.
   */
  constructor(turns: Uint32Array, room: readonly number[], sample: StridedSample) {
    this.#turns = turns;
    this.#room = [...room];
    this.#sample = sample;
    this.#choice = new Uint16Array(turns.length);
    this.#limits = this.#findLimits();
    this.#lists = new Lists(turns.length, room.length);
  }

  /** Whether all rows have chosen, so that the next pass tells the cost or one told it. */
  get isSettled(): boolean {
    return this.#chosen === this.#turns.length;
  }

  /** Takes the rows that come next. */
  add(rows: CostRows): void {
    if (this.cost !== undefined) return;
    if (this.isSettled) this.#addCosts(rows);
    else this.#addLists(rows);
    this.#seen += rows.costs.length / rows.experts;
  }

  /** Ends a pass. */
  endPass(): void {
    this.#seen = 0;
    if (this.cost !== undefined) return;
    if (this.isSettled) this.cost = this.#sum.value;
    else {
      this.#choose();
      this.#pass++;
      if (!this.isSettled) this.#limits = this.#findLimits();
      this.#lists = new Lists(this.#turns.length - this.#chosen, this.#room.length);
    }
  }

  /** Finds the turns between which each open expert closes. */
  #findLimits(): Limits {
    const { costs, experts } = this.#sample.rows;
    const { stride } = this.#sample;
    const open = this.#room.map((room) => room > 0);
    if (this.#pass >= SAMPLED_PASSES) {
      return new Limits(open, open.map(() => this.#chosen), open.map(() => Infinity));
    }
    const turns = Float64Array.from({ length: costs.length / experts }, (_, i) => this.#turns[i * stride]);
    const order = orderByKey(turns.slice()).filter((i) => turns[i] >= this.#chosen);
    const share = order.length / (this.#turns.length - this.#chosen);

    /** Lets the sampled rows choose, with so many times the room that experts have left; gives the turn at which each is closed. */
    const closings = (times: (rows: number) => number): number[] => {
      const closed = open.map((isOpen) => isOpen ? Infinity : 0);
      const left = this.#room.map((room) => Math.max(1, Math.round(room * share * times(room * share))));
      const choosing = open.flatMap((isOpen, e) => isOpen ? [e] : []);
      for (const row of order) {
        if (choosing.length === 0) break;
        let best = 0;
        for (let i = 1; i < choosing.length; i++) {
          if (costs[row * experts + choosing[i]] < costs[row * experts + choosing[best]]) best = i;
        }
        const e = choosing[best];
        if (--left[e] > 0) continue;
        closed[e] = turns[row] + 1;
        choosing.splice(best, 1);
      }
      return closed;
    };
    const chance = (rows: number) => DEVIATIONS * 2 ** this.#pass / Math.sqrt(Math.max(1, rows));
    const early = closings((rows) => Math.max(0, 1 - chance(rows)));
    const late = closings((rows) => 1 + chance(rows));
    return new Limits(open, early, late.map((turn, e) => Math.max(turn, early[e])));
  }

  #addLists({ costs, experts }: CostRows): void {
    const rows = costs.length / experts, limits = this.#limits, lists = this.#lists;
    const list = new Uint16Array(experts), values = new Float64Array(experts);
    for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
      const turn = this.#turns[this.#seen + row];
      if (turn < this.#chosen) continue;
      const { certain, possible } = limits.at(turn);
      let found = 0; // entries of the list: experts by cost, equal ones by id
      let least = Infinity, last = -1;
      for (const e of certain) if (costs[begin + e] < least) least = costs[begin + e], last = e;
      for (const e of possible) {
        const cost = costs[begin + e];
        if (cost > least || cost === least && e > last) continue;
        let at = found++;
        for (; at > 0 && cost < values[at - 1]; at--) values[at] = values[at - 1], list[at] = list[at - 1];
        values[at] = cost, list[at] = e;
      }
      if (last >= 0) list[found++] = last;
      lists.add(turn - this.#chosen, list, found);
    }
  }

  #choose(): void {
    const room = this.#room, first = this.#chosen, turns = this.#turns.length;
    const latest = this.#limits.latest.map((turn, e) => [turn, e]).sort(([a], [b]) => a - b);
    for (; this.#chosen < turns; this.#chosen++) {
      for (; latest.length > 0 && latest[0][0] <= this.#chosen; latest.shift()) {
        if (room[latest[0][1]] > 0) return; // it should have closed by now, and is in no list from here on
      }
      const e = this.#lists.first(this.#chosen - first, (e) => room[e] > 0);
      if (e < 0) return; // all that this row lists are closed
      room[e]--;
      this.#choice[this.#chosen] = e;
    }
  }

  #addCosts({ costs, experts }: CostRows): void {
    const rows = costs.length / experts;
    for (let row = 0; row < rows; row++) {
      this.#sum.add(costs[row * experts + this.#choice[this.#turns[this.#seen + row]]]);
    }
  }
}

/** Experts between two turns. */
interface Stage {
  /** Those that are certainly open. */
  certain: number[];
  /** Those that may be open. */
  possible: number[];
}

/** Between which turns each expert closes. */
class Limits {
  readonly #begins: number[]; // turns at which the experts that may be open change, ascending
  readonly #stages: Stage[];

  /** Each open expert closes at turn `earliest` or later, and at `latest` or earlier. */
  constructor(open: boolean[], earliest: number[], readonly latest: number[]) {
    const moments = [0, ...earliest, ...latest].filter(Number.isFinite);
    this.#begins = [...new Set(moments)].sort((a, b) => a - b);
    this.#stages = this.#begins.map((turn) => {
      const within = open.flatMap((isOpen, e) => isOpen && turn < latest[e] ? [e] : []);
      return {
        certain: within.filter((e) => turn < earliest[e]),
        possible: within.filter((e) => turn >= earliest[e]),
      };
    });
  }

  /** Gives the experts at a turn. */
  at(turn: number): Stage {
    const begins = this.#begins;
    let low = 0, high = begins.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (begins[middle] <= turn) low = middle;
      else high = middle - 1;
    }
    return this.#stages[low];
  }
}

/** Lists of experts, one for each turn. */
class Lists {
  readonly #blocks: (Uint8Array | Uint16Array)[] = []; // [BLOCK]: the length of a list, then its experts
  readonly #begins: Uint32Array | Float64Array; // of each turn: where its list begins, in all blocks
  #end = 0;
  readonly #Numbers: Uint8ArrayConstructor | Uint16ArrayConstructor;

  /** Makes room for the lists of so many turns. */
  constructor(turns: number, experts: number) {
    // A list holds its length and all experts at most; a block may end with as many places that are not used.
    const places = turns * (experts + 1) * (1 + (experts + 1) / BLOCK) + BLOCK;
    this.#begins = places < 2 ** 32 ? new Uint32Array(turns) : new Float64Array(turns);
    this.#Numbers = experts < 256 ? Uint8Array : Uint16Array;
  }

  /** Keeps the first `length` experts of a list. */
  add(turn: number, list: Uint16Array, length: number): void {
    const used = this.#end % BLOCK;
    if (used === 0 || used + length >= BLOCK) {
      this.#end = this.#blocks.length * BLOCK;
      this.#blocks.push(new this.#Numbers(BLOCK));
    }
    const block = this.#blocks[this.#blocks.length - 1];
    let at = this.#end % BLOCK;
    this.#begins[turn] = this.#end;
    this.#end += length + 1;
    block[at++] = length;
    for (let i = 0; i < length; i++) block[at++] = list[i];
  }

  /** Finds the first expert of a turn's list that is open; −1 where none is. */
  first(turn: number, isOpen: (e: number) => boolean): number {
    const begin = this.#begins[turn];
    const block = this.#blocks[Math.floor(begin / BLOCK)], at = begin % BLOCK;
    for (let i = at + 1; i <= at + block[at]; i++) if (isOpen(block[i])) return block[i];
    return -1;
  }
}
