/**
 * Study "experts": how the gain over a dense model grows with the number of experts, each of which sees as many tokens
 * (SmallTalk LM, figure 2 and table 3).
 *
 * @module
 */

import { gainText } from "../../evaluation/evaluation.ts";
import { curves, type Plot } from "../../report/charts.ts";
import { wayLine } from "../../report/theme.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import { gainClaim, paperGain, paperGrowth } from "../claims.ts";
import { allAhead, ownTextOf } from "../own_text.ts";
import {
  type Column,
  gainOver,
  gainSpreadText,
  MODELS,
  type Outcome,
  percentText,
  REPEATED,
  scoreText,
  setupsByExperts,
  type Study,
  tableOfRuns,
} from "../study.ts";

const EXPERTS = [2, 4, 8];
const DENSE = ["dense", "dense-steps"] as const;
type Dense = typeof DENSE[number];

/** What columns and plot call a dense model. */
const short = (model: Dense): string => model === "dense" ? "batch" : "steps";

const COLUMNS: Column[] = [
  { head: "run", cell: ({ setup }) => setup.label },
  ...([["mixture", "mixture"], ["dense", "dense, × batch"], ["dense-steps", "dense, × steps"]] as const).map(
    ([way, head]): Column => ({
      head,
      cell: ({ evaluation }) => scoreText(evaluation.scores[way]),
      figure: ({ evaluation }) => evaluation.scores[way]?.perplexity,
    }),
  ),
  ...DENSE.map((model): Column => ({
    head: `beside × ${short(model)}`,
    cell: (outcome) => {
      const gain = gainOver(outcome, model);
      return gain ? gainText(gain) : null;
    },
    figure: (outcome) => gainOver(outcome, model)?.percent,
    spread: gainSpreadText,
  })),
  { head: "ahead of × steps from, tokens per expert", cell: crossingText },
  ...DENSE.map((model): Column => ({
    head: `experts ahead of × ${short(model)} on their text`,
    cell: (outcome) => aheadText(outcome, model),
  })),
  { head: "passes", cell: passesText },
];

/** How the gain depends on E. */
export const experts: Study = {
  name: "experts",
  title: "How the gain grows with the number of experts",
  question:
    "With the same tokens per expert, how much lower is the mixture's perplexity than a dense model's, for 2, 4 and 8 experts?",
  paper: "Figure 2 and table 3: 8.5% lower with 4 experts, 13.6% with 32 (335M), and ever more.",
  setups: (_, seeds) => setupsByExperts(EXPERTS, MODELS, seeds),
  findings: (outcomes) => ({
    claims: [
      growth(outcomes, "dense", paperGrowth()),
      growth(outcomes, "dense-steps", NOT_REPORTED),
      ...outcomes.flatMap(({ setup, evaluation: { gains, experts } }) =>
        gains.filter(({ baseline }) => setup.models.includes(baseline))
          .map((gain) => gainClaim(setup.label, gain, experts))
      ),
      ...outcomes.flatMap(ownTextClaim),
    ],
    table: tableOfRuns(outcomes, COLUMNS),
    note: behindText(outcomes),
    plots: [gainsPlot(outcomes)],
  }),
};

/**
 * Says from where on the mixture stays ahead of the dense model with E times the steps. The curves are of samples,
 * and all held-out text may say otherwise of their end.
 */
function crossingText(outcome: Outcome): string | null {
  const { crossing } = outcome;
  if (!crossing) return null;
  const { tokensPerExpert, trained, difference } = crossing;
  const isAhead = difference < 0;
  const from = tokensPerExpert === null
    ? `not within ${trained.toLocaleString("en")}`
    : `${tokensPerExpert.toLocaleString("en")} or before`;
  if ((tokensPerExpert !== null) === isAhead) return from;
  const gain = gainOver(outcome, "dense-steps");
  if (gain && gain.low <= 0 && gain.high >= 0) return "about equal at the end";
  return `${from} on samples, but ${isAhead ? "ahead" : "behind"} on all text at the end`;
}

/** Says how many experts beat a dense model on the text that is routed to them; null without that model. */
function aheadText(outcome: Outcome, model: Dense): string | null {
  const gains = ownTextOf(outcome).map(({ below }) => below[model]);
  if (gains.every((below) => below === null)) return null;
  return `${gains.filter((below) => below !== null && below > 0).length} of ${gains.length}`;
}

