// The routers: what their rounds of training came to.

import { PARTITIONERS } from "../../partition/partitioners.ts";
import type { RoundMetrics } from "../../graph/events.ts";
import { numberText, rounded } from "../../graph/numbers.ts";
import { type Axis, colour, curves, expertLine, type Line, type Plot, SHARES } from "../charts.ts";
import { markup, plural } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type RunRecord } from "../read.ts";

/** The rounds of a run, and how its line looks. */
type RoundsLine = Line & {
  rounds: readonly Pick<RoundMetrics, "round" | "nllPerToken" | "regret" | "nmi">[];
};

const NATS: Axis = { title: "nats per predicted prefix token" };
const ROUND: Axis = { title: "EM round", format: "d", step: 1 };

/** The figures of a round that plots show; `fixed`: of clusters that stay. */
const roundFigures = (fixed: boolean) => ({
  nllPerToken: {
    id: "em-nll",
    title: "Router NLL by round",
    about: "Mean negative log-likelihood of a prefix token under the router whose part " +
      "its sequence is in. Lower is better.",
    y: NATS,
  },
  nmi: {
    id: "em-nmi",
    title: "Agreement with the sources by round",
    about: "Normalised mutual information between assigned router and source: 0 where " +
      "routers tell nothing of the source, 1 where they tell all. No router sees a " + "source.",
    y: { title: "NMI, 0 to 1", domain: [0, 1] } as const,
  },
  regret: {
    id: "em-regret",
    title: `Cost of ${fixed ? "the clusters" : "balance"} by round`,
    about: `What ${
      fixed ? "it costs to keep the clusters" : "equal loads cost"
    }, against giving every sequence to its best router.`,
    y: { ...NATS, zero: true },
  },
});

/**
 * Plots figures of the rounds of runs, those that a run has: text without sources has no agreement
 * with them.
 */
export const roundPlots = (
  runs: readonly RoundsLine[],
  figures: readonly (keyof ReturnType<typeof roundFigures>)[] = ["nllPerToken", "nmi"],
  fixed = false,
): Plot[] =>
  figures.flatMap((name) => {
    const { y, ...said } = roundFigures(fixed)[name];
    const lines = runs.filter(({ rounds }) => rounds.some((round) => round[name] !== null));
    const values = lines.flatMap(({ name: line, rounds }) =>
      rounds.map((round) => ({ x: round.round, y: round[name], line }))
    );
    return lines.length > 0
      ? [{ ...said, half: true, ...curves({ x: ROUND, y, lines, values }) }]
      : [];
  });

function sharesPlot(rounds: readonly RoundMetrics[], fixed: boolean): Plot {
  const lines = rounds[0].shares.map((_, e) => ({ ...expertLine(e), name: `router ${e}` }));
  const [removed, then] = fixed
    ? ["the clusters", "routers train on the clusters all the same"]
    : ["balance", "balanced assignment then gives all the same number"];
  return {
    id: "em-shares",
    title: `Shares without ${removed} by round`,
    about: `Share of a round's sequences for which each of ${lines.length} routers is the ` +
      `best; ${then}.`,
    half: true,
    ...curves({
      x: ROUND,
      y: SHARES,
      lines,
      values: rounds.flatMap(({ round: x, shares }) =>
        shares.map((y, e) => ({ x, y, line: lines[e].name }))
      ),
    }),
  };
}

/** A curve per figure of the rounds. */
export const routersSection: Section<RunRecord> = {
  id: "rounds",
  title: ({ config }) =>
    `Routers, ${
      config.configuration.fixed ? "of clusters that stay" : "by expectation maximisation"
    }`,
  parts: (run) => {
    const { rounds, lineage, config: { configuration: { routers, partitioner, fixed } } } = run;
    const kind = PARTITIONERS.get(partitioner);
    const last = rounds.at(-1);
    if (!last) {
      if (kind && !kind.models && routers === "") {
        return [
          markup`<p>The parts are those of <code>${kind.kind}</code>: ${kind.about}. \
There are no rounds.</p>`,
        ];
      }
      const origin = routers || lineage.at(-1)?.from; // the run that all others derive from
      return origin
        ? [
          markup`<p>The routers were taken from <code>${origin}</code>; \
their rounds are recorded there.</p>`,
        ]
        : [lacking(run, "The record of router training", "train-routers")];
    }
    const line = { name: "routers", colour: colour("mixture"), rounds };
    const count = plural(rounds.length, "round");
    const nll = numberText(last.nllPerToken);
    if (last.shares.length === 1) {
      const text =
        markup`<p>One router trained in ${count}; after the last one a prefix token costs \
${nll} nats. With one
router there is nothing to route: \
shares, agreement with sources and the cost of balance are left out.</p>`;
      return [text, roundPlots([line], ["nllPerToken"])];
    }
    const learned = fixed
      ? "the sequences of one cluster, as the clusters stay"
      : "the sequences that it predicts best, loads kept equal";
    const agreement = last.nmi === null
      ? ""
      : `, and NMI with the sources is ${rounded(last.nmi, 3)}`;
    return [
      markup`<p>In each of ${count} every router trained on ${learned}, \
and new sequences were scored. After the
last one a prefix token costs ${nll} nats${agreement}.</p>`,
      roundPlots([line], ["nllPerToken", "nmi", "regret"], fixed),
      sharesPlot(rounds, fixed),
    ];
  },
};
