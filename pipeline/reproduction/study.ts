/**
 * The seam of studies: a study is a grid of settings and seeds, and a table of questions over the
 * outcomes of its runs. Here is also what their tables and plots are made of.
 *
 * @module
 */

import { BASELINES } from "../evaluation/baselines.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import { asPositive, type Gain, gainText, type Score, type Way } from "../evaluation/evaluation.ts";
import { dots, expertLine, type Plot, wayLine } from "../report/charts.ts";
import type { Table } from "../report/html.ts";
import type { Claim, Searched } from "../report/reproduction.ts";
import { plotByPrefix } from "../report/sections/evaluation.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { RunOutcome } from "./outcome.ts";

/** One run that a study needs. Studies that need the same one share it. */
export interface Setup {
  // Of its run folder, which tells what sets the run apart; a study leaves the seed out of it.
  name: string;
  label: string; // its name in tables
  settings: Partial<Configuration>; // in which it differs from the preset
  models: readonly Searched[]; // that are trained, in their order
  repeated?: boolean; // whether there is one for every seed, and not for seed 0 alone
  branchOf?: Setup; // whose dense model its models begin from
  choices?: Choices; // further options of the evaluation
  // Of experts: for so many the rate and the rounds of its routers are searched for.
  searchesRouters?: number;
}

/** What an evaluation takes apart from the models. */
export type Choices = Pick<
  EvaluationChoices,
  "mix" | "reroute" | "routeBy" | "routeLengths" | "fallback" | "calibrate"
>;

/** The outcome of one run: what studies draw their conclusions from. */
export interface Outcome extends RunOutcome {
  setup: Setup;
}

/** The findings of a study. */
export interface Findings {
  claims: Claim[]; // of the paper, next to what came out
  table: Table; // a row per run, or per part of one
  note?: string; // what a reader of the table must know, in sentences
  plots: Plot[]; // like the paper's figures
}

/** A question, the runs that answer it, and the answer. */
export interface Study {
  name: string; // as the command line says it
  title: string;
  question: string; // one sentence
  paper: string; // where the paper answers it, and what it says
  /**
   * Throws an `InputError` where settings that all runs share leave nothing to compare. Default:
   * none do.
   */
  check?(preset: Configuration): void;
  /** Lists the runs; `preset` holds the settings that they share. */
  setups(preset: Configuration): Setup[];
  /**
   * Draws the conclusions. The outcomes are those of the setups, each with its seeds, in the same
   * order.
   */
  findings(outcomes: readonly Outcome[]): Findings;
}

/** The models of most runs: the experts, and the dense models that see as many tokens. */
export const MODELS: Setup["models"] = ["experts", "dense", "dense-steps"];

/** The number of experts whose runs are repeated with other seeds. */
export const REPEATED = 4;

/** Describes a run that studies share: so many experts, and dense models next to them. */
export const sharedSetup = (experts: number, changes: Partial<Setup> = {}): Setup => ({
  name: `em-${experts}-experts`,
  label: `${experts} experts`,
  settings: { experts },
  models: MODELS,
  ...changes,
});

/** Lists runs with their seeds, from 0. */
export const withSeeds = (setups: readonly Setup[], seeds: number): Setup[] =>
  setups.flatMap((setup) =>
    Array.from({ length: setup.repeated ? seeds : 1 }, (_, seed) => withSeed(setup, seed))
  );

function withSeed({ repeated: _, branchOf, ...setup }: Setup, seed: number): Setup {
  return {
    ...setup,
    name: `${setup.name}-seed-${seed}`,
    label: seed === 0 ? setup.label : `${setup.label}, seed ${seed}`,
    settings: { ...setup.settings, seed },
    ...branchOf && { branchOf: withSeed(branchOf, seed) },
  };
}

/** Reports how many seeds, from 0, some of these runs have. */
export function seedsAmong(runs: readonly string[]): number {
  const numbers = new Set(runs.map((name) => Number(/-seed-(\d+)$/.exec(name)?.[1])));
  let seeds = 0;
  while (numbers.has(seeds)) seeds++;
  return seeds;
}

