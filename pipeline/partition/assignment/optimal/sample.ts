/** A sample of rows at a fixed stride, and prices learned on it. */

import type { CostRows } from "../assignment.ts";
import type { Weighed } from "./contested.ts";
import { type Nearest, nearest, nearestOf } from "./nearest.ts";

const [FEWEST, MOST] = [2 ** 15, 2 ** 18]; // rows
const COSTS = 2 ** 23; // of as many rows as lie between these
const SWEPT = 2 ** 14; // rows
const BLOCK = 64; // rows
const MOST_SWEEPS = 12;
const CLOSE = 0.005; // of the sample may be with experts that it does not fit: chance alone makes a sample as unlike all rows

/** Gives how many rows of so many experts a sample holds at most: it holds half of that or more, or every row. */
export function sampleSize(experts: number): number {
  return Math.max(FEWEST, Math.min(MOST, COSTS / 2 ** Math.ceil(Math.log2(experts))));
}

/**
 * Collects rows at a fixed stride without knowing how many will come: when it is full, every other row goes and the stride
 * doubles. It holds the same rows however they came in groups.
 */
export class StridedSample {
  /** Rows seen. */
  seen = 0;
  /** Every so many rows one is held: 1 where all are. */
  stride = 1;
  #held = 0;
  #costs = new Float32Array();
  #predicted?: Uint32Array;
  readonly #most: number;
  #experts = 0;

  /** Starts with none; `most` is how many rows it holds at most, an even number by {@linkcode sampleSize} unless given. */
  constructor(most = 0) {
    this.#most = most;
  }

  /** Takes the rows that come next. */
  add({ costs, experts, predicted }: CostRows): void {
    this.#experts = experts;
    const most = this.#most || sampleSize(experts);
    const rows = costs.length / experts;
    const first = Math.ceil(this.seen / this.stride) * this.stride - this.seen;
    for (let row = first; row < rows; row += this.stride) {
      if (this.#held === most) {
        for (let to = 1; 2 * to < most; to++) {
          this.#costs.copyWithin(to * experts, 2 * to * experts, (2 * to + 1) * experts);
          this.#predicted?.copyWithin(to, 2 * to, 2 * to + 1);
        }
        this.#held = most / 2; // and this row's number is a multiple of the doubled stride
        this.stride *= 2;
      }
      this.#reserve(most, predicted !== undefined);
      if (predicted !== undefined) this.#predicted![this.#held] = predicted[row];
      this.#costs.set(costs.subarray(row * experts, (row + 1) * experts), this.#held++ * experts);
    }
    this.seen += rows;
  }

  #reserve(most: number, isPredicted: boolean): void {
    if (this.#costs.length > this.#held * this.#experts) return;
    const rows = Math.min(most, Math.max(1024, 2 * this.#held));
    const costs = new Float32Array(rows * this.#experts);
    costs.set(this.#costs);
    this.#costs = costs;
    if (!isPredicted) return;
    const predicted = new Uint32Array(rows);
    if (this.#predicted) predicted.set(this.#predicted);
    this.#predicted = predicted;
  }

  /** The rows that it holds. */
  get rows(): CostRows {
    return {
      experts: this.#experts,
      costs: this.#costs.subarray(0, this.#held * this.#experts),
      predicted: this.#predicted?.subarray(0, this.#held),
    };
  }
}

/** Rows that count once each. */
export function unweighed(rows: CostRows): Weighed {
  const count = rows.costs.length / rows.experts;
  return { experts: rows.experts, groups: count, rows: count, blocks: () => [rows] };
}

/** Half of a sample's rows, which count once each: every other block of them. */
export function halfOf({ costs, experts }: CostRows): Weighed {
  const blocks: CostRows[] = [];
  let rows = 0;
  for (let begin = 0; begin < costs.length; begin += 2 * BLOCK * experts) {
    const block = { experts, costs: costs.subarray(begin, begin + BLOCK * experts) };
    rows += block.costs.length / experts;
    blocks.push(block);
  }
  return { experts, groups: rows, rows, blocks: () => blocks };
}

/** Gives some 16,384 of a sample's rows, at a fixed stride. */
export function thinned({ costs, experts }: CostRows): CostRows {
  const stride = Math.ceil(costs.length / experts / SWEPT);
  const rows = Math.ceil(costs.length / experts / stride);
  const thin = new Float32Array(rows * experts);
  for (let row = 0; row < rows; row++) {
    const begin = row * stride * experts;
    thin.set(costs.subarray(begin, begin + experts), row * experts);
  }
  return { costs: thin, experts };
}

/**
 * Learns prices `[E]` on a sample: in turn every expert gets the price at which it would take its share of the sample, the others'
 * prices given, up to 12 times or until all but a few rows fit.
 *
 * @param rooms Rows for every expert `[E]` among all rows, of which the sample is a part.
 */
export function samplePrices(sample: CostRows, rooms: readonly number[]): Float64Array {
  const { costs, experts } = sample;
  const rows = costs.length / experts;
  const all = rooms.reduce((sum, room) => sum + room, 0);
  const prices = new Float64Array(experts);
  if (experts === 1 || rows === 0) return prices;
  const found = nearest(sample, prices);
  const worth = new Float64Array(rows); // the price at which a row would leave the expert
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    for (let e = 0; e < experts; e++) {
      const { expert, value, margin } = found;
      for (let row = 0; row < rows; row++) {
        const others = expert[row] === e ? value[row] + margin[row] : value[row];
        worth[row] = others - costs[row * experts + e];
      }
      const wanted = Math.floor(rows * rooms[e] / all);
      const price = largest(worth, Math.max(1, wanted));
      if (price === prices[e]) continue;
      prices[e] = price;
      update(found, sample, prices, e);
    }
    const loads = new Float64Array(experts);
    for (const e of found.expert) loads[e]++;
    const excess = loads.reduce((sum, load, e) => sum + Math.abs(load - rows * rooms[e] / all), 0);
    if (excess <= CLOSE * rows) break;
  }
  return prices;
}

/** Brings the two best experts of every row up to date after the price of `e` changed. */
function update(found: Nearest, { costs, experts }: CostRows, prices: Float64Array, e: number): void {
  const { expert, next, value, margin } = found;
  for (let row = 0, at = 0; row < expert.length; row++, at += experts) {
    const sum = costs[at + e] + prices[e];
    if (expert[row] === e || next[row] === e) {
      nearestOf(row, costs, experts, prices, found);
    } else if (sum < value[row]) {
      margin[row] = value[row] - sum;
      next[row] = expert[row];
      expert[row] = e, value[row] = sum;
    } else if (sum - value[row] < margin[row]) {
      next[row] = e, margin[row] = sum - value[row];
    }
  }
}

/** Finds the n-th largest value, n from 1, and reorders the values. */
export function largest(values: Float64Array, n: number): number {
  const at = values.length - n;
  let low = 0, high = values.length - 1;
  while (low < high) {
    const a = values[low], b = values[(low + high) >> 1], c = values[high];
    const pivot = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    let i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const kept = values[i];
      values[i++] = values[j];
      values[j--] = kept;
    }
    if (at <= j) high = j;
    else if (at >= i) low = i;
    else break;
  }
  return values[at];
}
