/**
 * Study "experts": how the gain over a dense model grows with the number of experts (SmallTalk LM, figure 2 and table 3).
 * Each expert sees as many tokens, however many there are.
 *
 * @module
 */

import { curves, type Plot, wayLine } from "../../report/charts.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import { gainClaim, paperGain, paperGrowth } from "../claims.ts";
import { MODELS, type Outcome, REPEATED, setupsByExperts, type Study } from "../study.ts";
import { type Column, gainOver, gains, labels, makeTable, percentText, perplexities } from "../tables.ts";
import { allAhead, compareOwnText } from "./segments.ts";

const EXPERTS = [2, 4, 8];
/** The dense models, and what columns and plot call them. */
const DENSE = [["dense", "batch"], ["dense-steps", "steps"]] as const;
type Dense = typeof DENSE[number][0];

const COLUMNS: Column[] = [
  labels("run"),
  perplexities("mixture", () => "mixture"),
  ...DENSE.map(([model, short]) => perplexities(`dense, × ${short}`, () => model)),
  ...DENSE.map(([model, short]) => gains(`against × ${short}`, () => model)),
  { head: "ahead of × steps from, tokens per expert", cell: crossingText },
  ...DENSE.map(([model, short]): Column => ({
    head: `experts ahead of × ${short} on their text`,
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
  setups: () => setupsByExperts(EXPERTS, { models: MODELS }),
  findings(outcomes) {
    const first = outcomes.filter(({ setup }) => setup.settings.seed === 0); // they hold out the same text
    return {
      claims: [
        growth(first, "dense", "batch", paperGrowth()),
        growth(first, "dense-steps", "steps", NOT_REPORTED),
        ...outcomes.flatMap(({ setup, evaluation: { gains, experts } }) =>
          gains.filter(({ baseline }) => setup.models.includes(baseline))
            .map((gain) => gainClaim(setup.label, gain, experts))
        ),
        ...outcomes.flatMap(ownTextClaim),
      ],
      table: makeTable(outcomes, COLUMNS),
      note: behindText(outcomes),
      plots: [gainsPlot(first)],
    };
  },
};

/**
 * Reports from where on the mixture stays ahead of the dense model with E times the steps. The curves are of samples,
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

/** Reports how many experts beat a dense model on the text that is routed to them; null without that model. */
function aheadText(outcome: Outcome, model: Dense): string | null {
  const shares = compareOwnText(outcome).map(({ below }) => below[model]);
  if (shares.every((below) => below === null)) return null;
  return `${shares.filter((below) => below !== null && below > 0).length} of ${shares.length}`;
}

/** Names the experts that are behind a dense model on the text that is routed to them; undefined where none is. */
function behindText(outcomes: readonly Outcome[]): string | undefined {
  const texts = DENSE.flatMap(([model, short]) => {
    const named = outcomes.flatMap(compareOwnText).flatMap(({ setup, expert, sources, below }) => {
      const own = below[model];
      if (own === null || own >= 0) return [];
      return `${setup.label}, expert ${expert}${sources && ` (${sources})`} by ${percentText(-own)}`;
    });
    const where = "on the text that is routed to them, with most of their training text";
    return named.length === 0 ? [] : `Behind dense, × ${short}, ${where}: ${named.join("; ")}.`;
  });
  return texts.length > 0 ? texts.join(" ") : undefined;
}

/** Reports how often an expert saw its text, on average. */
function passesText({ partition, evaluation, trained: { experts = [] } }: Outcome): string | null {
  if (experts.length === 0) return null;
  const sum = (parts: readonly { tokens: number }[]) => parts.reduce((sum, { tokens }) => sum + tokens, 0);
  return (sum(experts) / experts.length / (sum(partition.experts) / evaluation.experts)).toFixed(1);
}

/**
 * Whether more experts gain more: each more than fewer, the most more than the fewest and than none, beyond the intervals. They do not where
 * more gain less, beyond both intervals; all else is undecided.
 */
function growth(first: readonly Outcome[], baseline: Dense, short: string, paper: string): Claim {
  const gains = first.map((outcome) => gainOver(outcome, baseline)!);
  const grows = gains.every(({ percent }, i) => i === 0 || percent > gains[i - 1].percent);
  const falls = gains.some(({ high }, i) => gains.slice(0, i).some(({ low }) => high < low));
  const isApart = gains.at(-1)!.low > Math.max(0, gains[0].high);
  const texts = gains.map(({ percent, low, high }, i) =>
    `${first[i].evaluation.experts}: ${percent.toFixed(1)}% [${low.toFixed(1)}, ${high.toFixed(1)}]`
  );
  return {
    claim: `The gain over the dense model of E times the ${short} grows with E`,
    paper,
    here: texts.join(", "),
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
    ...allAhead(compareOwnText(outcome)),
  }];
}

function gainsPlot(first: readonly Outcome[]): Plot {
  const lines = DENSE.map(([way, short]) => ({ ...wayLine(way, 0), name: `dense, E× ${short}`, way }));
  const values = first.flatMap((outcome) =>
    lines.flatMap(({ way, name: line }) => {
      const { percent: y, low, high } = gainOver(outcome, way) ?? {};
      return y === undefined ? [] : [{ x: outcome.evaluation.experts, y, line, low, high }];
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
      values,
    }),
    table: {
      head: ["experts", "over", "lower by, %", "95% from", "to"],
      rows: values.map(({ x, line, y, low, high }) => [x, line, y, low!, high!]),
    },
  };
}
