/**
 * Measures of a partition: how sharp it is, what balancing costs, and what it separated. Everything here is a
 * function of plain arrays; nothing reads files or knows Arrow. Sources (domain labels) are only used to
 * measure: no model ever sees them.
 */

import { assignArgmax } from "./assignment/argmax.ts";

/** Sequences and tokens of one source. */
export interface SourceCount {
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
}

/**
 * Measures how much two labelings of the same items tell about each other: mutual information over the arithmetic mean of
 * the two entropies, 0 (independent) to 1 (the same up to names).
 *
 * A labeling with one label tells nothing, so the value is then 0 (also for no items at all).
 *
 * @throws {RangeError} if the labelings differ in length.
 */
export function normalizedMutualInformation(
  a: ArrayLike<number | string>,
  b: ArrayLike<number | string>,
): number {
  checkEqual("measure mutual information", "labelings", "a", a.length, "b", b.length);
  const columnOf = new Map<number | string, number>();
  const rowOf = new Map<number | string, number>();
  const table: number[][] = [];
  for (let i = 0; i < a.length; i++) {
    const row = indexOf(rowOf, a[i]);
    const column = indexOf(columnOf, b[i]);
    const counts = table[row] ??= [];
    counts[column] = (counts[column] ?? 0) + 1;
  }
  return informationOfTable(table);
}

/**
 * Measures the normalised mutual information of a table of counts `[rows, columns]`, as
 * {@linkcode normalizedMutualInformation} does of two labelings; missing entries count 0.
 */
export function informationOfTable(table: number[][]): number {
  const rows = table.map((counts) => total(counts));
  const columns: number[] = [];
  for (const counts of table) {
    counts.forEach((count, column) => columns[column] = (columns[column] ?? 0) + count);
  }
  const items = total(rows);
  const normaliser = (entropy(rows, items) + entropy(columns, items)) / 2;
  if (normaliser === 0) return 0;
  let information = 0;
  table.forEach((counts, row) =>
    counts.forEach((n, column) => {
      if (n > 0) information += n / items * Math.log(n / rows[row] * (items / columns[column]));
    })
  );
  return Math.min(1, Math.max(0, information / normaliser)); // rounding can leave the interval by an ulp
}

/**
 * Computes the share of the sequences that each expert would get without balancing, `[experts]`, from costs `[rows, experts]`
 * (ties: the lower id); all 0 for no rows.
 *
 * @throws {RangeError} if `costs` isn't a whole number of rows.
 */
export function shares(costs: Float32Array, experts: number): number[] {
  const rows = countRows("compute shares", costs, experts);
  const counts = new Array<number>(experts).fill(0);
  for (const e of assignArgmax(costs, experts)) counts[e]++;
  return counts.map((n) => rows === 0 ? 0 : n / rows);
}

/**
 * Rows that were assigned: their costs f32 `[rows, E]`, such as prefix NLLs in nats, the expert of each `[rows]`, E, and their
 * predicted prefix tokens `[rows]`, `min(M, length) - 1`; without these every row counts as one.
 */
export type AssignedRows = [
  costs: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted?: ArrayLike<number>,
];

/**
 * Computes what balancing costs, per predicted prefix token: the sum of `costs[assigned] - min costs` over that of `predicted`. No
 * rows cost 0. Throws a `RangeError` where the shapes disagree.
 */
export function regret(...rows: AssignedRows): number {
  const [costs, , experts] = rows;
  countRows("compute regret", costs, experts);
  const best = assignArgmax(costs, experts);
  return perToken("compute regret", rows, (row) => costs[row * experts + best[row]]);
}

/** Computes the mean cost of the assigned experts per predicted prefix token. Throws a `RangeError` where the shapes disagree. */
export function nllPerToken(...rows: AssignedRows): number {
  return perToken("compute the NLL per token", rows, () => 0);
}

/** Adds one sequence of `tokens` tokens to the counts of its source, in place. */
export function countSource(counts: Map<string, SourceCount>, source: string, tokens: number): void {
  let count = counts.get(source);
  if (count === undefined) counts.set(source, count = { sequences: 0, tokens: 0 });
  count.sequences++;
  count.tokens += tokens;
}

/** Copies counts with their sources sorted by name, so that what is printed doesn't depend on who came first. */
export function sortSources(counts: Map<string, SourceCount>): Map<string, SourceCount> {
  return new Map([...counts].sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0));
}

/** Computes how much more than the mean the largest expert has, `max / mean - 1`, of tokens per expert; 0 for no tokens. */
export function tokenImbalance(tokens: ArrayLike<number>): number {
  const loads = Array.from(tokens);
  const mean = total(loads) / loads.length;
  return mean > 0 ? loads.reduce((a, b) => Math.max(a, b)) / mean - 1 : 0;
}

/** Sums `costs[assigned] - baseline(row)` over the rows, per predicted token. */
function perToken(
  what: string,
  [costs, expert, experts, predicted]: AssignedRows,
  baseline: (row: number) => number,
): number {
  const rows = countRows(what, costs, experts);
  checkEqual(what, "rows", "costs", rows, "expert", expert.length);
  if (predicted !== undefined) checkEqual(what, "rows", "costs", rows, "predicted", predicted.length);
  let nats = 0;
  let tokens = 0;
  for (let row = 0; row < rows; row++) {
    const e = expert[row];
    if (!(e < experts)) {
      throw new RangeError(
        `Cannot ${what} as every expert must be below ${experts}: expert of row ${row} is ${e}`,
      );
    }
    nats += costs[row * experts + e] - baseline(row);
    tokens += predicted === undefined ? 1 : predicted[row];
  }
  return tokens === 0 ? 0 : nats / tokens;
}

function entropy(counts: number[], items: number): number {
  let sum = 0;
  counts.forEach((n) => {
    if (n > 0) sum -= n / items * Math.log(n / items);
  });
  return sum;
}

function total(counts: number[]): number {
  return counts.reduce((a, b) => a + b, 0);
}

function indexOf(indices: Map<number | string, number>, label: number | string): number {
  let index = indices.get(label);
  if (index === undefined) indices.set(label, index = indices.size);
  return index;
}

function countRows(what: string, costs: Float32Array, experts: number): number {
  if (!Number.isInteger(experts) || experts < 1 || costs.length % experts !== 0) {
    throw new RangeError(
      `Cannot ${what} as costs must be [rows, experts]: costs has ${costs.length} values, experts is ${experts}`,
    );
  }
  return costs.length / experts;
}

function checkEqual(what: string, things: string, a: string, aLength: number, b: string, bLength: number) {
  if (aLength === bLength) return;
  throw new RangeError(
    `Cannot ${what} as ${things} must be equally long: ${a} has ${aLength}, ${b} has ${bLength}`,
  );
}
