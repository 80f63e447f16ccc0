/**
 * The seam between costs and parts: ways to hand rows to experts by what a row costs each of them;
 * the simplest way, and what proves any of them.
 */

import { InputError } from "../../../kernels/errors.ts";
import { checkSettings } from "../../settings/configuration.ts";

/** Consecutive rows, and what they cost each expert. */
export interface CostRows {
  /** E. */
  experts: number;
  /** Costs f32 `[rows, E]`, row-major; the lowest is the best. */
  costs: Float32Array;
  /** Predicted prefix tokens `[rows]`, `min(M, length) - 1`; absent where M is unknown. */
  predicted?: Uint32Array;
}

/** All rows of an assignment. */
export interface AssignmentInput {
  /**
   * Opens the rows at their beginning, in groups of the configured chunk. A group may be used until
   * the next is asked for.
   */
  open(): AsyncIterable<CostRows>;
  /**
   * Returns how many of `rows` rows each expert may take `[E]`, where they are assigned together.
   */
  rooms(rows: number, experts: number): number[];
}

/** Proves how good an assignment is. All sums are in f64, in the order of the rows. */
export interface Proof {
  /**
   * What the assignment costs: over all rows, the sum of the cost of the expert that the row got.
   */
  cost: number;
  /** A lower bound: no assignment with these rooms costs less. */
  bound: number;
  /** Rows that it assigned. */
  rows: number;
  /** How many of them each expert got `[E]`. */
  loads: number[];
  /** What the rows would cost if each went to its best expert, with no balance. */
  unbalanced: number;
  /**
   * What `balanced` would cost over the same rows, all in one chunk; absent if nobody asked for it.
   */
  greedy?: number;
  /**
   * Prices of the experts `[E]` that give the bound, and by which other rows of the same kind can
   * be assigned.
   */
  prices?: number[];
}

/** Adds up what the proofs of assignments of different rows to different experts say. */
export function addProofs(proofs: readonly Proof[]): Proof {
  const sum = (name: "cost" | "bound" | "rows" | "unbalanced") =>
    proofs.reduce((all, proof) => all + proof[name], 0);
  const [cost, bound, rows, unbalanced] = [
    sum("cost"),
    sum("bound"),
    sum("rows"),
    sum("unbalanced"),
  ];
  return { cost, bound, rows, unbalanced, loads: proofs.flatMap(({ loads }) => loads) };
}

/**
 * Returns by how much the cost of an assignment exceeds the bound, per row; 0, up to rounding, for
 * an optimal one.
 */
export function gapPerRow({ cost, bound, rows }: Proof): number {
  return rows === 0 ? 0 : Math.max(0, cost - bound) / rows;
}

/**
 * Returns by how much a cost (by default that of the assignment) exceeds the bound, as a share of
 * what balancing costs. A constant that is added to all costs does not change this share.
 */
export function gapShare({ cost, bound, unbalanced }: Proof, compared: number = cost): number {
  return cost <= unbalanced ? 0 : Math.max(0, compared - bound) / (cost - unbalanced);
}

/** A way to assign rows to experts. */
export interface Assignment {
  /** Name: a value of the setting `method`. */
  method: string;
  /** What it does, in one sentence. */
  about: string;
  /**
   * Version of its results: it grows when the same rows come to be assigned, or proven, in another
   * way; 1 unless given.
   */
  revision?: number;
  /** How often it reads all rows at most. Rows that are read only once may come from a pipe. */
  passes: number;
  /** Whether every expert gets as many rows as it has room for. */
  balanced: boolean;
  /**
   * Whether the rows of one chunk are assigned together, so that the chunk must be a multiple of E.
   */
  byChunk: boolean;
  /** Whether it needs to know M. */
  perToken: boolean;
  /**
   * Yields the experts of each group before it reads the next one, in its last pass. Returns a
   * proof, if the method gives one.
   */
  assign(input: AssignmentInput): AsyncGenerator<Uint16Array, Proof | undefined>;
}

/**
 * Gives every expert equal room `[E]`: `floor(rows / E)`, and the first `rows mod E` experts one
 * more.
 */
export function equalRooms(rows: number, experts: number): number[] {
  return Array.from(
    { length: experts },
    (_, e) => Math.floor(rows / experts) + Number(e < rows % experts),
  );
}

/** Checks costs `[rows, E]` and returns the number of rows. */
export function checkCosts(costs: Float32Array, experts: number, where?: string): number {
  checkSettings({ experts });
  if (costs.length % experts !== 0) {
    throw new RangeError(
      `Cannot assign ${where ?? "the rows"} as nll must hold one value per row and expert: ` +
        `nll has ${costs.length} values, experts is ${experts}`,
    );
  }
  let i = 0;
  while (i < costs.length && Number.isFinite(costs[i])) i++;
  if (i === costs.length) return i / experts;
  throw new InputError(
    `Cannot assign ${where ?? "the rows"} as every cost must be finite: ` +
      `nll of row ${Math.floor(i / experts)}, expert ${i % experts} is ${costs[i]}`,
    { where, remedy: "learn the partitioner again at a lower rate, then score again" },
  );
}

