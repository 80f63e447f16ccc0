/**
 * Plots that several studies share.
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
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
  const mixtures = outcomes.flatMap(({ setup, evaluation }) =>
    evaluation.prefixes.filter(({ prefix }) => prefix >= shortest && prefix <= longest)
      .map((row) => ({ ...row, run: setup.label }))
  );
  const lengths = [...new Set(mixtures.map(({ prefix }) => prefix))].sort((a, b) => a - b);
  const levels = baselinesOf(outcomes.find((outcome) => baselinesOf(outcome).length > 0) ?? outcomes[0]);
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
