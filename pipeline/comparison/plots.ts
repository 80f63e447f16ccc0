/**
 * Plots of runs side by side.
 *
 * @module
 */

import { BASELINE_NOTES, isBaseline } from "../evaluation/baselines.ts";
import { atPrefix, TOLD_WAYS, type Way } from "../evaluation/evaluation.ts";
import {
  across,
  AXIS_WIDTH,
  beside,
  coloured,
  expertLine,
  labelled,
  labelRoom,
  legendOf,
  type Line,
  lineEncoding,
  MOST_LEGEND,
  MOST_SOURCES,
  NARROW,
  noGrid,
  nominal,
  type Plot,
  POINT,
  quantity,
  type Spec,
  wayName,
  widestOf,
} from "../report/plots.ts";
import { labelsWithin } from "../report/text.ts";
import { colour } from "../report/theme.ts";
import type { ComparedRun, ComparedSource, Comparison } from "./comparison.ts";

/** Most runs that colours and dashes tell apart in a plot. */
export const MOST_RUNS = MOST_LEGEND;

/** Most room of a name in a legend, in pixels; Vega cuts longer names. */
const LEGEND_LABEL = 150;

/**
 * The ways that are plotted for every run. A random expert is left out: it would squeeze all others into a
 * corner.
 */
const WAYS = TOLD_WAYS.filter((way) => way !== "random");

/** Names a way, whatever E is. */
const nameOf = (way: Way): string => {
  if (!isBaseline(way)) return wayName(way, 0);
  const { kind, how } = BASELINE_NOTES[way];
  return `${kind}, ${how("E×")}`;
};

/** Gives every run a line; the colours are those of experts, which no plot here shows. */
const linesOf = (runs: readonly { name: string }[], width: number): Line[] => {
  const room = Math.min(LEGEND_LABEL, width - AXIS_WIDTH - 60);
  return labelsWithin(runs.map(({ name }) => name), room).map((name, i) => ({
    ...expertLine(i),
    name,
    width: 2,
  }));
};

/** Plots the runs: their rounds, then their held-out text. */
export function roundPlots(runs: readonly ComparedRun[]): Plot[] {
  const learned = runs.filter(({ rounds }) => rounds.length > 0);
  if (learned.length === 0 || runs.length > MOST_RUNS) return [];
  const plot = (field: "nmi" | "nllPerToken", title: string, about: string, unit: string): Plot[] => {
    const told = learned.filter(({ rounds }) => rounds.some((round) => round[field] !== null));
    if (told.length === 0) return [];
    return [{
      id: `rounds-${field.toLowerCase()}`,
      title,
      about: told.length < runs.length ? `${about} Of ${told.map(({ name }) => name).join(", ")}.` : about,
      size: "half",
      spec: (width) => {
        const lines = linesOf(runs, width);
        const shown = lines.filter((_, i) => told.includes(runs[i]));
        return {
          height: 236 + 20 * shown.length,
          data: {
            values: told.flatMap((run) =>
              run.rounds.map((round) => ({
                round: round.round,
                value: round[field],
                run: lines[runs.indexOf(run)].name,
              }))
            ),
          },
          mark: { type: "line", point: { size: 16 } },
          encoding: {
            x: quantity("round", { axis: noGrid("EM round", { tickMinStep: 1, format: "d" }) }),
            y: quantity("value", {
              scale: field === "nmi" ? { domain: [0, 1] } : { zero: false },
              axis: across(unit, { tickCount: 5 }),
            }),
            ...lineEncoding("run", shown, width),
          },
        };
      },
      table: {
        head: ["run", "rounds", "first", "last"],
        rows: told.map(({ name, rounds }) => [name, rounds.length, rounds[0][field], rounds.at(-1)![field]]),
      },
    }];
  };
  return [
    ...plot(
      "nllPerToken",
      "Router NLL by round",
      "Mean negative log-likelihood of a prefix token under the router that the balanced assignment chose. Lower is better.",
      "nats per predicted prefix token",
    ),
    ...plot(
      "nmi",
      "Agreement with the sources by round",
      "Normalised mutual information between assigned router and source, 0 to 1.",
      "NMI, 0 to 1",
    ),
  ];
}

