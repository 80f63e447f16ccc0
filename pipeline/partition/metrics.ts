/**
 * Measures of a partition, from plain arrays, or from counts of what each expert gets, row by row,
 * so that a partition of any size can be described. Sources (labels of text) are only used to
 * measure: no model ever sees them.
 */

import { assignArgmax } from "./assignment/assignment.ts";

/**
 * Measures how much two labelings of the same items tell about each other: mutual information over
 * the arithmetic mean of the two entropies, 0 (independent, or only one label) to 1 (the same up to
 * names).
 */
export function normalizedMutualInformation(
  a: ArrayLike<number | string>,
  b: ArrayLike<number | string>,
): number {
  const [rowIndices, columnIndices] = [a, b].map((labels) =>
    new Map([...new Set(Array.from(labels))].map((label, index) => [label, index]))
  );
  const table = Array.from(rowIndices, () => new Array<number>(columnIndices.size).fill(0));
  for (let i = 0; i < a.length; i++) table[rowIndices.get(a[i])!][columnIndices.get(b[i])!]++;
  return informationOfTable(table);
}

/** Measures the same of a table of counts `[rows, columns]`. */
function informationOfTable(table: readonly number[][]): number {
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
  // Rounding can leave the interval by an ulp.
  return Math.min(1, Math.max(0, information / normaliser));
}

/**
 * Measures rows that were assigned, by their costs f32 `[rows, E]`, such as prefix NLLs in nats,
 * the expert of each `[rows]`, and their predicted prefix tokens `[rows]`, `min(M, length) - 1`;
 * all is 0 for no rows.
 */
export function measureRows(
  costs: Float32Array,
  expert: ArrayLike<number>,
  experts: number,
  predicted: ArrayLike<number>,
): Pick<PartitionCounts, "shares"> & { nllPerToken: number; regret: number } {
  const wanted = new Array<number>(experts).fill(0);
  const rows = expert.length;
  let cost = 0;
  let excess = 0;
  let tokens = 0;
  for (const [row, best] of assignArgmax(costs, experts).entries()) {
    const rowCost = costs[row * experts + expert[row]];
    cost += rowCost;
    excess += rowCost - costs[row * experts + best];
    tokens += predicted[row];
    wanted[best]++;
  }
  const shares = wanted.map((count) => rows === 0 ? 0 : count / rows);
  return { nllPerToken: perToken(cost, tokens), shares, regret: perToken(excess, tokens) };
}

/**
 * Computes how much more than the mean the largest expert has, `max / mean - 1`, of tokens per
 * expert; 0 for no tokens.
 */
export function tokenImbalance(tokens: ArrayLike<number>): number {
  const loads = Array.from(tokens);
  const mean = total(loads) / loads.length;
  return mean > 0 ? loads.reduce((a, b) => Math.max(a, b)) / mean - 1 : 0;
}

function entropy(counts: number[], items: number): number {
  return -total(counts.map((n) => n > 0 ? n / items * Math.log(n / items) : 0));
}

function total(counts: number[]): number {
  return counts.reduce((a, b) => a + b, 0);
}

/** Sequences and tokens of one source. */
export interface SourceCount {
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
}

/** Sums over one expert's sequences. */
export interface PartTally extends SourceCount {
  /** Number of sequences, of any expert, that cost least at this one. */
  wanted: number;
  /** Costs of its sequences. */
  cost: number;
  /** What its sequences would cost at their best experts. */
  lowest: number;
  /** Predicted prefix tokens; NaN where M is unknown. */
  predicted: number;
  /** Sequences and tokens by source. */
  sources: Map<string, SourceCount>;
}

/** Counts of one expert's sequences. */
export interface PartCounts extends SourceCount {
  /** Mean cost per predicted prefix token, nats; null where M is unknown. */
  nllPerToken: number | null;
  /** Sequences and tokens by source. */
  sources: Record<string, SourceCount>;
}

/** Measures over all experts. */
export interface PartitionCounts extends Omit<PartCounts, "sources"> {
  /** What balancing costs, nats per predicted prefix token; null where M is unknown. */
  regret: number | null;
  /** Normalised mutual information of expert and source; null where there are not two sources. */
  nmi: number | null;
  /** Tokens of the largest expert over the mean, less one. */
  tokenImbalance: number;
  /** Share of the sequences that each expert would get without balancing `[E]`. */
  shares: number[];
}

/** Makes an empty tally. */
export function newTally(): PartTally {
  return {
    sequences: 0,
    tokens: 0,
    wanted: 0,
    cost: 0,
    lowest: 0,
    predicted: 0,
    sources: new Map(),
  };
}

/** Adds one sequence to its expert's tally, in place. */
export function countRow(
  tally: PartTally,
  row: { tokens: number; source: string; cost: number; lowest: number; predicted: number },
): void {
  tally.sequences++;
  tally.tokens += row.tokens;
  tally.cost += row.cost;
  tally.lowest += row.lowest;
  tally.predicted += row.predicted;
  const source = tally.sources.getOrInsertComputed(row.source, () => ({ sequences: 0, tokens: 0 }));
  source.sequences++;
  source.tokens += row.tokens;
}

/** Sums up the counts of one expert. */
export function partCounts({ sequences, tokens, cost, predicted, sources }: PartTally): PartCounts {
  // Sorted, so that the result does not depend on which source came first.
  const sorted = [...sources].sort(([a], [b]) => a < b ? -1 : 1);
  return {
    sequences,
    tokens,
    nllPerToken: knownPerToken(cost, predicted),
    sources: Object.fromEntries(sorted),
  };
}

/** Sums up the counts of all experts together. */
export function partitionCounts(tallies: PartTally[]): PartitionCounts {
  const sum = (valueOf: (tally: PartTally) => number) =>
    tallies.reduce((total, tally) => total + valueOf(tally), 0);
  const sequences = sum((tally) => tally.sequences);
  const predicted = sum((tally) => tally.predicted);
  const names = [...new Set(tallies.flatMap(({ sources }) => [...sources.keys()]))].sort();
  const table = tallies.map(({ sources }) =>
    names.map((name) => sources.get(name)?.sequences ?? 0)
  );
  return {
    sequences,
    tokens: sum((tally) => tally.tokens),
    nllPerToken: knownPerToken(sum((tally) => tally.cost), predicted),
    regret: knownPerToken(sum((tally) => tally.cost - tally.lowest), predicted),
    nmi: names.length < 2 ? null : informationOfTable(table),
    tokenImbalance: tokenImbalance(tallies.map((tally) => tally.tokens)),
    shares: tallies.map((tally) => sequences === 0 ? 0 : tally.wanted / sequences),
  };
}

const perToken = (cost: number, predicted: number): number =>
  predicted === 0 ? 0 : cost / predicted;

/** The same where the number of tokens may be unknown, which gives null. */
const knownPerToken = (cost: number, predicted: number): number | null =>
  Number.isNaN(predicted) ? null : perToken(cost, predicted);
