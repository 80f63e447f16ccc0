/**
 * Plots that several studies share.
 *
 * @module
 */

import { BASELINES } from "../evaluation/baselines.ts";
import { atPrefix, type Score } from "../evaluation/evaluation.ts";
import { dots, expertLine, PERPLEXITY, type Plot, wayLine } from "../report/charts.ts";
import { byPrefix } from "../report/sections/evaluation.ts";
import type { Outcome } from "./study.ts";

/** A point of a plot: its name, and its score. */
type Scored = { label: string } & Pick<Score, "perplexity" | "low" | "high">;

/** Gives the scores of the mixtures of runs. */
export const mixtures = (outcomes: readonly Outcome[]): Scored[] =>
  outcomes.map(({ setup, evaluation }) => ({ label: setup.label, ...evaluation.scores.mixture! }));

/** Plots perplexities with their 95% intervals, one below the other. */
export const perplexitiesPlot = (
  id: string,
  title: string,
  about: string,
  scored: readonly Scored[],
): Plot => ({
  id: `study-${id}`,
  title,
  about: `${about} Perplexity of held-out text with its 95% interval; lower is better.`,
  ...dots({
    title: "run",
    axis: PERPLEXITY,
    values: scored.map(({ label, perplexity, low, high }) => ({ x: label, y: perplexity, low, high })),
  }),
});

/**
 * Plots the perplexity of several runs by the length of the routing prefix, from `shortest` to `longest` tokens. The
 * dense models of the first run that has any are level lines: no prefix routes them.
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
  const all = new Set(lines.flatMap(({ scores }) => scores.map(({ prefix }) => prefix)));
  const lengths = [...all].sort((a, b) => a - b);
  const levels =
    outcomes.map(({ setup: { models }, evaluation: { experts, scores } }) =>
      BASELINES.filter((name) => models.includes(name))
        .map((name) => ({ ...wayLine(name, experts), perplexity: scores[name]!.perplexity }))
    ).find(({ length }) => length > 0) ?? [];
  return {
    id: `study-${id}`,
    title,
    about: `${about} Perplexity of held-out text where so many tokens route; lower is better.`,
    ...byPrefix(lines, levels),
    table: {
      head: ["run", ...lengths.map(String)],
      rows: [
        ...outcomes.map(({ setup, evaluation }) => [
          setup.label,
          ...lengths.map((length) => atPrefix(evaluation, length)?.perplexity ?? null),
        ]),
        ...levels.map(({ name, perplexity }) => [name, ...lengths.map(() => perplexity)]),
      ],
    },
  };
}