/** Plots the evaluations of the runs that have one. */
export function evaluationPlots({ runs, sources, reference }: Comparison): Plot[] {
  const evaluated = runs.filter(({ evaluation }) => evaluation !== null);
  if (evaluated.length === 0) return [];
  return [
    perplexityPlot(evaluated),
    ...reference === null ? [] : [besidePlot(runs, reference)],
    ...(runs.length > MOST_RUNS ? [] : [
      ...(evaluated.some(({ routes, experts }) => routes && experts > 1) ? [prefixPlot(runs)] : []),
      ...(sources.length > 1 ? [sourcePlot(runs, sources)] : []),
    ]),
  ];
}

function perplexityPlot(runs: readonly ComparedRun[]): Plot {
  const ways = WAYS.filter((way) => runs.some(({ evaluation }) => evaluation!.scores[way]));
  const names = labelsWithin(ways.map(nameOf), LEGEND_LABEL);
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about:
      "The mixture of every run, with its 95% bootstrap interval over documents, and beside it the run's baselines and its best expert in hindsight. Lower is better; intervals of two runs may overlap although one is better on the same documents.",
    size: "full",
    spec: (width) => {
      const labels = labelsWithin(runs.map(({ name }) => name), labelRoom(width));
      const values = runs.flatMap(({ evaluation }, i) =>
        ways.flatMap((way, w) => {
          const score = evaluation!.scores[way];
          return score ? [{ run: labels[i], way: names[w], ...score, own: way === "mixture" }] : [];
        })
      );
      const y = beside("run", labels, { grid: true, domain: false });
      const scale = { zero: false, padding: 14 };
      return {
        height: 30 * runs.length + 84,
        data: { values },
        layer: [
          {
            transform: [{ filter: "datum.own" }],
            mark: { type: "rule", strokeWidth: 2.5, color: colour("mixture") },
            encoding: { y, x: quantity("low", { scale }), x2: { field: "high" } },
          },
          {
            mark: { ...POINT, size: 75 },
            encoding: {
              y,
              x: quantity("perplexity", { scale, axis: { title: "perplexity", tickCount: 6 } }),
              color: coloured(
                "way",
                names,
                ways.map(colour),
                legendOf(names, width, { left: widestOf(labels) }),
              ),
              shape: nominal("way", {
                scale: {
                  domain: names,
                  range: SHAPES.slice(0, names.length),
                },
              }),
            },
          },
        ],
      };
    },
    table: {
      head: ["run", "mixture", "95% from", "to", ...ways.slice(1).map(nameOf)],
      rows: runs.map(({ name, evaluation }) => {
        const { mixture } = evaluation!.scores;
        return [
          ...[name, mixture?.perplexity ?? null, mixture?.low ?? null, mixture?.high ?? null],
          ...ways.slice(1).map((way) => evaluation!.scores[way]?.perplexity ?? null),
        ];
      }),
    },
  };
}

/** Plots how much lower the perplexity of runs is than that of the reference. */
function besidePlot(runs: readonly ComparedRun[], reference: string): Plot {
  const told = runs.flatMap(({ name, beside }) => beside ? [{ name, ...beside }] : []);
  return {
    id: "beside",
    title: `Beside ${reference}`,
    about:
      `How much lower the perplexity of a run's mixture is than that of ${reference}, with its 95% interval on the same draws of documents. To the right of zero a run is better; where the interval holds zero, these documents cannot tell.`,
    size: "full",
    spec: (width) => {
      const labels = labelsWithin(told.map(({ name }) => name), labelRoom(width));
      const y = beside("run", labels, { grid: true, domain: false });
      return {
        height: 30 * told.length + 40,
        data: { values: told.map(({ name: _, ...gain }, i) => ({ run: labels[i], ...gain })) },
        layer: [
          { mark: { type: "rule", color: colour("line") }, encoding: { x: { datum: 0 } } },
          {
            mark: { type: "rule", strokeWidth: 2.5, color: colour("mixture") },
            encoding: { y, x: quantity("low", { scale: { padding: 14 } }), x2: { field: "high" } },
          },
          {
            mark: { ...POINT, size: 75, color: colour("mixture") },
            encoding: { y, x: quantity("percent", { axis: { title: "lower by, %", tickCount: 6 } }) },
          },
        ],
      };
    },
    table: {
      head: ["run", "lower by, %", "95% from", "to"],
      rows: told.map(({ name, percent, low, high }) => [name, percent, low, high]),
    },
  };
}

