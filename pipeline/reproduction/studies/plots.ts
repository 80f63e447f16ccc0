/**
 * Plots that several studies share.
 *
 * @module
 */

import { atPrefix, type Score } from "../../evaluation/evaluation.ts";
import {
  across,
  beside,
  coloured,
  legendOf,
  noGrid,
  type Plot,
  POINT,
  quantity,
} from "../../report/plots.ts";
import { colour, expertColour } from "../../report/theme.ts";
import type { Outcome } from "./study.ts";

/** A point of a plot: its name, and its score. */
export interface Scored extends Pick<Score, "perplexity" | "low" | "high"> {
  /** Its name. */
  label: string;
}

/** Plots perplexities with their 95% intervals, one below the other. */
export function perplexitiesPlot(id: string, title: string, about: string, scored: readonly Scored[]): Plot {
  const y = beside("label", scored.map(({ label }) => label), { grid: true, domain: false });
  const scale = { zero: false, padding: 14 };
  return {
    id,
    title,
    about: `${about} Perplexity of held-out text with its 95% interval; lower is better.`,
    size: "full",
    spec: () => ({
      height: 28 * scored.length + 40,
      data: { values: scored },
      layer: [
        {
          mark: { type: "rule", strokeWidth: 1.5, color: colour("mixture") },
          encoding: {
            y,
            x: quantity("low", { scale, axis: { title: "perplexity", tickCount: 6 } }),
            x2: { field: "high" },
          },
        },
        {
          mark: { ...POINT, size: 70, color: colour("mixture") },
          encoding: { y, x: quantity("perplexity", { scale }) },
        },
      ],
    }),
    table: {
      head: ["run", "perplexity", "95% from", "to"],
      rows: scored.map(({ label, perplexity, low, high }) => [label, perplexity, low, high]),
    },
  };
}

/** Plots the perplexity of several runs by the length of the routing prefix, up to `longest` tokens. */
export function prefixesPlot(
  id: string,
  title: string,
  about: string,
  outcomes: readonly Outcome[],
  longest = Infinity,
): Plot {
  const names = outcomes.map(({ setup }) => setup.label);
  const values = outcomes.flatMap(({ setup, evaluation }) =>
    evaluation.prefixes.filter(({ prefix }) => prefix <= longest).map((row) => ({ ...row, run: setup.label }))
  );
  const lengths = [...new Set(values.map(({ prefix }) => prefix))].sort((a, b) => a - b);
  return {
    id,
    title,
    about: `${about} Perplexity of held-out text where so many tokens route; lower is better.`,
    size: "full",
    spec: (width) => ({
      height: 300,
      data: { values },
      mark: { type: "line", point: true, strokeWidth: 2 },
      encoding: {
        x: quantity("prefix", {
          scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)], nice: false },
          axis: noGrid("tokens of the routing prefix", { values: lengths, format: "d" }),
        }),
        y: quantity("perplexity", { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) }),
        color: coloured(
          "run",
          names,
          names.map((_, i) => expertColour(i)),
          legendOf(names, width, { symbol: "stroke" }),
        ),
      },
    }),
    table: {
      head: ["run", ...lengths.map(String)],
      rows: outcomes.map(({ setup, evaluation }) => [
        setup.label,
        ...lengths.map((length) => atPrefix(evaluation, length)?.perplexity ?? null),
      ]),
    },
  };
}

/** Gives the scores of the mixtures of runs. */
export const mixtures = (outcomes: readonly Outcome[]): Scored[] =>
  outcomes.map(({ setup, evaluation }) => ({ label: setup.label, ...evaluation.scores.mixture! }));
