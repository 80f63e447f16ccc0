/**
 * Plots of router training and of the partition.
 *
 * @module
 */

import { percent } from "./html.ts";
import {
  across,
  AXIS_WIDTH,
  expertNames,
  fullAndHollow,
  labelled,
  labelledExperts,
  labelRoom,
  legendOf,
  MOST_LEGEND,
  MOST_SOURCES,
  noGrid,
  OUTLINED,
  type Plot,
  scaleOf,
  someOf,
  type Spec,
} from "./plots.ts";
import type { Part, Round, Whole } from "./read.ts";
import { labelsWithin } from "./text.ts";
import { colour, expertColour, HEAT_OPACITY } from "./theme.ts";

const ROUND_HEIGHT = 256;

/** Plots what EM did, round by round; text without sources has no agreement with them, and one router no balance. */
export function roundPlots(rounds: Round[]): Plot[] {
  const line = (
    id: string,
    title: string,
    about: string,
    unit: string,
    field: "nllPerToken" | "nmi" | "regret",
  ): Plot => ({
    id,
    title,
    about,
    size: "half",
    spec: () => ({
      height: ROUND_HEIGHT,
      data: { values: rounds.map((round) => ({ round: round.round, value: round[field] })) },
      mark: {
        type: "line",
        color: colour("mixture"),
        point: { color: colour("mixture"), size: rounds.length > 30 ? 8 : 28 },
      },
      encoding: {
        x: roundAxis(rounds, "quantitative"),
        y: {
          field: "value",
          type: "quantitative",
          scale: field === "nmi"
            ? { domain: [0, 1] }
            : scaleOver(rounds.map((round) => round[field]!), field),
          axis: across(unit, { tickCount: 5 }),
        },
      },
    }),
    table: { head: ["round", unit], rows: rounds.map((round) => [round.round, round[field]]) },
  });
  const nll = line(
    "em-nll",
    "Router NLL by round",
    "Mean negative log-likelihood of a prefix token under the router that the balanced assignment chose. Lower is better.",
    "nats per predicted prefix token",
    "nllPerToken",
  );
  if (rounds[0].shares.length === 1) return [nll];
  return [
    nll,
    ...rounds.every(({ nmi }) => nmi === null) ? [] : [line(
      "em-nmi",
      "Agreement with the sources by round",
      "Normalised mutual information between assigned router and source: 0 where routers tell nothing of the source, 1 where they tell all. No router sees a source.",
      "NMI, 0 to 1",
      "nmi",
    )],
    line(
      "em-regret",
      "Cost of balance by round",
      "What equal loads cost, against giving every sequence to its best router.",
      "nats per predicted prefix token",
      "regret",
    ),
    roundShares(rounds),
  ];
}

/** Gives a scale over values, one with some extent also where they are all the same. */
function scaleOver(values: number[], field: "nllPerToken" | "regret"): Spec {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (field === "regret") return high === 0 ? { domain: [0, 1] } : { zero: true };
  return low === high ? { domain: [low - 0.5, high + 0.5] } : { zero: false };
}

function roundAxis(rounds: Round[], type: "quantitative" | "ordinal"): Spec {
  const last = rounds.at(-1)!.round;
  const title = "EM round";
  return type === "ordinal"
    ? {
      field: "round",
      type,
      axis: noGrid(title, { labelAngle: 0, values: someOf(rounds.map(({ round }) => round)) }),
    }
    : {
      field: "round",
      type,
      scale: { domain: [Math.min(1, last - 1), last], nice: false },
      axis: noGrid(title, { tickMinStep: 1, format: "d" }),
    };
}

