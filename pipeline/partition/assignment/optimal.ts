/**
 * Optimal assignment to rooms, with a proof. Every expert gets a price, such that about as many rows want it as it has room
 * for. Each row goes where cost + price is least, and the few rows that do not fit move along shortest paths. For any prices p,
 *
 *     D(p) = Σ_rows min_e (cost_e + p_e) − Σ_e room_e · p_e
 *
 * is a bound that no assignment undercuts (the dual of the transportation problem), so a result with its prices proves how good it is.
 *
 * It reads all rows several times and holds few of them: prices are learned on a sample and mended by counts over all rows, and only
 * rows whose choice is close are candidates to move. All sums are in f64, in the order of the rows, with their rounding kept.
 */

import {
  type Assignment,
  type AssignmentInput,
  checkCosts,
  type CostRows,
  leastCost,
  type Proof,
} from "./assignment.ts";
import { Candidates } from "./optimal/candidates.ts";
import { GreedyCost } from "./optimal/greedy.ts";
import { type Nearest, nearest } from "./optimal/nearest.ts";
import { repair } from "./optimal/repair.ts";
import { marginOf, samplePrices, StridedSample } from "./optimal/sample.ts";
import { Sum } from "./optimal/sum.ts";

const PRICE_PASSES = 4; // at most, over all rows
const NEAR = 0.02; // of the sample lies within the first width
const FEWEST = 64; // of the sample, or
const EACH = 128; // for every expert are candidates
const SPARE = 32; // candidates for every row that does not fit
const REPAIRS = 4; // at most; the last one with as many candidates as may be
const FAILURES = 2; // of a repair, before every row is a candidate
const WIDER = 4; // times the reach of the last repair
const MOST_COSTS = 2 ** 23; // of candidates, unless fewer cannot fill the rooms
const TOLERANCE = 1e-9; // of the cost

/** Gives every expert what it has room for at the least cost. */
export const optimal: Assignment = {
  method: "optimal",
  about: "equal parts at the least cost over all rows, with a proof and with prices that assign other rows",
  passes: 18,
  balanced: true,
  byChunk: false,
  perToken: true,
  assign,
};

async function* assign({ open, rooms }: AssignmentInput): AsyncGenerator<Uint16Array, Proof | undefined> {
  const greedy = new GreedyCost(rooms);

  async function read(visit: (rows: CostRows) => void): Promise<void> {
    for await (const rows of open()) visit(rows), greedy.add(rows);
    greedy.endPass();
  }

  const sample = new StridedSample();
  const unbalanced = new Sum();
  await read(({ costs, experts }) => {
    checkCosts(costs, experts);
    sample.add({ costs, experts });
    for (let begin = 0; begin < costs.length; begin += experts) {
      unbalanced.add(leastCost(costs, begin, experts));
    }
  });
  const { seen, rows: sampled } = sample;
  if (seen === 0) return undefined;
  const room = rooms(seen, sampled.experts);
  const places = room.reduce((sum, places) => sum + places, 0);
  if (places !== seen) {
    throw new RangeError(
      `Cannot assign as rooms must hold every row: rooms hold ${places}, rows are ${seen}`,
    );
  }

  async function sweep(prices: Float64Array, width: number, reach: number): Promise<Sweep> {
    const result = new Sweep(prices, room, width, reach);
    await read((rows) => result.add(rows));
    return result;
  }

  /** Gives the reach within which a share of the rows are candidates. */
  const reachOf = (prices: Float64Array, share: number) =>
    share >= 1 ? Infinity : marginOf(sampled, prices, share);

  let found = await learnPrices(sampled, room, sweep);
  let best = found, cost = Infinity;
  let bound = -Infinity, prices = found.prices;
  for (let repairs = 1, failures = 0;;) {
    if (found.bound > bound) ({ bound, prices } = found);
    const wanted = SPARE * found.excess;
    const repaired = failures === 0 && found.taken < Math.min(wanted, seen)
      ? undefined
      : repair(found.candidates, [...found.loads], room, found.prices);
    if (repaired === undefined) { // too few candidates to fill the rooms, or to do it well
      const share = WIDER ** failures++ * Math.max(wanted, WIDER * found.taken, FEWEST) / seen;
      const reach = failures > FAILURES ? Infinity : reachOf(found.prices, share);
      found = await sweep(found.prices, 0, Math.max(reach, WIDER * found.reach));
      continue;
    }
    if (found.cost + repaired.rise < cost) best = found, cost = found.cost + repaired.rise;
    const most = reachOf(repaired.prices, MOST_COSTS / (sampled.experts * seen));
    const wider = Math.max(WIDER * found.reach, reachOf(repaired.prices, WIDER * found.taken / seen));
    const reach = repairs < REPAIRS - 1 ? Math.min(wider, most) : most;
    const check = await sweep(repaired.prices, 0, Math.max(reach, found.reach));
    if (check.bound > bound) ({ bound, prices } = check);
    const proved = found.taken === seen || cost - bound <= TOLERANCE * Math.abs(cost);
    if (proved || check.reach === found.reach || repairs++ === REPAIRS) break;
    found = check.bound > found.bound ? check : await sweep(found.prices, 0, check.reach);
  }
  if (!greedy.settled) {
    greedy.wide = true;
    await read(() => {});
  }

  const last = new Last(best, prices, room);
  for await (const rows of open()) {
    greedy.add(rows);
    yield last.add(rows);
  }
  greedy.endPass();
  return {
    cost: last.cost,
    bound: last.bound,
    rows: seen,
    loads: [...room],
    unbalanced: unbalanced.value,
    greedy: greedy.cost,
    prices: [...prices],
  };
}

