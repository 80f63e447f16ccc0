/** The seam between costs and parts: ways to hand rows to experts by what a row costs each of them. */

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
  /** Opens the rows at their beginning, in groups of the configured chunk. A group may be used until the next is asked for. */
  open(): AsyncIterable<CostRows>;
  /** Gives the room of every expert `[E]` where this many rows are handed out together. */
  rooms(rows: number, experts: number): number[];
}

/** Proves how good an assignment is. All sums are in f64, in the order of the rows. */
export interface Proof {
  /** What the assignment costs: over all rows, the sum of the cost of the expert that the row got. */
  cost: number;
  /** A lower bound: no assignment with these rooms costs less. */
  bound: number;
  /** Rows that it assigned. */
  rows: number;
  /** How many of them each expert got `[E]`. */
  loads: number[];
  /** What the rows would cost if each went to its best expert, with no balance. */
  unbalanced: number;
  /** What `balanced` would cost over the same rows, all in one chunk; absent if nobody asked for it. */
  greedy?: number;
  /** Prices of the experts `[E]` that give the bound, and by which other rows of the same kind can be assigned. */
  prices?: number[];
}

/** Adds up what the proofs of assignments of different rows to different experts say. */
export function addProofs(proofs: readonly Proof[]): Proof {
  const sum = (name: "cost" | "bound" | "rows" | "unbalanced") =>
    proofs.reduce((all, proof) => all + proof[name], 0);
  const [cost, bound, rows, unbalanced] = [sum("cost"), sum("bound"), sum("rows"), sum("unbalanced")];
  return { cost, bound, rows, unbalanced, loads: proofs.flatMap(({ loads }) => loads) };
}

/** Reports by how much the cost of an assignment exceeds the bound, per row; 0, up to rounding, for an optimal one. */
export function gapPerRow({ cost, bound, rows }: Proof): number {
  return rows === 0 ? 0 : Math.max(0, cost - bound) / rows;
}

/**
 * Reports by how much a cost (by default that of the assignment) exceeds the bound, as a share of what balancing
 * costs. A constant that is added to all costs does not change this share.
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
  /** Version of its results: it grows when the same rows come to be assigned, or proven, in another way; 1 unless given. */
  revision?: number;
  /** How often it reads all rows at most. Rows that are read only once may come from a pipe. */
  passes: number;
  /** Whether every expert gets as many rows as it has room for. */
  balanced: boolean;
  /** Whether the rows of one chunk are assigned together, so that the chunk must be a multiple of E. */
  byChunk: boolean;
  /** Whether it needs to know M. */
  perToken: boolean;
  /** Yields the experts of each group before it reads the next one, in its last pass. Returns a proof, if the method gives one. */
  assign(input: AssignmentInput): AsyncGenerator<Uint16Array, Proof | undefined>;
}

/** Gives every expert equal room `[E]`: `floor(rows / E)`, and the first `rows mod E` experts one more. */
export function equalRooms(rows: number, experts: number): number[] {
  return Array.from({ length: experts }, (_, e) => Math.floor(rows / experts) + Number(e < rows % experts));
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
    `Cannot use ${where} as all scores must be of the same experts: nll has ${actual} values per row, ` +
      `experts is ${expected}`,
    { where },
  );
}
