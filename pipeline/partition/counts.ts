/** Counts what each expert gets, row by row, so that a partition of any size can be described. */

import { informationOfTable, tokenImbalance } from "./metrics.ts";

/** Sequences and tokens of one source. */
export interface SourceCount {
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
}

/** Sums over one expert's sequences. */
export interface Tally extends SourceCount {
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
export function newTally(): Tally {
  return { sequences: 0, tokens: 0, wanted: 0, cost: 0, lowest: 0, predicted: 0, sources: new Map() };
}

/** Adds one sequence to its expert's tally, in place. */
export function countRow(
  tally: Tally,
  row: { tokens: number; source: string; cost: number; lowest: number; predicted: number },
): void {
  tally.sequences++;
  tally.tokens += row.tokens;
  tally.cost += row.cost;
  tally.lowest += row.lowest;
  tally.predicted += row.predicted;
  const source = tally.sources.get(row.source) ?? { sequences: 0, tokens: 0 };
  tally.sources.set(row.source, source);
  source.sequences++;
  source.tokens += row.tokens;
}

/** Gives the counts of one expert. */
export function partCounts({ sequences, tokens, cost, predicted, sources }: Tally): PartCounts {
  const sorted = [...sources].sort(([a], [b]) => a < b ? -1 : 1); // so that it does not depend on who came first
  return { sequences, tokens, nllPerToken: perToken(cost, predicted), sources: Object.fromEntries(sorted) };
}

/** Gives the counts of all experts together. */
export function partitionCounts(tallies: Tally[]): PartitionCounts {
  const sum = (valueOf: (tally: Tally) => number) =>
    tallies.reduce((total, tally) => total + valueOf(tally), 0);
  const sequences = sum((tally) => tally.sequences);
  const predicted = sum((tally) => tally.predicted);
  const names = [...new Set(tallies.flatMap(({ sources }) => [...sources.keys()]))].sort();
  const table = tallies.map(({ sources }) => names.map((name) => sources.get(name)?.sequences ?? 0));
  return {
    sequences,
    tokens: sum((tally) => tally.tokens),
    nllPerToken: perToken(sum((tally) => tally.cost), predicted),
    regret: perToken(sum((tally) => tally.cost - tally.lowest), predicted),
    nmi: names.length < 2 ? null : informationOfTable(table),
    tokenImbalance: tokenImbalance(tallies.map((tally) => tally.tokens)),
    shares: tallies.map((tally) => sequences === 0 ? 0 : tally.wanted / sequences),
  };
}

function perToken(cost: number, predicted: number): number | null {
  if (Number.isNaN(predicted)) return null;
  return predicted === 0 ? 0 : cost / predicted;
}