/** A way through all rows at given prices. */
type SweepAt = (prices: Float64Array, width: number, reach: number) => Promise<Sweep>;

/** Learns prices: on the sample, then by what all rows say of them. */
async function learnPrices(sample: CostRows, room: number[], sweep: SweepAt): Promise<Sweep> {
  const { experts, costs } = sample;
  const rows = costs.length / experts;
  const first = samplePrices(sample, room);
  const all = room.reduce((sum, room) => sum + room, 0);
  const share = Math.max(FEWEST / rows, EACH * experts / all);
  const fewest = marginOf(sample, first, share);
  let width = marginOf(sample, first, Math.max(NEAR, share));
  let best = await sweep(first, width, Math.max(width, fewest));
  let scale = 1;
  const { priceStep } = await import("./optimal/step.ts"); // with its library
  for (let pass = 1; pass < PRICE_PASSES && best.excess > 4 * experts; pass++) {
    const step = priceStep(best.near, best.width, best.loads.map((load, e) => load - room[e]));
    width = Math.max(width / 3, fewest);
    const prices = best.prices.map((price, e) => price + scale * step[e]);
    const next = await sweep(prices, width, Math.max(width, fewest));
    if (next.bound > best.bound) best = next, scale = 1;
    else scale /= 4;
  }
  return best;
}

/** What all rows say of prices. */
class Sweep {
  /** Rows that each expert gets where every row goes to its least cost + price `[E]`. */
  readonly loads: number[];
  /** Rows `[E, E]` with a as best and b as second-best expert whose margin is at most `width`. */
  readonly near: Float64Array;
  /** Rows whose margin is at most `reach`. */
  readonly candidates: Candidates;
  /** How many they are. */
  taken = 0;
  readonly #cost = new Sum();
  readonly #values = new Sum();
  #nearest?: Nearest;

  constructor(
    readonly prices: Float64Array,
    readonly room: readonly number[],
    readonly width: number,
    readonly reach: number,
  ) {
    const experts = room.length;
    this.loads = new Array(experts).fill(0);
    this.near = new Float64Array(experts * experts);
    this.candidates = new Candidates(experts);
  }

  add(rows: CostRows): void {
    const { costs, experts } = rows;
    const { expert, next, value, margin } = this.#nearest = nearest(rows, this.prices, this.#nearest);
    const count = costs.length / experts;
    for (let row = 0; row < count; row++) {
      const e = expert[row];
      this.loads[e]++;
      this.#cost.add(costs[row * experts + e]);
      this.#values.add(value[row]);
      if (margin[row] <= this.width) this.near[e * experts + next[row]]++;
      if (margin[row] > this.reach) continue;
      this.candidates.add(costs, row * experts, e);
      this.taken++;
    }
  }

  /** What these rows cost, without prices. */
  get cost(): number {
    return this.#cost.value;
  }

  /** What no assignment to the rooms undercuts. */
  get bound(): number {
    return boundOf(this.#values, this.room, this.prices);
  }

  /** How far loads are from rooms, all experts together. */
  get excess(): number {
    return this.loads.reduce((sum, load, e) => sum + Math.abs(load - this.room[e]), 0);
  }
}

/** The last way through all rows: it hands them out, and sums what they cost and what the proving prices say. */
class Last {
  readonly #sweep: Sweep;
  readonly #prices: Float64Array;
  readonly #room: readonly number[];
  readonly #cost = new Sum();
  readonly #values = new Sum();
  #own?: Nearest;
  #proving?: Nearest;

  constructor(sweep: Sweep, prices: Float64Array, room: readonly number[]) {
    this.#sweep = sweep, this.#prices = prices, this.#room = room;
  }

  add(rows: CostRows): Uint16Array {
    const { costs, experts } = rows;
    const { prices, reach, candidates } = this.#sweep;
    const count = costs.length / experts;
    const { expert, margin } = this.#own = nearest(rows, prices, this.#own);
    const { value } = this.#proving = nearest(rows, this.#prices, this.#proving);
    const result = expert.slice(0, count);
    for (let row = 0; row < count; row++) {
      if (margin[row] <= reach) {
        // Equal rows are all as good to move: each takes its own expert while that holds one of them, or else the lowest that does.
        const group = candidates.groupOf(costs, row * experts);
        let e = expert[row];
        if (candidates.held(group, e) === 0) { for (e = 0; candidates.held(group, e) === 0;) e++; }
        candidates.give(group, e, -1);
        result[row] = e;
      }
      this.#cost.add(costs[row * experts + result[row]]);
      this.#values.add(value[row]);
    }
    return result;
  }

  get cost(): number {
    return this.#cost.value;
  }

  get bound(): number {
    return boundOf(this.#values, this.#room, this.#prices);
  }
}

/** Gives D(p) from the sum of the least costs with prices. */
function boundOf(values: Sum, room: readonly number[], prices: Float64Array): number {
  const paid = new Sum();
  room.forEach((rows, e) => paid.add(rows * prices[e]));
  return values.value - paid.value;
}
