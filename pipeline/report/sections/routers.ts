// The routers: what their rounds of training came to.

import { PARTITIONERS } from "../../partition/partitioners.ts";
import type { RoundMetrics } from "../../run/events.ts";
import { type Axis, curves, type Plot, type Plots, SHARES } from "../charts.ts";
import { markup, number, plural, rounded } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type RunRecord } from "../read.ts";
import { colour, expertLine, type Line } from "../theme.ts";

type Round = Pick<RoundMetrics, "round" | "nllPerToken" | "regret" | "nmi">;

const NATS: Axis = { title: "nats per predicted prefix token" };

const ROUND: Axis = { title: "EM round", format: "d", step: 1 };

/** Plots a figure of the rounds of runs, if any has it. */
function roundPlot(
  field: "nllPerToken" | "nmi" | "regret",
  y: Axis,
  all: readonly (Line & { rounds: readonly Round[] })[],
  said: Pick<Plot, "id" | "title" | "about">,
): Plot | false {
  const lines = all.filter(({ rounds }) => rounds.some((round) => round[field] !== null));
  const values = lines.flatMap(({ name: line, rounds }) =>
    rounds.map((round) => ({ x: round.round, y: round[field], line }))
  );
  return lines.length > 0 && { ...said, half: true, ...curves({ x: ROUND, y, lines, values }) };
}

/** Plots what EM did in runs, round by round. Text without sources has no agreement with them. */
export const roundPlots = (lines: readonly (Line & { rounds: readonly Round[] })[]): Plots[] => [
  roundPlot("nllPerToken", NATS, lines, {
    id: "em-nll",
    title: "Router NLL by round",
    about:
      "Mean negative log-likelihood of a prefix token under the router whose part its sequence is in. Lower is better.",
  }),
  roundPlot("nmi", { title: "NMI, 0 to 1", domain: [0, 1] }, lines, {
    id: "em-nmi",
    title: "Agreement with the sources by round",
    about:
      "Normalised mutual information between assigned router and source: 0 where routers tell nothing of the source, 1 where they tell all. No router sees a source.",
  }),
];

/** Plots what one run did. With one router there is no balance, and no source to agree with. */
function ownPlots(rounds: readonly RoundMetrics[], fixed = false): Plots[] {
  const line = { name: "routers", colour: colour("mixture"), rounds };
  if (rounds[0].shares.length === 1) return roundPlots([line]).slice(0, 1);
  return [
    roundPlots([line]),
    roundPlot("regret", { ...NATS, zero: true }, [line], {
      id: "em-regret",
      title: `Cost of ${fixed ? "the clusters" : "balance"} by round`,
      about: `What ${
        fixed ? "it costs to keep the clusters" : "equal loads cost"
      }, against giving every sequence to its best router.`,
    }),
    sharesPlot(rounds, fixed),
  ];
}

/** Plots the share of every router by round. */
function sharesPlot(rounds: readonly RoundMetrics[], fixed: boolean): Plot {
  const lines = rounds[0].shares.map((_, e) => ({ ...expertLine(e), name: `router ${e}` }));
  return {
    id: "em-shares",
    title: `Shares without ${fixed ? "the clusters" : "balance"} by round`,
    about: `Share of a round's sequences for which each of ${lines.length} routers is the best; ${
      fixed
        ? "routers train on the clusters all the same"
        : "balanced assignment then gives all the same number"
    }.`,
    half: true,
    ...curves({
      x: ROUND,
      y: SHARES,
      lines,
      values: rounds.flatMap(({ round: x, shares }) => shares.map((y, e) => ({ x, y, line: lines[e].name }))),
    }),
  };
}

/** Whether a run trains routers of its own. Of a kind that is not known, they are asked for. */
function hasRounds({ config: { configuration: { routers, partitioner } } }: RunRecord): boolean {
  const kind = PARTITIONERS.get(partitioner);
  return routers === "" && (kind === undefined || kind.models === true);
}

/** A curve per figure of the rounds. */
export const routers: Section<RunRecord> = {
  id: "rounds",
  title: ({ config }) =>
    `Routers, ${config.configuration.fixed ? "of clusters that stay" : "by expectation maximisation"}`,
  missing: (run) => [
    run.rounds.length === 0 && hasRounds(run) &&
    lacking(run, "The record of router training", "train-routers"),
  ],
  text: ({ rounds, config: { configuration: { routers, partitioner, fixed } } }) => {
    const last = rounds.at(-1);
    if (!last && routers !== "") {
      return markup`<p>The routers were taken from <code>${routers}</code>; their rounds are recorded there.</p>`;
    }
    const kind = PARTITIONERS.get(partitioner);
    if (!last) {
      return kind && !kind.models &&
        markup`<p>The parts are those of <code>${kind.kind}</code>: ${kind.about}. There are no rounds.</p>`;
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
