/**
 * Plots that several studies share.
 *
 * @module
 */

import type { Baseline } from "../../evaluation/baselines.ts";
import { atPrefix, type Score } from "../../evaluation/evaluation.ts";
import {
  across,
  beside,
  expertLine,
  lineEncoding,
  noGrid,
  type Plot,
  POINT,
  quantity,
  wayLine,
} from "../../report/plots.ts";
import { colour } from "../../report/theme.ts";
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

/** What a plot by routing prefix leaves out, and what it adds. */
export interface PrefixesLooks {
  /** Longest prefix, in tokens. Default: all of them. */
  longest?: number;
  /** Baselines that are drawn as level lines, as no prefix routes them: those of the first run that has them. Default: none. */
  baselines?: readonly Baseline[];
}

/** Plots the perplexity of several runs by the length of the routing prefix. */
export function prefixesPlot(
  id: string,
  title: string,
  about: string,
  outcomes: readonly Outcome[],
  { longest = Infinity, baselines = [] }: PrefixesLooks = {},
): Plot {
  const mixtures = outcomes.flatMap(({ setup, evaluation }) =>
    evaluation.prefixes.filter(({ prefix }) => prefix <= longest).map((row) => ({ ...row, run: setup.label }))
  );
  const lengths = [...new Set(mixtures.map(({ prefix }) => prefix))].sort((a, b) => a - b);
  const levels = baselines.flatMap((baseline) => {
    const evaluation = outcomes.map(({ evaluation }) => evaluation).find(({ scores }) => scores[baseline]);
    return evaluation
      ? [{ line: wayLine(baseline, evaluation.experts), ...evaluation.scores[baseline]! }]
      : [];
  });
  const level = levels.flatMap(({ line, perplexity }) =>
    lengths.map((prefix) => ({ prefix, perplexity, run: line.name }))
  );
  const lines = [
    ...outcomes.map(({ setup }, i) => ({ ...expertLine(i), name: setup.label, width: 2 })),
    ...levels.map(({ line }) => line),
  ];
  return {
    id,
    title,
    about: `${about} Perplexity of held-out text where so many tokens route; lower is better.`,
    size: "full",
    spec: (width) => {
      const encoding = {
        x: quantity("prefix", {
          scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)], nice: false },
          axis: noGrid("tokens of the routing prefix", { values: lengths, format: "d" }),
        }),
        y: quantity("perplexity", { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) }),
        ...lineEncoding("run", lines, width),
      };
      return {
        height: 300,
        layer: [
          { data: { values: level }, mark: "line", encoding },
          { data: { values: mixtures }, mark: { type: "line", point: true }, encoding },
        ],
      };
    },
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