function roundShares(rounds: Round[]): Plot {
  const experts = rounds[0].shares.length;
  if (experts > MOST_LEGEND) return rangeOfShares(rounds);
  const names = Array.from({ length: experts }, (_, e) => String(e));
  return {
    id: "em-shares",
    title: "Shares without balance by round",
    about:
      "Share of a round's sequences for which each router is the best, from router 0 at the bottom; balanced assignment then gives all the same number.",
    size: "half",
    spec: (width) => ({
      height: ROUND_HEIGHT,
      data: {
        values: rounds.flatMap(({ round, shares }) =>
          shares.map((share, e) => ({ round, share, router: names[e], order: e }))
        ),
      },
      mark: { type: "bar" },
      encoding: {
        x: { ...roundAxis(rounds, "ordinal"), scale: { paddingInner: 0.12 } },
        y: {
          field: "share",
          type: "quantitative",
          stack: "zero",
          scale: { domain: [0, 1] },
          axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
        },
        color: {
          field: "router",
          type: "nominal",
          ...scaleOf(names, names.map((_, e) => expertColour(e))),
          ...legendOf(names, width, { symbol: "square", title: "router" }),
        },
        order: { field: "order", type: "quantitative" },
      },
    }),
    table: {
      head: ["round", ...names.map((name) => `router ${name}`)],
      rows: rounds.map(({ round, shares }) => [round, ...shares.map((share) => percent(share))]),
    },
  };
}

/** Plots the smallest and the largest share of every round, where there are too many routers to show each. */
function rangeOfShares(rounds: Round[]): Plot {
  const even = 1 / rounds[0].shares.length;
  const values = rounds.map(({ round, shares }) => ({
    round,
    low: Math.min(...shares),
    high: Math.max(...shares),
  }));
  const range = [0, 1.05 * Math.max(...values.map(({ high }) => high))];
  const y = {
    type: "quantitative",
    scale: { domain: range, nice: false },
    axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
  };
  return {
    id: "em-shares",
    title: "Shares without balance by round",
    about:
      `From the smallest to the largest share of a round's sequences for which a router is the best, of ${
        rounds[0].shares.length
      } routers; balanced assignment then gives all the same number (the line).`,
    size: "half",
    spec: () => ({
      height: ROUND_HEIGHT,
      data: { values },
      layer: [
        {
          mark: { type: "area", color: colour("mixture"), opacity: 0.35, line: false },
          encoding: {
            x: roundAxis(rounds, "quantitative"),
            y: { ...y, field: "low" },
            y2: { field: "high" },
          },
        },
        {
          data: { values: [{ even }] },
          mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
          encoding: { y: { ...y, field: "even" } },
        },
      ],
    }),
    table: {
      head: ["round", "smallest", "largest"],
      rows: values.map(({ round, low, high }) => [round, percent(low), percent(high)]),
    },
  };
}

/** Plots what each expert would get without balance, in training and in held-out text. */
export function sharePlot(whole: Whole): Plot {
  const sets = [
    { name: "training", shares: whole.train.shares },
    ...(whole.test ? [{ name: "held out", shares: whole.test.shares }] : []),
  ];
  const names = sets.map(({ name }) => name);
  return {
    id: "shares",
    title: "Shares of the experts without balance",
    about:
      `Share of the sequences for which each expert's router is the best. Training text is then balanced to ${
        percent(1 / whole.experts)
      } each (the line); held-out text goes where it wants.`,
    size: "full",
    spec: (width) => ({
      height: 250,
      data: {
        values: sets.flatMap(({ name, shares }) =>
          shares.map((share, expert) => ({ set: name, share, expert }))
        ),
      },
      layer: [
        {
          mark: { type: "bar", ...OUTLINED },
          encoding: {
            x: {
              field: "expert",
              type: "ordinal",
              axis: noGrid("expert", {
                labelAngle: 0,
                values: labelledExperts(whole.experts, width - AXIS_WIDTH),
              }),
            },
            xOffset: { field: "set", type: "nominal", sort: names },
            y: {
              field: "share",
              type: "quantitative",
              axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
            },
            fill: { field: "set", type: "nominal", ...fullAndHollow(names, width, { symbol: "square" }) },
          },
        },
        {
          data: { values: [{ even: 1 / whole.experts }] },
          mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
          encoding: { y: { field: "even", type: "quantitative" } },
        },
      ],
    }),
    table: {
      head: ["expert", ...names],
      rows: whole.train.shares.map((_, e) => [e, ...sets.map(({ shares }) => percent(shares[e]))]),
    },
  };
}