/** Picks the runs of the first seed: they hold out the same text. */
export const firstSeed = (outcomes: readonly Outcome[]): Outcome[] =>
  outcomes.filter(({ setup }) => setup.settings.seed === 0);

/** Gives the gain of the mixture of a run over a model; undefined where that is none. */
export const gainOver = ({ evaluation }: Outcome, way: Way): Gain | undefined =>
  evaluation.gains.find(({ baseline }) => baseline === way);

/**
 * Gives the figures of a run's mixture where so many tokens route; undefined where such a prefix
 * was not measured.
 */
export const scoreAt = ({ evaluation: { prefixes } }: Outcome, tokens: number) =>
  prefixes.find(({ prefix }) => prefix === tokens);

/**
 * Lists the lengths of prefixes that all runs were evaluated with: one of them may have been by
 * hand, with more.
 */
export const sharedLengths = (outcomes: readonly Outcome[]): number[] =>
  outcomes[0].evaluation.prefixes.map(({ prefix }) => prefix)
    .filter((length) => outcomes.every((outcome) => scoreAt(outcome, length)));

/** A perplexity with its interval. */
export type Scored = Pick<Score, "perplexity" | "low" | "high">;

/**
 * Whether one perplexity is lower than another one; null where their intervals have a part in
 * common.
 */
export const isLower = (first: Scored, second: Scored): boolean | null =>
  first.high < second.low ? true : second.high < first.low ? false : null;

/** Writes a perplexity with its interval. */
export const scoreText = (score: Scored | undefined): string | null =>
  score
    ? `${score.perplexity.toFixed(2)} [${score.low.toFixed(2)}, ${score.high.toFixed(2)}]`
    : null;

/** Writes a number with so many digits that count, and none with an exponent. */
export const digitsText = (value: number, digits: number): string =>
  value.toLocaleString("en", {
    minimumSignificantDigits: digits,
    maximumSignificantDigits: digits,
  });

/** What stands in a cell; nothing where there is none. */
type Cell = string | number | null | undefined;

/**
 * A column of a table, and what it says of all seeds of a run; without that, such rows leave the
 * column empty.
 */
export type Column<Row extends Outcome = Outcome> = readonly [
  head: string,
  cell: (row: Row) => Cell,
  seeds?: (rows: readonly Row[]) => Cell,
];

/**
 * Writes the mean of a figure over seeds and its standard deviation; nothing where a run has no
 * such figure.
 */
const meanOf = <Row>(
  figure: (row: Row) => number | undefined,
  write = (mean: number, deviation: number) => `${mean.toFixed(2)} ± ${deviation.toFixed(2)}`,
) =>
(rows: readonly Row[]): string | null => {
  const values = rows.map(figure).filter((value) => value !== undefined);
  if (values.length < rows.length) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return write(mean, Math.sqrt(squares / (values.length - 1)));
};

/** Makes a column of what tables call a run. */
export const labels = (head: string): Column => [head, ({ setup }) => setup.label];

/** Makes a column of perplexities, where `shown` says so of a row. */
export const scores = <Row extends Outcome>(
  head: string,
  score: (row: Row) => Scored | undefined,
  shown: (row: Row) => boolean = () => true,
): Column<Row> => [
  head,
  (row) => shown(row) ? scoreText(score(row)) : null,
  meanOf((row) => score(row)?.perplexity),
];

/** Makes a column of perplexities of a way to score text. */
export const perplexities = (head: string, way: Way): Column =>
  scores(head, ({ evaluation }) => evaluation.scores[way]);

/** Makes a column of what the mixture gains over a model. */
export const gains = <Row extends Outcome>(head: string, way: (row: Row) => Way): Column<Row> => [
  head,
  (row) => {
    const gain = gainOver(row, way(row));
    return gain && gainText(gain);
  },
  meanOf((row) => gainOver(row, way(row))?.percent, (mean, deviation) => {
    const { side, by } = asPositive({
      percent: mean,
      low: mean - deviation,
      high: mean + deviation,
    });
    return `${by.toFixed(1)}% ${side} ± ${deviation.toFixed(1)}`;
  }),
];

/** Makes a column of how experts and sources agree. */
export const agreements = (
  head: string,
): Column => [head, ({ partition: { nmi } }) => nmi?.toFixed(3)];

