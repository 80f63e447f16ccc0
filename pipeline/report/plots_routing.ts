/**
 * Plots of router training and of the partition.
 *
 * @module
 */

import type { PartitionManifest, PartManifest } from "../partition/manifests.ts";
import type { RoundMetrics } from "../run/events.ts";
import { percent } from "./html.ts";
import {
  across,
  AXIS_WIDTH,
  beside,
  coloured,
  evenLine,
  expertName,
  fullAndHollow,
  labelled,
  labelledExperts,
  labelRoom,
  legendOf,
  MOST_LEGEND,
  MOST_SOURCES,
  noGrid,
  nominal,
  ordinal,
  OUTLINED,
  type Plot,
  quantity,
  SHARES,
  someOf,
  type Spec,
} from "./plots.ts";
import { labelsWithin } from "./text.ts";
import { colour, expertColour, HEAT_OPACITY } from "./theme.ts";

/** What a report shows of a round. */
type Round = Pick<RoundMetrics, "round" | "nllPerToken" | "shares" | "regret" | "nmi">;
/** What it shows of an expert's part. */
type Part = {
  train: { sources: Record<string, Pick<PartManifest["train"]["sources"][string], "sequences">> };
};
/** What it shows of a set of sequences. */
type Shares = Pick<PartitionManifest["train"], "shares">;

const ROUND_HEIGHT = 256;

/** Words what routers train on: parts that are balanced in every round, or, `fixed`, clusters that stay. */
const wordsOf = (fixed: boolean) => ({
  regret: fixed ? "Cost of the clusters by round" : "Cost of balance by round",
  costs: fixed ? "What it costs to keep the clusters" : "What equal loads cost",
  shares: fixed ? "Shares without the clusters by round" : "Shares without balance by round",
  given: fixed
    ? "routers train on the clusters all the same"
    : "balanced assignment then gives all the same number",
});
type RoundWords = ReturnType<typeof wordsOf>;

/**
 * Plots what EM did, round by round, or how routers learned clusters that stay, where these are `fixed`. Text without
 * sources has no agreement with them, and with one router there is no balance.
 */
export function roundPlots(rounds: Round[], fixed = false): Plot[] {
  const words = wordsOf(fixed);
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
        x: roundAxis(rounds),
        y: quantity("value", {
          scale: field === "nmi"
            ? { domain: [0, 1] }
            : scaleOver(rounds.map((round) => round[field]!), field),
          axis: across(unit, { tickCount: 5 }),
        }),
      },
    }),
    table: { head: ["round", unit], rows: rounds.map((round) => [round.round, round[field]]) },
  });
  const nll = line(
    "em-nll",
    "Router NLL by round",
    "Mean negative log-likelihood of a prefix token under the router whose part its sequence is in. Lower is better.",
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
      words.regret,
      `${words.costs}, against giving every sequence to its best router.`,
      "nats per predicted prefix token",
      "regret",
    ),
    rounds[0].shares.length > MOST_LEGEND ? rangeOfShares(rounds, words) : roundShares(rounds, words),
  ];
}

/** Gives a scale over values; it has some extent even if all values are equal. */
function scaleOver(values: number[], field: "nllPerToken" | "regret"): Spec {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (field === "regret") return high === 0 ? { domain: [0, 1] } : { zero: true };
  return low === high ? { domain: [low - 0.5, high + 0.5] } : { zero: false };
}

function roundAxis(rounds: Round[]): Spec {
  const last = rounds.at(-1)!.round;
  return quantity("round", {
    scale: { domain: [Math.min(1, last - 1), last], nice: false },
    axis: noGrid("EM round", { tickMinStep: 1, format: "d" }),
  });
}

const SHARES_BY_ROUND = { id: "em-shares", size: "half" } as const;

function roundShares(rounds: Round[], words: RoundWords): Plot {
  const names = rounds[0].shares.map((_, e) => String(e));
  return {
    ...SHARES_BY_ROUND,
    title: words.shares,
    about:
      `Share of a round's sequences for which each router is the best, from router 0 at the bottom; ${words.given}.`,
    spec: (width) => ({
      height: ROUND_HEIGHT,
      data: {
        values: rounds.flatMap(({ round, shares }) =>
          shares.map((share, e) => ({ round, share, router: names[e], order: e }))
        ),
      },
      mark: { type: "bar" },
      encoding: {
        x: ordinal("round", {
          axis: noGrid("EM round", { labelAngle: 0, values: someOf(rounds.map(({ round }) => round)) }),
          scale: { paddingInner: 0.12 },
        }),
        y: quantity("share", { stack: "zero", scale: { domain: [0, 1] }, axis: SHARES }),
        color: coloured(
          "router",
          names,
          names.map((_, e) => expertColour(e)),
          legendOf(names, width, { symbol: "square", title: "router" }),
        ),
        order: quantity("order"),
      },
    }),
    table: {
      head: ["round", ...names.map((name) => `router ${name}`)],
      rows: rounds.map(({ round, shares }) => [round, ...shares.map((share) => percent(share))]),
    },
  };
}