/** Counts a source's training sequences by expert. */
interface SourceRow {
  source: string;
  total: number;
  counts: number[];
}

function sourceRows(parts: Part[]): SourceRow[] {
  const rows = new Map<string, number[]>();
  parts.forEach(({ train }, e) => {
    for (const { source, sequences } of train.sources) {
      const counts = rows.get(source) ?? parts.map(() => 0);
      counts[e] += sequences;
      rows.set(source, counts);
    }
  });
  const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
  return [...rows].map(([source, counts]) => ({ source, counts, total: sum(counts) }))
    .sort((a, b) => b.total - a.total || (a.source < b.source ? -1 : 1));
}

/** Adds up all sources but the largest. */
function largest(rows: SourceRow[]): SourceRow[] {
  if (rows.length <= MOST_SOURCES) return rows;
  const rest = rows.slice(MOST_SOURCES - 1);
  return [
    ...rows.slice(0, MOST_SOURCES - 1),
    {
      source: `${rest.length} more sources`,
      counts: rest[0].counts.map((_, e) => rest.reduce((sum, row) => sum + row.counts[e], 0)),
      total: rest.reduce((sum, row) => sum + row.total, 0),
    },
  ];
}

/** Plots which expert each source's training sequences went to. */
export function heatPlot(parts: Part[]): Plot {
  const all = sourceRows(parts);
  const shown = largest(all);
  const darkest = Math.max(
    1e-9,
    ...shown.flatMap(({ counts, total }) => counts.map((count) => count / Math.max(1, total))),
  );
  return {
    id: "sources-by-expert",
    title: "Sources by expert",
    about:
      "Percent of each source's training sequences that were assigned to each expert, after balancing; rows add up to 100, the largest source first.",
    size: "full",
    spec: (width) => {
      const labelWidth = labelRoom(width);
      const labels = labelsWithin(shown.map(({ source }) => labelled(source)), labelWidth);
      const cell = (width - labelWidth) / parts.length;
      const encoding = {
        x: {
          field: "expert",
          type: "ordinal",
          axis: noGrid("expert", {
            labelAngle: 0,
            domain: false,
            ticks: false,
            values: labelledExperts(parts.length, width - labelWidth),
          }),
        },
        y: {
          field: "source",
          type: "ordinal",
          sort: labels,
          axis: {
            title: null,
            domain: false,
            ticks: false,
            labelColor: colour("ink"),
          },
        },
      };
      return {
        height: 26 * shown.length + 44,
        data: {
          values: shown.flatMap(({ counts, total }, row) =>
            counts.map((sequences, expert) => ({
              source: labels[row],
              expert,
              share: total === 0 ? 0 : sequences / total,
              text: (100 * sequences / Math.max(1, total)).toFixed(0),
            }))
          ),
        },
        layer: [
          {
            mark: { type: "rect", color: colour("heat"), stroke: colour("paper"), strokeWidth: 1 },
            encoding: {
              ...encoding,
              fillOpacity: {
                field: "share",
                type: "quantitative",
                scale: { domain: [0, darkest], range: [0.04, HEAT_OPACITY] },
                legend: null,
              },
            },
          },
          ...(cell < 24 ? [] : [{
            mark: { type: "text", color: colour("ink") },
            encoding: { ...encoding, text: { field: "text", type: "nominal" } },
          }]),
        ],
      };
    },
    table: {
      head: ["source", "sequences", ...expertNames(parts.length)],
      rows: all.map(({ source, total, counts }) => [
        labelled(source),
        total,
        ...counts.map((sequences) => percent(sequences / Math.max(1, total))),
      ]),
    },
  };
}
