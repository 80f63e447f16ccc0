/**
 * Measures of a partition: how sharp it is, what balancing costs, and what it sorted apart.
 *
 * Everything here is a function of plain arrays; nothing reads files or knows Arrow. Sources (domain labels) are used to
 * measure alone: no model ever sees them.
 *
 * @module
 */

import { assignArgmax } from "./assignment/assign.ts";

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
  for (const counts of table) counts.forEach((n, column) => columns[column] = (columns[column] ?? 0) + n);
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
 * Computes the share of the sequences that each expert would get without balancing, `[experts]`, from prefix NLLs
 * `[rows, experts]` in nats (ties: the lower id); all 0 for no rows.
 *
 * @throws {RangeError} if `nll` isn't a whole number of rows.
 */
export function shares(nll: Float32Array, experts: number): number[] {
  const rows = countRows("compute shares", nll, experts);
  const counts = new Array<number>(experts).fill(0);
  for (const e of assignArgmax(nll, experts)) counts[e]++;
  return counts.map((n) => rows === 0 ? 0 : n / rows);
}

/**
 * Computes what balancing costs, in nats per predicted prefix token: the sum of `nll[assigned] - min nll` over the sum of
 * `predicted`. Without `predicted` it is the mean per sequence. No rows cost 0.
 *
 * @param nll Prefix NLLs `[rows, experts]`, nats.
 * @param expert The expert assigned to each row, `[rows]`.
 * @param experts E.
 * @param predicted Predicted prefix tokens of each row, `[rows]`: `min(M, length) - 1`.
 * @throws {RangeError} if the shapes disagree.
 */
export function regret(
  nll: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted?: ArrayLike<number>,
): number {
  countRows("compute regret", nll, experts);
  const best = assignArgmax(nll, experts);
  return perToken("compute regret", nll, expert, experts, predicted, (row) => nll[row * experts + best[row]]);
}

/**
 * Computes the mean NLL of the assigned experts, in nats per predicted prefix token (per sequence without `predicted`);
 * shapes as in {@linkcode regret}.
 *
 * @throws {RangeError} if the shapes disagree.
 */
export function nllPerToken(
  nll: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted?: ArrayLike<number>,
): number {
  return perToken("compute the NLL per token", nll, expert, experts, predicted, () => 0);
}

/**
 * Tabulates the sources of each expert's sequences: element e maps each source that e has, sorted by name, to its
 * counts.
 *
 * @param sources The source of each row, `[rows]`.
 * @param lengths Real tokens of each row, `[rows]`.
 * @param expert The expert assigned to each row, `[rows]`.
 * @param experts E.
 * @throws {RangeError} if the arrays differ in length or an expert isn't below `experts`.
 */
export function sourceMix(
  sources: ArrayLike<string>,
  lengths: ArrayLike<number>,
  expert: ArrayLike<number>,
  experts: number,
): Map<string, SourceCount>[] {
  checkEqual("tabulate sources", "arrays", "sources", sources.length, "expert", expert.length);
  checkEqual("tabulate sources", "arrays", "lengths", lengths.length, "expert", expert.length);
  const mix = Array.from({ length: experts }, () => new Map<string, SourceCount>());
  for (let row = 0; row < expert.length; row++) {
    checkExpert("tabulate sources", row, expert[row], experts);
    countSource(mix[expert[row]], sources[row], lengths[row]);
  }
  return mix.map(sortSources);
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

/** Sums `nll[assigned] - baseline(row)` over the rows, per predicted token. */
function perToken(
  what: string,
  nll: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted: ArrayLike<number> | undefined,
  baseline: (row: number) => number,
): number {
  const rows = countRows(what, nll, experts);
  checkEqual(what, "rows", "nll", rows, "expert", expert.length);
  if (predicted !== undefined) checkEqual(what, "rows", "nll", rows, "predicted", predicted.length);
  let nats = 0;
  let tokens = 0;
  for (let row = 0; row < rows; row++) {
    checkExpert(what, row, expert[row], experts);
    nats += nll[row * experts + expert[row]] - baseline(row);
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

function countRows(what: string, nll: Float32Array, experts: number): number {
  if (!Number.isInteger(experts) || experts < 1 || nll.length % experts !== 0) {
    throw new RangeError(
      `Cannot ${what} as nll must be [rows, experts]: nll has ${nll.length} values, experts is ${experts}`,
    );
  }
  return nll.length / experts;
}

function checkEqual(what: string, things: string, a: string, aLength: number, b: string, bLength: number) {
  if (aLength === bLength) return;
  throw new RangeError(
    `Cannot ${what} as ${things} must be equally long: ${a} has ${aLength}, ${b} has ${bLength}`,
  );
}

function checkExpert(what: string, row: number, expert: number, experts: number) {
  if (expert < experts) return;
  throw new RangeError(
    `Cannot ${what} as every expert must be below ${experts}: expert of row ${row} is ${expert}`,
  );
}