/**
 * Makes a table: a row for each of `rows`, further ones `after` it, and in the end one for all
 * seeds of a run with several. Rows of one run that tell of different things differ in `part`.
 */
export function makeTable<Row extends Outcome>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { part = () => "", rowsAfter = () => [] }: {
    part?: (row: Row) => string;
    rowsAfter?: (row: Row) => Cell[][];
  } = {},
): Table {
  const groups = Map.groupBy(
    rows,
    (row) => `${row.setup.name.replace(/-seed-\d+$/, "")} ${part(row)}`,
  );
  const all: Cell[][] = [
    ...rows.flatMap((row) => [columns.map(([, cell]) => cell(row)), ...rowsAfter(row)]),
    ...[...groups.values()].filter(({ length }) => length > 1).map((group) => [
      seedsText(group),
      ...columns.slice(1).map(([, , seeds]) => seeds?.(group)),
    ]),
  ];
  return {
    head: columns.map(([head]) => head),
    rows: all.map((row) => row.map((cell) => cell ?? null)),
  };
}

function seedsText(group: readonly Outcome[]): string {
  // Unless a setting keeps the text, a seed also decides which documents are held out, and on the
  // tokenizer.
  const isOneText = new Set(group.map(({ evaluation: { tokens } }) => tokens)).size === 1;
  const text = isOneText ? "" : ", each with other held-out text";
  return `${group[0].setup.label}, ${group.length} seeds${text}: mean ± standard deviation`;
}

/** Gives the scores of the mixtures of runs, with the names of these. */
export const mixtures = (outcomes: readonly Outcome[]) =>
  outcomes.map(({ setup, evaluation }) => ({ label: setup.label, ...evaluation.scores.mixture! }));

/** Lists the baselines that a study trains next to a mixture. */
export const baselinesOf = ({ setup: { models } }: Outcome) =>
  BASELINES.filter((name) => models.includes(name));

/** Plots perplexities with their 95% intervals, one below the other. */
export const perplexitiesPlot = (
  { id, title, about }: Pick<Plot, "id" | "title" | "about">,
  scored: readonly ({ label: string } & Scored)[],
): Plot => ({
  id: `study-${id}`,
  title,
  about: `${about} Perplexity of held-out text with its 95% interval; lower is better.`,
  ...dots({
    title: "run",
    values: scored.map(({ label, perplexity, low, high }) => ({
      x: label,
      y: perplexity,
      low,
      high,
    })),
  }),
});

/**
 * Plots the perplexity of several runs by the length of the routing prefix, from `shortest` to
 * `longest` tokens. The dense models of the first run that has any are level lines: no prefix
 * routes them.
 */
export function prefixesPlot(
  { id, title, about, shortest = 1, longest = Infinity }: Pick<Plot, "id" | "title" | "about"> & {
    shortest?: number;
    longest?: number;
  },
  outcomes: readonly Outcome[],
): Plot {
  const lines = outcomes.map(({ setup, evaluation }, i) => ({
    ...expertLine(i),
    name: setup.label,
    width: 2,
    scores: evaluation.prefixes.filter(({ prefix }) => prefix >= shortest && prefix <= longest),
  }));
  const all = new Set(lines.flatMap(({ scores }) => scores.map(({ prefix }) => prefix)));
  const lengths = [...all].sort((a, b) => a - b);
  const dense = outcomes.find((outcome) => baselinesOf(outcome).length > 0);
  const levels = dense
    ? baselinesOf(dense).map((name) => ({
      ...wayLine(name, dense.evaluation.experts),
      perplexity: dense.evaluation.scores[name]!.perplexity,
    }))
    : [];
  return {
    id: `study-${id}`,
    title,
    about: `${about} Perplexity of held-out text where so many tokens route; lower is better.`,
    ...plotByPrefix(lines, levels),
    table: {
      head: ["run", ...lengths.map(String)],
      rows: [
        ...outcomes.map((outcome) => [
          outcome.setup.label,
          ...lengths.map((length) => scoreAt(outcome, length)?.perplexity ?? null),
        ]),
        ...levels.map(({ name, perplexity }) => [name, ...lengths.map(() => perplexity)]),
      ],
    },
  };
}