/** Finds the least cost of the row whose costs begin at `begin`. */
export function leastCost(costs: Float32Array, begin: number, experts: number): number {
  let least = costs[begin];
  for (let e = 1; e < experts; e++) if (costs[begin + e] < least) least = costs[begin + e];
  return least;
}

/** Throws an `InputError` where rows have another number of costs than expected. */
export function checkWidth(where: string, actual: number, expected: number): void {
  if (actual === expected) return;
  throw new InputError(
    `Cannot use ${where} as all scores must be of the same experts: nll has ` +
      `${actual} values per row, ` +
      `experts is ${expected}`,
    { where },
  );
}

/** Assigns each row to its best expert. */
export const argmax: Assignment = {
  method: "argmax",
  about: "each row to its best expert, with no balance",
  passes: 1,
  balanced: false,
  byChunk: false,
  perToken: false,
  async *assign({ open }) {
    for await (const { costs, experts } of open()) yield assignArgmax(costs, experts);
    return undefined;
  },
};

/**
 * Assigns every row to the expert of its lowest NLL, with no balance (ties: the lower id), as
 * inference routes.
 *
 * @param nll Prefix NLLs `[N, E]`, nats; row-major.
 * @param experts E, 1 to 65,535.
 * @param prices Amounts to add to the NLLs of each expert `[E]`; 0 unless given.
 * @returns The expert of each row, `[N]`.
 * @throws {InputError} if a value isn't finite or E is impossible.
 * @throws {RangeError} if the shape is wrong.
 */
export function assignArgmax(
  nll: Float32Array,
  experts: number,
  prices?: ArrayLike<number>,
): Uint16Array {
  const rows = checkCosts(nll, experts);
  const added = Float64Array.from(prices ?? { length: experts }, (price = 0) => price);
  const expert = new Uint16Array(rows);
  for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
    let best = 0;
    let least = Infinity;
    for (let e = 0; e < experts; e++) {
      const cost = nll[begin + e] + added[e];
      if (cost < least) best = e, least = cost;
    }
    expert[row] = best;
  }
  return expert;
}

/**
 * Adds up millions of costs without losing what tells one assignment from another: the error of
 * each addition is kept (Neumaier).
 */
export class Sum {
  #sum = 0;
  #lost = 0;

  /** Adds a number. */
  add(x: number): void {
    const next = this.#sum + x;
    this.#lost += Math.abs(this.#sum) >= Math.abs(x)
      ? (this.#sum - next) + x
      : (x - next) + this.#sum;
    this.#sum = next;
  }

  /** The sum so far. */
  get value(): number {
    return this.#sum + this.#lost;
  }
}

/**
 * Sums what an assignment costs and what no other with the same rooms undercuts. For any prices p,
 *
 *     D(p) = Σ_rows min_e (cost_e + p_e) − Σ_e room_e · p_e
 *
 * is such a bound: every row pays its price or less than it would elsewhere, and prices paid for
 * all rooms cancel out. Give it all rows once; sums are in f64, in their order, with what additions
 * round away kept.
 */
export class Certificate {
  /** Rows so far. */
  rows = 0;
  readonly #loads: number[];
  readonly #prices: readonly number[];
  readonly #cost = new Sum();
  readonly #least = new Sum();
  readonly #unbalanced = new Sum();

  /** `prices` are those that prove it `[E]`. */
  constructor(prices: ArrayLike<number>) {
    this.#prices = Array.from(prices);
    this.#loads = this.#prices.map(() => 0);
  }

  /** Takes the rows that come next, and the expert of each. */
  add({ costs, experts }: CostRows, expert: Uint16Array): void {
    const prices = this.#prices;
    const rows = costs.length / experts;
    for (let row = 0, begin = 0; row < rows; row++, begin += experts) {
      let least = Infinity;
      for (let e = 0; e < experts; e++) least = Math.min(least, costs[begin + e] + prices[e]);
      this.#least.add(least);
      this.#unbalanced.add(leastCost(costs, begin, experts));
      this.#cost.add(costs[begin + expert[row]]);
      this.#loads[expert[row]]++;
    }
    this.rows += rows;
  }

  /** Returns what the rows so far prove. */
  get proof(): Proof & { prices: number[] } {
    const prices = [...this.#prices];
    const loads = [...this.#loads];
    const paid = new Sum();
    loads.forEach((load, e) => paid.add(load * prices[e]));
    const cost = this.#cost.value;
    const bound = this.#least.value - paid.value;
    const unbalanced = this.#unbalanced.value;
    return { cost, bound, rows: this.rows, loads, unbalanced, prices };
  }
}
