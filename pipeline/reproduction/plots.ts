/**
 * Plots that several studies share.
 *
 * @module
 */

import { BASELINES } from "../evaluation/baselines.ts";
import { atPrefix, type Score } from "../evaluation/evaluation.ts";
import { dots, PERPLEXITY, type Plot } from "../report/charts.ts";
import { byPrefix } from "../report/sections/prefixes.ts";
import { expertLine, wayLine } from "../report/theme.ts";
import type { Outcome } from "./study.ts";

/** A point of a plot: its name, and its score. */
export interface Scored extends Pick<Score, "perplexity" | "low" | "high"> {
  /** Its name. */
  label: string;
}

/** Plots perplexities with their 95% intervals, one below the other. */
export function perplexitiesPlot(id: string, title: string, about: string, scored: readonly Scored[]): Plot {
  return {
    id,
    title,
    about: `${about} Perplexity of held-out text with its 95% interval; lower is better.`,
    ...dots({
      title: "run",
      x: PERPLEXITY,
      values: scored.map(({ label, perplexity, low, high }) => ({ x: label, y: perplexity, low, high })),
    }),
  };
}

/** Lists the dense models, and others of their kind, that a study has beside a run, and how they are drawn. */
function baselinesOf({ setup: { models }, evaluation: { experts, scores } }: Outcome) {
  return BASELINES.filter((name) => models.includes(name))
    .map((name) => ({ line: wayLine(name, experts), ...scores[name]! }));
}

/**
 * Plots the perplexity of several runs by the length of the routing prefix, from `shortest` to `longest` tokens, and
 * that of the dense models beside the first run that has any as level lines: no prefix routes them.
 */
export function prefixesPlot(
  id: string,
  title: string,
  about: string,
  outcomes: readonly Outcome[],
  { shortest = 1, longest = Infinity }: { shortest?: number; longest?: number } = {},
): Plot {
  const lines = outcomes.map(({ setup, evaluation }, i) => ({
    ...expertLine(i),
    name: setup.label,
    width: 2,
    scores: evaluation.prefixes.filter(({ prefix }) => prefix >= shortest && prefix <= longest),
  }));
  const lengths = [...new Set(lines.flatMap(({ scores }) => scores.map(({ prefix }) => prefix)))].sort((
    a,
    b,
  ) => a - b);
  const levels = baselinesOf(outcomes.find((outcome) => baselinesOf(outcome).length > 0) ?? outcomes[0]);
  return {
    id,
    title,
    about: `${about} Perplexity of held-out text where so many tokens route; lower is better.`,
    ...byPrefix(lines, levels.map(({ line, perplexity }) => ({ ...line, perplexity }))),
    table: {
      head: ["run", ...lengths.map(String)],
      rows: [
        ...outcomes.map(({ setup, evaluation }) => [
          setup.label,
          ...lengths.map((length) => atPrefix(evaluation, length)?.perplexity ?? null),
        ]),
        ...levels.map(({ line, perplexity }) => [line.name, ...lengths.map(() => perplexity)]),
      ],
    },
  };
}

/** Gives the scores of the mixtures of runs. */
export const mixtures = (outcomes: readonly Outcome[]): Scored[] =>
  outcomes.map(({ setup, evaluation }) => ({ label: setup.label, ...evaluation.scores.mixture! }));
