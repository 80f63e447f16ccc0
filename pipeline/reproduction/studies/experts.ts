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
import { allAhead, ownTextOf } from "./own_text.ts";
import {
  gainOver,
  gainSpreadText,
  type Outcome,
  percentText,
  REPEATED,
  scoreText,
  seedRows,
  setupsByExperts,
  spreadText,
  type Study,
} from "./study.ts";

const EXPERTS = [2, 4, 8];

/** How the gain depends on E. */
export const experts: Study = {
  name: "experts",
  title: "How the gain grows with the number of experts",
  question:
    "With the same tokens per expert, how much lower is the mixture's perplexity than a dense model's, for 2, 4 and 8 experts?",
  paper: "Figure 2 and table 3: 8.5% lower with 4 experts, 13.6% with 32 (335M), and ever more.",
  setups: (_, seeds) => setupsByExperts(EXPERTS, ["experts", "dense", "dense-steps"], seeds),
  findings: (outcomes) => ({
    claims: [
      growth(outcomes, "dense", paperGrowth()),
      growth(outcomes, "dense-steps", NOT_REPORTED),
      ...outcomes.flatMap(beatsDense),
      ...outcomes.flatMap(ownText),
    ],
    table: {
      head: [
        "run",
        "mixture",
        "dense, × batch",
        "dense, × steps",
        "beside × batch",
        "beside × steps",
        "ahead of × steps from, tokens per expert",
        "experts ahead of × batch on their text",
        "experts ahead of × steps on their text",
        "passes",
      ],
      rows: [
        ...outcomes.map((outcome) => {
          const { setup, evaluation: { scores, experts }, partition, trained } = outcome;
          return [
            setup.label,
            scoreText(scores.mixture),
            scoreText(scores.dense),
            scoreText(scores["dense-steps"]),
            ...(["dense", "dense-steps"] as const).map((baseline) => {
              const gain = gainOver(outcome, baseline);
              return gain ? gainText(gain) : null;
            }),
            crossingText(outcome),
            ...aheadTexts(outcome),
            passesOf(
              partition.experts.reduce((sum, { tokens }) => sum + tokens, 0) / experts,
              trained.experts ?? [],
            ),
          ];
        }),
        ...seedRows(
          outcomes,
          (outcome) => {
            const { mixture, dense, "dense-steps": steps } = outcome.evaluation.scores;
            const gains = (["dense", "dense-steps"] as const).map((name) => gainOver(outcome, name)?.percent);
            return [
              ...[mixture, dense, steps].map((score) => score?.perplexity),
              ...gains,
              ...[undefined, undefined, undefined, undefined],
            ];
          },
          (mean, deviation, column) => (column <= 2 ? spreadText : gainSpreadText)(mean, deviation),
        ),
      ],
    },
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

/** Says how many experts beat each dense model on the text that is routed to them; null without that model. */
function aheadTexts(outcome: Outcome): (string | null)[] {
  const experts = ownTextOf(outcome);
  return (["dense", "steps"] as const).map((model) => {
    const gains = experts.map(({ [model]: below }) => below);
    if (gains.every((below) => below === null)) return null;
    return `${gains.filter((below) => below !== null && below > 0).length} of ${experts.length}`;
  });
}

/** Names the experts that are behind a dense model on the text that is routed to them; undefined where none is. */
function behindText(outcomes: readonly Outcome[]): string | undefined {
  const texts = (["dense", "steps"] as const).flatMap((model) => {
    const behind = outcomes.flatMap(ownTextOf).flatMap((own) => {
      const below = own[model];
      return below !== null && below < 0 ? [{ ...own, by: percentText(-below) }] : [];
    });
    const named = behind.map(({ setup, expert, sources, by }) =>
      `${setup.label}, expert ${expert}${sources && ` (${sources})`} by ${by}`
    );
    return named.length === 0 ? [] : [
      `Behind ${modelText(model)} on the text that is routed to them, with most of their training text: ${
        named.join("; ")
      }.`,
    ];
  });
  return texts.length > 0 ? texts.join(" ") : undefined;
}

const modelText = (model: "dense" | "steps"): string => `dense, × ${model === "dense" ? "batch" : "steps"},`;

/** Says how often an expert saw its text, on average. */
function passesOf(tokens: number, trained: readonly { tokens: number }[]): string | null {
  if (trained.length === 0) return null;
  return (trained.reduce((sum, { tokens }) => sum + tokens, 0) / trained.length / tokens).toFixed(1);
}

/**
 * Whether more experts gain more, in the runs of seed 0, which hold out the same text: each more than fewer, the
 * most more than the fewest and than none, beyond the intervals. They do not where more gain less, beyond both
 * intervals; all else is undecided.
 */
function growth(outcomes: readonly Outcome[], baseline: "dense" | "dense-steps", paper: string): Claim {
  const first = outcomes.filter(({ setup }) => setup.settings.seed === 0);
  const gains = first.map((outcome) => gainOver(outcome, baseline)!);
  const grows = gains.every(({ percent }, i) => i === 0 || percent > gains[i - 1].percent);
  const falls = gains.some(({ high }, i) => gains.slice(0, i).some(({ low }) => high < low));
  const isApart = gains.at(-1)!.low > Math.max(0, gains[0].high);
  return {
    claim: `The gain over the dense model of E times the ${
      baseline === "dense" ? "batch" : "steps"
    } grows with E`,
    paper,
    here: first.map(({ evaluation }, i) => {
      const [percent, low, high] = [gains[i].percent, gains[i].low, gains[i].high].map((value) =>
        value.toFixed(1)
      );
      return `${evaluation.experts}: ${percent}% [${low}, ${high}]`;
    }).join(", "),
    holds: falls ? false : grows && isApart || null,
  };
}

/** Whether the mixture of a run beats each dense model beyond the interval. */
function beatsDense({ setup, evaluation }: Outcome): Claim[] {
  return evaluation.gains.filter(({ baseline }) => setup.models.includes(baseline))
    .map((gain) => gainClaim(setup.label, gain, evaluation.experts));
}

/** Whether every expert of a run is ahead on its own text; the study "segments" judges the runs that are repeated. */
function ownText(outcome: Outcome): Claim[] {
  const { setup, evaluation: { experts } } = outcome;
  if (experts === REPEATED) return [];
  return [{
    claim: `${setup.label}: on the text routed to it, every expert beats ${wayLine("dense", experts).name}`,
    paper: paperGain(experts) ? "all do" : NOT_REPORTED,
    ...allAhead(ownTextOf(outcome)),
  }];
}

function gainsPlot(outcomes: readonly Outcome[]): Plot {
  const first = outcomes.filter(({ setup }) => setup.settings.seed === 0);
  const lines = (["dense", "dense-steps"] as const).map((way) => ({
    ...wayLine(way, 0),
    name: way === "dense" ? "dense, E× batch" : "dense, E× steps",
    way,
  }));
  const values = first.flatMap((outcome) =>
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
      values: values.map(({ experts, over, percent, low, high }) => ({
        x: experts,
        y: percent,
        low,
        high,
        line: over,
      })),
    }),
    table: {
      head: ["experts", "over", "lower by, %", "95% from", "to"],
      rows: values.map(({ experts, over, percent, low, high }) => [experts, over, percent, low, high]),
    },
  };
}
