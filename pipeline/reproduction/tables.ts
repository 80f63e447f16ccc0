/**
 * What the findings of studies are put together from: figures of runs, their texts, and columns of tables.
 *
 * @module
 */

import { asPositive, atPrefix, type Gain, gainText, type Way } from "../evaluation/evaluation.ts";
import type { Table } from "../report/html.ts";
import type { Outcome } from "./study.ts";

/** Gives the gain of the mixture of a run over a model; undefined where that is none. */
export const gainOver = ({ evaluation }: Outcome, way: Way): Gain | undefined =>
  evaluation.gains.find(({ baseline }) => baseline === way);

/** Gives the figures of a run's mixture where so many tokens route; undefined where such a prefix was not measured. */
export const scoreAt = ({ evaluation }: Outcome, tokens: number) => atPrefix(evaluation, tokens);

/** Lists the lengths of prefixes that all runs were evaluated with: one of them may have been by hand, with more. */
export const sharedLengths = (outcomes: readonly Outcome[]): number[] =>
  outcomes[0].evaluation.prefixes.map(({ prefix }) => prefix)
    .filter((length) => outcomes.every((outcome) => scoreAt(outcome, length)));

/** Whether one perplexity is lower than another one; null where their intervals have a part in common. */
export const isLower = (one: Interval, other: Interval): boolean | null =>
  one.high < other.low ? true : other.high < one.low ? false : null;
type Interval = { low: number; high: number };

/** Writes a perplexity with its interval. */
export const scoreText = (score: Interval & { perplexity: number } | undefined): string | null =>
  score ? `${score.perplexity.toFixed(2)} [${score.low.toFixed(2)}, ${score.high.toFixed(2)}]` : null;

/** Writes a number with so many digits that count, and none with an exponent. */
export const digitsText = (value: number, digits: number): string =>
  value.toLocaleString("en", { minimumSignificantDigits: digits, maximumSignificantDigits: digits });

/** Writes a share of one as percent. */
export const percentText = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** What stands in a cell. */
type Cell = string | number | null;

/** A column of a table. */
export interface Column<Row extends Outcome = Outcome> {
  head: string;
  cell(row: Row): Cell;
  /** The figure whose mean over seeds it tells; undefined where a run has none. Without it, such rows leave the column empty. */
  figure?(row: Row): number | undefined;
  /** Writes that mean and its standard deviation. Default: both with two decimals. */
  spread?(mean: number, deviation: number): string;
  /** What it says of all seeds instead. */
  seeds?(rows: readonly Row[]): Cell;
}

/** Makes a column of what tables call a run. */
export const labels = (head: string): Column => ({ head, cell: ({ setup }) => setup.label });

/** Makes a column of perplexities of a way to score text. */
export const perplexities = <Row extends Outcome>(head: string, way: (row: Row) => Way): Column<Row> => ({
  head,
  cell: (row) => scoreText(row.evaluation.scores[way(row)]),
  figure: (row) => row.evaluation.scores[way(row)]?.perplexity,
});

/** Makes a column of what the mixture gains over a model. */
export const gains = <Row extends Outcome>(head: string, way: (row: Row) => Way): Column<Row> => ({
  head,
  cell: (row) => {
    const gain = gainOver(row, way(row));
    return gain ? gainText(gain) : null;
  },
  figure: (row) => gainOver(row, way(row))?.percent,
  spread: (mean, deviation) => {
    const { side, by } = asPositive({ percent: mean, low: mean - deviation, high: mean + deviation });
    return `${by.toFixed(1)}% ${side} ± ${deviation.toFixed(1)}`;
  },
});

/** Makes a column of how experts and sources agree. */
export const agreements = (head: string): Column => ({
  head,
  cell: ({ partition: { nmi } }) => nmi?.toFixed(3) ?? null,
});

/**
 * Makes a table: a row for each of `rows`, further ones `after` it, and in the end one for all seeds of a run, where there are several. Rows
 * of one run that tell of different things differ in `part`.
 */
export function makeTable<Row extends Outcome>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { part = () => "", after = () => [] }: { part?: (row: Row) => string; after?: (row: Row) => Cell[][] } = {},
): Table {
  const groups = Map.groupBy(rows, (row) => `${row.setup.name.replace(/-seed-\d+$/, "")} ${part(row)}`);
  return {
    head: columns.map(({ head }) => head),
    rows: [
      ...rows.flatMap((row) => [columns.map(({ cell }) => cell(row)), ...after(row)]),
      ...[...groups.values()].filter(({ length }) => length > 1).map((group) => [
        seedsText(group),
        ...columns.slice(1).map((column) => column.seeds?.(group) ?? meanText(column, group)),
      ]),
    ],
  };
}

function seedsText(group: readonly Outcome[]): string {
  // Unless a setting keeps the text, a seed also decides which documents are held out, and on the tokenizer.
  const isOneText = new Set(group.map(({ evaluation: { tokens } }) => tokens)).size === 1;
  const text = isOneText ? "" : ", each with other held-out text";
  return `${group[0].setup.label}, ${group.length} seeds${text}: mean ± standard deviation`;
}

function meanText<Row extends Outcome>(
  { figure, spread = (mean, deviation) => `${mean.toFixed(2)} ± ${deviation.toFixed(2)}` }: Column<Row>,
  group: readonly Row[],
): string | null {
  const values = group.map((row) => figure?.(row)).filter((value) => value !== undefined);
  if (values.length < group.length) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return spread(mean, Math.sqrt(squares / (values.length - 1)));
}