/** Names the experts that are behind a dense model on the text that is routed to them; undefined where none is. */
function behindText(outcomes: readonly Outcome[]): string | undefined {
  const texts = DENSE.flatMap((model) => {
    const named = outcomes.flatMap(ownTextOf).flatMap(({ setup, expert, sources, below }) => {
      const own = below[model];
      if (own === null || own >= 0) return [];
      return `${setup.label}, expert ${expert}${sources && ` (${sources})`} by ${percentText(-own)}`;
    });
    return named.length === 0 ? [] : [
      `Behind dense, × ${
        short(model)
      }, on the text that is routed to them, with most of their training text: ${named.join("; ")}.`,
    ];
  });
  return texts.length > 0 ? texts.join(" ") : undefined;
}

/** Says how often an expert saw its text, on average. */
function passesText({ partition, evaluation, trained: { experts = [] } }: Outcome): string | null {
  if (experts.length === 0) return null;
  const sum = (parts: readonly { tokens: number }[]) => parts.reduce((sum, { tokens }) => sum + tokens, 0);
  return (sum(experts) / experts.length / (sum(partition.experts) / evaluation.experts)).toFixed(1);
}

/** Lists the runs of seed 0, which hold out the same text. */
const firstOf = (outcomes: readonly Outcome[]): Outcome[] =>
  outcomes.filter(({ setup }) => setup.settings.seed === 0);

/**
 * Whether more experts gain more: each more than fewer, the most more than the fewest and than none, beyond the intervals. They do not where
 * more gain less, beyond both intervals; all else is undecided.
 */
function growth(outcomes: readonly Outcome[], baseline: Dense, paper: string): Claim {
  const first = firstOf(outcomes);
  const gains = first.map((outcome) => gainOver(outcome, baseline)!);
  const grows = gains.every(({ percent }, i) => i === 0 || percent > gains[i - 1].percent);
  const falls = gains.some(({ high }, i) => gains.slice(0, i).some(({ low }) => high < low));
  const isApart = gains.at(-1)!.low > Math.max(0, gains[0].high);
  return {
    claim: `The gain over the dense model of E times the ${short(baseline)} grows with E`,
    paper,
    here: first.map(({ evaluation }, i) => {
      const { percent, low, high } = gains[i];
      return `${evaluation.experts}: ${percent.toFixed(1)}% [${low.toFixed(1)}, ${high.toFixed(1)}]`;
    }).join(", "),
    holds: falls ? false : grows && isApart || null,
  };
}

/** Whether every expert of a run is ahead on its own text; the study "segments" judges the runs that are repeated. */
function ownTextClaim(outcome: Outcome): Claim[] {
  const { setup, evaluation: { experts } } = outcome;
  if (experts === REPEATED) return [];
  return [{
    claim: `${setup.label}: on the text routed to it, every expert beats ${wayLine("dense", experts).name}`,
    paper: paperGain(experts) ? "all do" : NOT_REPORTED,
    ...allAhead(ownTextOf(outcome)),
  }];
}

function gainsPlot(outcomes: readonly Outcome[]): Plot {
  const lines = DENSE.map((way) => ({ ...wayLine(way, 0), name: `dense, E× ${short(way)}`, way }));
  const values = firstOf(outcomes).flatMap((outcome) =>
    lines.flatMap(({ way, name }) => {
      const gain = gainOver(outcome, way);
      return gain ? [{ experts: outcome.evaluation.experts, over: name, ...gain }] : [];
    })
  );
  return {
    id: "study-experts",
    title: "Gain of the mixture by number of experts",
    about:
      "How much lower the mixture's perplexity is than a dense model's, with its 95% interval. Every expert sees as many tokens, so that more experts see more in all, and so do the dense models. Above zero the mixture is better.",
    ...curves({
      x: { title: "experts", log: 2, ticks: EXPERTS },
      y: { title: "lower by, %", zero: true },
      lines,
      values: values.map(({ experts, over, percent, ...ends }) => ({
        ...{ x: experts, y: percent, line: over, low: ends.low, high: ends.high },
      })),
    }),
    table: {
      head: ["experts", "over", "lower by, %", "95% from", "to"],
      rows: values.map(({ experts, over, percent, low, high }) => [experts, over, percent, low, high]),
    },
  };
}
