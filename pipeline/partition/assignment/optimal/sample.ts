/** A sample of rows at a fixed stride, and prices learned on it. */

import type { CostRows } from "../assignment.ts";
import { type Nearest, nearest, nearestOf } from "./nearest.ts";

const MOST_SWEEPS = 12;
const CLOSE = 0.005; // of the sample may be with experts that it does not fit: chance alone makes a sample as unlike all rows

/** Gives how many rows of so many experts a sample holds at most: it holds more than half of that, or every row. */
export function sampleSize(experts: number): number {
  return 2 ** Math.max(15, Math.min(16, 21 - Math.ceil(Math.log2(experts))));
}

/**
 * Collects rows at a fixed stride without knowing how many will come: when it is full, every other row goes and the stride
 * doubles. It holds the same rows however they came in groups.
 */
export class StridedSample {
  /** Rows seen. */
  seen = 0;
  #stride = 1;
  #held = 0;
  #costs = new Float32Array();
  readonly #most: number;
  #experts = 0;

  /** Starts with none; `most` is how many rows it holds at most, an even number by {@linkcode sampleSize} unless given. */
  constructor(most = 0) {
    this.#most = most;
  }

  /** Takes the rows that come next. */
  add({ costs, experts }: CostRows): void {
    this.#experts = experts;
    const most = this.#most || sampleSize(experts);
    const rows = costs.length / experts;
    const first = Math.ceil(this.seen / this.#stride) * this.#stride - this.seen;
    for (let row = first; row < rows; row += this.#stride) {
      if (this.#held === most) {
        for (let to = 1; 2 * to < most; to++) {
          this.#costs.copyWithin(to * experts, 2 * to * experts, (2 * to + 1) * experts);
        }
        this.#held = most / 2; // and this row's number is a multiple of the doubled stride
        this.#stride *= 2;
      }
      this.#reserve(most);
      this.#costs.set(costs.subarray(row * experts, (row + 1) * experts), this.#held++ * experts);
    }
    this.seen += rows;
  }

  #reserve(most: number): void {
    if (this.#costs.length > this.#held * this.#experts) return;
    const grown = new Float32Array(Math.min(most, Math.max(1024, 2 * this.#held)) * this.#experts);
    grown.set(this.#costs);
    this.#costs = grown;
  }

  /** The rows that it holds. */
  get rows(): CostRows {
    return { experts: this.#experts, costs: this.#costs.subarray(0, this.#held * this.#experts) };
  }
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

/** Finds the margin at given prices that a share of the sample, 0 to 1, does not exceed; at least one row's. */
export function marginOf(sample: CostRows, prices: Float64Array, share: number): number {
  const { margin } = nearest(sample, prices);
  const rows = margin.length;
  return largest(margin, rows + 1 - Math.min(rows, Math.max(1, Math.ceil(rows * share))));
}