/** Plots perplexity by the length of the routing prefix, a line per run that routes by one. */
function prefixPlot(runs: readonly ComparedRun[]): Plot {
  const isShown = ({ routes, evaluation }: ComparedRun) => routes && evaluation !== null;
  const rows = (names: readonly string[]) =>
    runs.flatMap((run, i) =>
      isShown(run) ? run.evaluation!.prefixes.map((own) => ({ ...own, run: names[i] })) : []
    );
  const lengths = [...new Set(rows(runs.map(({ name }) => name)).map(({ prefix }) => prefix))]
    .sort((a, b) => a - b);
  const told = runs.filter(isShown);
  return {
    id: "prefix-perplexity",
    title: "Perplexity by routing prefix",
    about: `Perplexity of every run's mixture when it routes by that many tokens, with its 95% interval.${
      told.length < runs.length ? ` Of ${told.map(({ name }) => name).join(", ")}.` : ""
    }`,
    size: "full",
    spec: (width) => {
      const lines = linesOf(runs, width);
      const shown = lines.filter((_, i) => isShown(runs[i]));
      const x = quantity("prefix", {
        scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)!], nice: false },
        axis: noGrid("tokens of the routing prefix", {
          values: lengths.length > 9 && width < NARROW ? lengths.filter((_, i) => i % 2 === 0) : lengths,
          format: "d",
        }),
      });
      const { color: { legend, ...colours }, ...dashes } = lineEncoding("run", shown, width) as Record<
        string,
        Spec
      >;
      const color = { ...colours, legend: legend && { ...legend, symbolOpacity: 1 } }; // not the areas'
      return {
        height: width < NARROW ? 330 : 320,
        data: { values: rows(lines.map(({ name }) => name)) },
        layer: [
          {
            mark: { type: "area", opacity: 0.12 },
            encoding: {
              x,
              y: quantity("low", { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) }),
              y2: { field: "high" },
              color,
            },
          },
          {
            mark: { type: "line" },
            encoding: { x, y: quantity("perplexity"), color, ...dashes },
          },
        ],
      };
    },
    table: {
      head: ["prefix", ...told.map(({ name }) => name)],
      rows: lengths.map((length) => [
        length,
        ...told.map(({ evaluation }) => atPrefix(evaluation!, length)?.perplexity ?? null),
      ]),
    },
  };
}

/** Plots the perplexity of every source, a mark per run. */
function sourcePlot(runs: readonly ComparedRun[], sources: readonly ComparedSource[]): Plot {
  const ordered = [...sources].sort((a, b) => b.tokens - a.tokens || (a.source < b.source ? -1 : 1));
  const shown = ordered.slice(0, MOST_SOURCES);
  const left = ordered.length - shown.length;
  const evaluated = runs.filter(({ evaluation }) => evaluation !== null);
  return {
    id: "perplexity-by-source",
    title: "Perplexity by source",
    about: `Perplexity of every run's mixture on held-out text of each source, the largest first${
      left > 0 ? `; ${left} smaller ones are in the table only` : ""
    }. Lower is better.`,
    size: "full",
    spec: (width) => {
      const labels = labelsWithin(shown.map(({ source }) => labelled(source)), labelRoom(width));
      const lines = linesOf(runs, width);
      const kept = lines.filter((_, i) => runs[i].evaluation !== null);
      const names = kept.map(({ name }) => name);
      return {
        height: 28 * shown.length + 64 + 20 * names.length,
        data: {
          values: shown.flatMap(({ perplexity }, s) =>
            perplexity.flatMap((value, i) =>
              value === null ? [] : [{ source: labels[s], run: lines[i].name, perplexity: value }]
            )
          ),
        },
        mark: { ...POINT, size: 70 },
        encoding: {
          y: beside("source", labels, { grid: true, domain: false }),
          x: quantity("perplexity", {
            scale: { zero: false, padding: 14 },
            axis: { title: "perplexity", tickCount: 6 },
          }),
          color: coloured(
            "run",
            names,
            kept.map(({ colour }) => colour),
            legendOf(names, width, { left: widestOf(labels) }),
          ),
          shape: nominal("run", {
            scale: { domain: names, range: names.map((_, i) => SHAPES[i % SHAPES.length]) },
          }),
        },
      };
    },
    table: {
      head: ["source", "tokens", ...evaluated.map(({ name }) => name)],
      rows: ordered.map(({ source, tokens, perplexity }) => [
        ...[labelled(source), tokens],
        ...perplexity.filter((_, i) => runs[i].evaluation !== null),
      ]),
    },
  };
}

const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down"];
