/** Fills rooms with rows in memory at the least cost: prices first, then a repair, then a proof or a wider repair. */

import { Choice } from "./choice.ts";
import type { Contested, Weighed } from "./contested.ts";
import { Holdings } from "./holdings.ts";
import { repair } from "./repair.ts";
import { priceStep } from "./step.ts";

const STEPS = 24; // of prices, at most
const EACH = 128; // rows for every expert that tell how dense they lie between experts
const SHORTEST = 1 / 256; // of a step that is still tried
const FEWEST = 64; // candidates
const SPARE = 32; // candidates for every row that does not fit
const REPAIRS = 6; // at most, unless candidates cannot fill the rooms
const WIDER = 4; // times the candidates of the last repair
const MOST_COSTS = 2 ** 23; // of candidates, unless fewer cannot fill the rooms
const TOLERANCE = 1e-12; // of the cost: what rounding leaves

/**
 * Learns prices by Newton's method: each step solves for the prices at which loads would be rooms, if rows lay as dense as they do near
 * the boundaries between experts now. A step that does not raise the bound is made shorter.
 *
 * @param rooms Rows that each expert is to get `[E]`; fractions of rows where the rows are a sample.
 * @param start Prices `[E]` to begin with.
 * @param enough The excess, all experts together, at which prices are good enough.
 */
export function fitPrices(
  rows: Weighed,
  rooms: readonly number[],
  start: Float64Array,
  enough: number,
): Choice {
  let best = new Choice(rows, start);
  let excess = best.excess(rooms);
  let step: Float64Array | undefined, scale = 1;
  for (let steps = 0; steps < STEPS && excess > enough && scale >= SHORTEST; steps++) {
    if (step === undefined) {
      const width = best.closest(Math.max(EACH * rows.experts, 4 * excess));
      if (!(width > 0)) break; // rows that are alike: only a repair can part them
      step = priceStep(best.near(width), width, best.loads.map((load, e) => load - rooms[e]));
    }
    const change = step;
    const next = new Choice(rows, best.prices.map((price, e) => price + scale * change[e]));
    if (next.bound(rooms) > best.bound(rooms)) {
      best = next, excess = best.excess(rooms);
      step = undefined, scale = 1;
    } else scale /= 4;
  }
  return best;
}

/** The cheapest way to fill rooms. */
export interface Solution {
  /** Where rows are before the repair. */
  choice: Choice;
  /** Where those are that may have moved. */
  holdings: Holdings;
  /** Prices `[E]` that prove it, or that come closest to it. */
  prices: Float64Array;
}

/**
 * Fills rooms at the least cost. Candidates to move are the rows whose choice is closest; there are more of them until the result is
 * proven, as moved rows and too few candidates can hide a better way.
 *
 * @param rooms Rows that each expert is to get `[E]`, all of `rows` together.
 * @param start Prices `[E]` to begin with.
 * @returns undefined where a room is below 0.
 */
export function solve(
  rows: Contested,
  rooms: readonly number[],
  start: Float64Array,
): Solution | undefined {
  if (rooms.some((room) => room < 0)) return undefined;
  const { experts, groups } = rows;
  const most = Math.ceil(MOST_COSTS / experts);
  let found = fitPrices(rows, rooms, start, 4 * experts);
  let best: Omit<Solution, "prices"> | undefined, cost = Infinity;
  let bound = -Infinity, prices = found.prices;
  let candidates = Math.max(FEWEST, SPARE * found.excess(rooms));
  for (let repairs = 1;;) {
    if (found.bound(rooms) > bound) bound = found.bound(rooms), prices = found.prices;
    const holdings = new Holdings(rows, found, candidates);
    const repaired = repair(holdings, [...found.loads], rooms, found.prices);
    if (repaired === undefined) {
      candidates *= WIDER;
      continue;
    }
    if (found.cost + repaired.rise < cost) {
      cost = found.cost + repaired.rise;
      best = { choice: found, holdings };
    }
    const check = new Choice(rows, repaired.prices);
    if (check.bound(rooms) > bound) bound = check.bound(rooms), prices = check.prices;
    const isProven = cost - bound <= TOLERANCE * Math.abs(cost);
    if (isProven || candidates >= groups || repairs++ === REPAIRS) return { ...best!, prices };
    candidates = repairs < REPAIRS ? Math.min(WIDER * candidates, Math.max(most, candidates)) : most;
    if (check.bound(rooms) > found.bound(rooms)) {
      found = check;
      candidates = Math.max(candidates, SPARE * found.excess(rooms));
    }
  }
}

/** Gives the expert of every row, in the order in which they came. It takes the rows out of the solution's holdings. */
export function* expertsOf(rows: Contested, { choice, holdings }: Solution): Generator<number> {
  for (const group of rows.groupOfRows()) {
    let e = choice.expert[group];
    if (holdings.mayMove(group)) {
      // Equal rows are all as good to move: each stays while its expert holds one of them, or else goes to the lowest that does.
      if (holdings.held(group, e) === 0) { for (e = 0; holdings.held(group, e) === 0;) e++; }
      holdings.give(group, e, -1);
    }
    yield e;
  }
}
