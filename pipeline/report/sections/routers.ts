// The routers: what their rounds of training came to.

import { PARTITIONERS } from "../../partition/partitioners.ts";
import type { RoundMetrics } from "../../run/events.ts";
import { type Axis, bars, curves, MOST_LEGEND, type Plot, SHARES } from "../charts.ts";
import { markup, number, percent, plural, rounded } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type RunRecord } from "../read.ts";
import { colour, expertLine, type Line } from "../theme.ts";

type Round = Pick<RoundMetrics, "round" | "nllPerToken" | "regret" | "nmi">;

const RANGE = "smallest to largest";
const NATS: Axis = { title: "nats per predicted prefix token" };

const ROUND: Axis = { title: "EM round", format: "d", step: 1 };

/** Plots a figure of the rounds of runs; none where none has it. */
function roundPlot(
  field: "nllPerToken" | "nmi" | "regret",
  y: Axis,
  all: readonly (Line & { rounds: readonly Round[] })[],
  said: Pick<Plot, "id" | "title" | "about">,
): Plot[] {
  const lines = all.filter(({ rounds }) => rounds.some((round) => round[field] !== null));
  const values = lines.flatMap(({ name: line, rounds }) =>
    rounds.map((round) => ({ x: round.round, y: round[field], line }))
  );
  return lines.length === 0 ? [] : [{ ...said, half: true, ...curves({ x: ROUND, y, lines, values }) }];
}

/** Plots what EM did in runs, round by round. Text without sources has no agreement with them. */
export const roundPlots = (lines: readonly (Line & { rounds: readonly Round[] })[]): Plot[] => [
  ...roundPlot("nllPerToken", NATS, lines, {
    id: "em-nll",
    title: "Router NLL by round",
    about:
      "Mean negative log-likelihood of a prefix token under the router whose part its sequence is in. Lower is better.",
  }),
  ...roundPlot("nmi", { title: "NMI, 0 to 1", domain: [0, 1] }, lines, {
    id: "em-nmi",
    title: "Agreement with the sources by round",
    about:
      "Normalised mutual information between assigned router and source: 0 where routers tell nothing of the source, 1 where they tell all. No router sees a source.",
  }),
];

/** Plots what one run did. With one router there is no balance, and no source to agree with. */
function ownPlots(rounds: readonly RoundMetrics[], fixed = false): Plot[] {
  const line = { name: "routers", colour: colour("mixture"), rounds };
  if (rounds[0].shares.length === 1) return roundPlots([line]).slice(0, 1);
  const regret = {
    id: "em-regret",
    title: `Cost of ${fixed ? "the clusters" : "balance"} by round`,
    about: `What ${
      fixed ? "it costs to keep the clusters" : "equal loads cost"
    }, against giving every sequence to its best router.`,
  };
  return [
    ...roundPlots([line]),
    ...roundPlot("regret", { ...NATS, zero: true }, [line], regret),
    sharesPlot(rounds, fixed),
  ];
}

/** Plots the share of every router by round, or from the smallest to the largest where there are many. */
function sharesPlot(rounds: readonly RoundMetrics[], fixed: boolean): Plot {
  const routers = rounds[0].shares.length;
  const many = routers > MOST_LEGEND;
  const ranges = rounds.map(({ round: x, shares }) => ({
    x,
    low: Math.min(...shares),
    high: Math.max(...shares),
  }));
  const lines = rounds[0].shares.map((_, e) => ({ ...expertLine(e), name: `router ${e}` }));
  const even = { name: "equal share", colour: colour("ink"), dash: [4, 3], width: 1 };
  return {
    id: "em-shares",
    title: `Shares without ${fixed ? "the clusters" : "balance"} by round`,
    about: `${
      many
        ? `From the smallest to the largest share of a round's sequences for which a router is the best, of ${routers} routers (the line is an equal share)`
        : "Share of a round's sequences for which each router is the best, from router 0 at the bottom"
    }; ${
      fixed
        ? "routers train on the clusters all the same"
        : "balanced assignment then gives all the same number"
    }.`,
    half: true,
    ...many
      ? {
        ...curves({
          x: ROUND,
          y: { ...SHARES, domain: [0, 1.05 * Math.max(...ranges.map(({ high }) => high))] },
          lines: [{ name: RANGE, colour: colour("mixture") }, even],
          values: ranges.map((range) => ({ ...range, y: null, line: RANGE })),
          levels: [{ y: 1 / routers, line: even.name }],
        }),
        table: {
          head: ["round", "smallest", "largest"],
          rows: ranges.map(({ x, low, high }) => [x, percent(low), percent(high)]),
        },
      }
      : bars({
        title: "EM round",
        y: { ...SHARES, domain: [0, 1] },
        lines,
        values: rounds.flatMap(({ round, shares }) =>
          shares.map((y, e) => ({ x: String(round), y, line: lines[e].name }))
        ),
        stacked: true,
      }),
  };
}

/** A curve per figure of the rounds. */
export const routers: Section<RunRecord> = {
  id: "rounds",
  title: ({ config }) =>
    `Routers, ${config.configuration.fixed ? "of clusters that stay" : "by expectation maximisation"}`,
  missing: (run) => {
    const { routers, partitioner } = run.config.configuration;
    return run.rounds.length === 0 && routers === "" && (PARTITIONERS.get(partitioner)?.models ?? true)
      ? [lacking(run, "The record of router training", "train-routers")]
      : [];
  },
  text: ({ rounds, config: { configuration: { routers, partitioner, fixed } } }) => {
    const last = rounds.at(-1);
    if (!last) {
      const kind = PARTITIONERS.get(partitioner);
      return routers !== ""
        ? markup`<p>The routers were taken from <code>${routers}</code>; their rounds are recorded there.</p>`
        : kind && !kind.models
        ? markup`<p>The parts are those of <code>${kind.kind}</code>: ${kind.about}. There are no rounds.</p>`
        : null;
    }
    const count = plural(rounds.length, "round");
    const nll = number(last.nllPerToken);
    if (last.shares.length === 1) {
      return markup`<p>One router trained in ${count}; after the last one a prefix token costs ${nll} nats. With one
router there is nothing to route: shares, agreement with sources and the cost of balance are left out.</p>`;
    }
    const learned = fixed
      ? "the sequences of one cluster, as the clusters stay"
      : "the sequences that it predicts best, loads kept equal";
    const agreement = last.nmi === null ? "" : `, and NMI with the sources is ${rounded(last.nmi, 3)}`;
    return markup`<p>In each of ${count} every router trained on ${learned}, and new sequences were scored. After the
last one a prefix token costs ${nll} nats${agreement}.</p>`;
  },
  plots: ({ rounds, config }) => rounds.length === 0 ? [] : ownPlots(rounds, config.configuration.fixed),
};
