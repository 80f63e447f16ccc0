/** Measures of a partition, from plain arrays. Sources (labels of text) are only used to measure: no model ever sees them. */

import { assignArgmax } from "./assignment/argmax.ts";
import { leastCost } from "./assignment/assignment.ts";

/**
 * Measures how much two labelings of the same items tell about each other: mutual information over the arithmetic mean of
 * the two entropies, 0 (independent, or only one label) to 1 (the same up to names).
 */
export function normalizedMutualInformation(
  a: ArrayLike<number | string>,
  b: ArrayLike<number | string>,
): number {
  const [rowOf, needColumn] = [a, b].map((labels) =>
    new Map([...new Set(Array.from(labels))].map((label, index) => [label, index]))
  );
  const table = Array.from(rowOf, () => new Array<number>(needColumn.size).fill(0));
  for (let i = 0; i < a.length; i++) table[rowOf.get(a[i])!][needColumn.get(b[i])!]++;
  return informationOfTable(table);
}

/** Measures the same of a table of counts `[rows, columns]`. */
export function informationOfTable(table: readonly number[][]): number {
  const rows = table.map(total);
  const columns = (table[0] ?? []).map((_, column) => total(table.map((counts) => counts[column])));
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

/** Computes the share `[E]` of the sequences that each expert would get without balancing, from costs `[rows, E]`; 0 for no rows. */
export function shares(costs: Float32Array, experts: number): number[] {
  const counts = new Array<number>(experts).fill(0), best = assignArgmax(costs, experts);
  for (const e of best) counts[e]++;
  return counts.map((n) => best.length === 0 ? 0 : n / best.length);
}

/**
 * Rows that were assigned: their costs f32 `[rows, E]`, the expert of each `[rows]`, E, and their predicted prefix tokens
 * `[rows]`, `min(M, length) - 1`. Without these tokens every row counts as one. Costs may be prefix NLLs in nats.
 */
export type AssignedRows = [
  costs: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted?: ArrayLike<number>,
];

/** Computes what balancing costs, per predicted prefix token: the sum of `costs[assigned] - min costs` over that of `predicted`. */
export function regret(...rows: AssignedRows): number {
  const [costs, , experts] = rows;
  return perToken(rows, (row) => leastCost(costs, row * experts, experts));
}

/** Computes the mean cost of the assigned experts per predicted prefix token. */
export function nllPerToken(...rows: AssignedRows): number {
  return perToken(rows, () => 0);
}

/** Computes how much more than the mean the largest expert has, `max / mean - 1`, of tokens per expert; 0 for no tokens. */
export function tokenImbalance(tokens: ArrayLike<number>): number {
  const loads = Array.from(tokens);
  const mean = total(loads) / loads.length;
  return mean > 0 ? loads.reduce((a, b) => Math.max(a, b)) / mean - 1 : 0;
}

/** Sums `costs[assigned] - baseline(row)` over the rows, per predicted token; 0 for no rows. */
function perToken(
  [costs, expert, experts, predicted]: AssignedRows,
  baseline: (row: number) => number,
): number {
  let nats = 0, tokens = 0;
  for (let row = 0; row < expert.length; row++) {
    nats += costs[row * experts + expert[row]] - baseline(row);
    tokens += predicted?.[row] ?? 1;
  }
  return tokens === 0 ? 0 : nats / tokens;
}

function entropy(counts: number[], items: number): number {
  return -total(counts.map((n) => n > 0 ? n / items * Math.log(n / items) : 0));
}

function total(counts: number[]): number {
  return counts.reduce((a, b) => a + b, 0);
}