/** Plots the smallest and the largest share of every round, where there are too many routers to show each. */
function rangeOfShares(rounds: Round[], words: RoundWords): Plot {
  const routers = rounds[0].shares.length;
  const values = rounds.map(({ round, shares }) => ({
    round,
    low: Math.min(...shares),
    high: Math.max(...shares),
  }));
  const domain = [0, 1.05 * Math.max(...values.map(({ high }) => high))];
  const y = { scale: { domain, nice: false }, axis: SHARES };
  return {
    ...SHARES_BY_ROUND,
    title: words.shares,
    about:
      `From the smallest to the largest share of a round's sequences for which a router is the best, of ${routers} routers; ${words.given} (the line is an equal share).`,
    spec: () => ({
      height: ROUND_HEIGHT,
      data: { values },
      layer: [
        {
          mark: { type: "area", color: colour("mixture"), opacity: 0.35, line: false },
          encoding: { x: roundAxis(rounds), y: quantity("low", y), y2: { field: "high" } },
        },
        evenLine(1 / routers, y),
      ],
    }),
    table: {
      head: ["round", "smallest", "largest"],
      rows: values.map(({ round, low, high }) => [round, percent(low), percent(high)]),
    },
  };
}

/** Plots what each expert would get without balance, in training and in held-out text; `balanced` says whether training text was. */
export function sharePlot(
  { experts, train, test }: { experts: number; train: Shares; test?: Shares },
  balanced: boolean,
): Plot {
  const sets = [{ set: "training", ...train }, ...(test ? [{ set: "held out", ...test }] : [])];
  const names = sets.map(({ set }) => set);
  return {
    id: "shares",
    title: "Shares of the experts without balance",
    about: balanced
      ? `Share of the sequences that cost each expert least. Training text is then balanced to ${
        percent(1 / experts)
      } each (the line); held-out text goes where it wants.`
      : "Share of the sequences that cost each expert least: nothing balances them. The line is an equal share.",
    size: "full",
    spec: (width) => ({
      height: 250,
      data: {
        values: sets.flatMap(({ set, shares }) => shares.map((share, expert) => ({ set, share, expert }))),
      },
      layer: [
        {
          mark: { type: "bar", ...OUTLINED },
          encoding: {
            x: expertAxis(experts, width - AXIS_WIDTH),
            xOffset: nominal("set", { sort: names }),
            y: quantity("share", { axis: SHARES }),
            fill: fullAndHollow("set", names, width, { symbol: "square" }),
          },
        },
        evenLine(1 / experts),
      ],
    }),
    table: {
      head: ["expert", ...names],
      rows: train.shares.map((_, e) => [e, ...sets.map(({ shares }) => percent(shares[e]))]),
    },
  };
}

const expertAxis = (experts: number, room: number, more: Spec = {}): Spec =>
  ordinal("expert", {
    axis: noGrid("expert", { labelAngle: 0, values: labelledExperts(experts, room), ...more }),
  });

/** Counts a source's training sequences by expert. */
interface SourceRow {
  source: string;
  total: number;
  counts: number[];
}

const sum = (counts: number[]): number => counts.reduce((a, b) => a + b, 0);

function sourceRows(parts: Part[]): SourceRow[] {
  const names = new Set(parts.flatMap(({ train }) => Object.keys(train.sources)));
  return [...names].sort().map((source) => {
    const counts = parts.map(({ train }) => train.sources[source]?.sequences ?? 0);
    return { source: labelled(source), counts, total: sum(counts) };
  }).sort((a, b) => b.total - a.total);
}

/** Adds up all sources but the largest. */
function largest(rows: SourceRow[]): SourceRow[] {
  if (rows.length <= MOST_SOURCES) return rows;
  const rest = rows.slice(MOST_SOURCES - 1);
  const counts = rest[0].counts.map((_, e) => sum(rest.map((row) => row.counts[e])));
  return [
    ...rows.slice(0, MOST_SOURCES - 1),
    { source: `${rest.length} more sources`, counts, total: sum(counts) },
  ];
}

/** Plots which expert each source's training sequences went to; `balanced` says whether they were balanced. */
export function heatPlot(parts: Part[], balanced: boolean): Plot {
  const all = sourceRows(parts);
  const shown = largest(all);
  const shareOf = (count: number, { total }: SourceRow) => count / Math.max(1, total);
  const darkest = Math.max(1e-9, ...shown.flatMap((row) => row.counts.map((count) => shareOf(count, row))));
  return {
    id: "sources-by-expert",
    title: "Sources by expert",
    about: `Percent of each source's training sequences that were assigned to each expert${
      balanced ? ", after balancing" : ""
    }; rows add up to 100, the largest source first.`,
    size: "full",
    spec: (width) => {
      const labelWidth = labelRoom(width);
      const labels = labelsWithin(shown.map(({ source }) => source), labelWidth);
      const cell = (width - labelWidth) / parts.length;
      const encoding = {
        x: expertAxis(parts.length, width - labelWidth, { domain: false, ticks: false }),
        y: beside("source", labels, { domain: false }),
      };
      const fillOpacity = quantity("share", {
        scale: { domain: [0, darkest], range: [0.04, HEAT_OPACITY] },
        legend: null,
      });
      return {
        height: 26 * shown.length + 44,
        data: {
          values: shown.flatMap((row, i) =>
            row.counts.map((count, expert) => ({
              source: labels[i],
              expert,
              share: shareOf(count, row),
              text: (100 * count / Math.max(1, row.total)).toFixed(0),
            }))
          ),
        },
        layer: [
          {
            mark: { type: "rect", color: colour("heat"), stroke: colour("paper"), strokeWidth: 1 },
            encoding: { ...encoding, fillOpacity },
          },
          ...(cell < 24 ? [] : [{
            mark: { type: "text", color: colour("ink") },
            encoding: { ...encoding, text: nominal("text") },
          }]),
        ],
      };
    },
    table: {
      head: ["source", "sequences", ...parts.map((_, e) => expertName(e))],
      rows: all.map((row) => [
        row.source,
        row.total,
        ...row.counts.map((count) => percent(shareOf(count, row))),
      ]),
    },
  };
}
