/**
 * Study "segments": whether every expert beats the dense models on its own text, and how much text each gets (SmallTalk LM,
 * figure 5).
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import { segmentPlot } from "../../report/sections/evaluation.ts";
import { makeSetup, MODELS, type Outcome, type Study } from "../study.ts";
import { type Column, labels, makeTable, percentText } from "../tables.ts";

/** An expert of a run, on the text that is routed to it. */
interface OwnText extends Outcome {
  /** The expert's number. */
  expert: number;
  /** Share of the held-out sequences that goes to it. */
  share: number;
  /** Its perplexity; null where it gets no text. */
  perplexity: number | null;
  /** By which share that is below the perplexity of the dense models; null without either. */
  below: Record<"dense" | "dense-steps", number | null>;
  /** The largest kinds of its training text with their shares: two, or up to four of a tenth each; "" without labels. */
  sources: string;
}

/** How many kinds of text are named in any case, how many at most, and what share the others must have. */
const [LEAST, MOST, SHARE] = [2, 4, 0.1];

/** Gives all experts of a run. */
export const compareOwnText = (outcome: Outcome): OwnText[] =>
  outcome.evaluation.segments.map(({ expert, share, perplexity: { mixture, ...others } }) => {
    const below = (other: number | null | undefined) => other && mixture ? 1 - mixture / other : null;
    const { sources, sequences } = outcome.partition.experts[expert];
    const kinds = Object.entries(sources).filter(([source]) => source !== "").sort(([, a], [, b]) => b - a)
      .slice(0, MOST).filter(([, count], i) => i < LEAST || count >= SHARE * sequences);
    return {
      ...{ ...outcome, expert, share, perplexity: mixture ?? null },
      below: { dense: below(others.dense), "dense-steps": below(others["dense-steps"]) },
      sources: kinds.map(([source, count]) => `${source} ${Math.round(100 * count / sequences)}%`).join(", "),
    };
  });

/** Returns whether experts are all ahead of the dense model of E times the batch on their text, and which are not. */
export function allAhead(experts: readonly OwnText[]): { here: string; holds: boolean } {
  const behind = experts.filter(({ below: { dense } }) => dense === null || dense <= 0);
  if (behind.length === 0) {
    const least = Math.min(...experts.map(({ below }) => below.dense!));
    return { here: `all ${experts.length}, the least by ${percentText(least)}`, holds: true };
  }
  const texts = behind.map(({ setup, expert, sources, perplexity, below: { dense } }) => {
    const why = perplexity === null
      ? "gets no text"
      : dense === null
      ? "has no such model next to it"
      : `is ${percentText(-dense)} behind`;
    return `${setup.label}, expert ${expert}${sources && ` (trained on ${sources})`} ${why}`;
  });
  return { here: texts.join("; "), holds: false };
}

const below = (head: string, model: keyof OwnText["below"]): Column<OwnText> => ({
  head,
  cell: ({ below }) => below[model] === null ? null : percentText(below[model]),
});

const COLUMNS: Column<OwnText>[] = [
  labels("run"),
  { head: "expert", cell: ({ expert }) => String(expert) },
  { head: "most of its training text", cell: ({ sources }) => sources },
  { head: "share", cell: ({ share }) => percentText(share) },
  { head: "perplexity", cell: ({ perplexity }) => perplexity?.toFixed(2) ?? null },
  below("below dense, × batch", "dense"),
  below("below dense, × steps", "dense-steps"),
];

/** How experts do on their own text. */
export const segments: Study = {
  name: "segments",
  title: "Every expert on its own text",
  question:
    "Does every expert beat the dense models on the text that is routed to it, and does each get a share?",
  paper:
    "Figure 5: all experts do, and all get a substantial share, though nothing balances them at inference.",
  setups: ({ experts }) => [
    makeSetup(`em-${experts}-experts`, `${experts} experts`, { experts }, { models: MODELS, repeated: true }),
  ],
  findings(outcomes) {
    const experts = outcomes.flatMap(compareOwnText);
    const shares = experts.map(({ share, evaluation }) => share * evaluation.experts);
    const [{ setup, evaluation }] = outcomes;
    const baselines = BASELINES.filter((name) => setup.models.includes(name));
    return {
      claims: [
        {
          claim: "Every expert beats the dense model of E times the batch on the text routed to it",
          paper: "all do",
          ...allAhead(experts),
        },
        {
          claim: "Every expert gets at least a quarter of an equal share",
          paper: "all get a substantial share",
          here: `${Math.min(...shares).toFixed(2)} to ${Math.max(...shares).toFixed(2)} equal shares`,
          holds: Math.min(...shares) >= 0.25,
        },
      ],
      table: makeTable(experts, COLUMNS, { part: ({ setup, expert }) => `${setup.name} ${expert}` }),
      plots: [{ ...segmentPlot(evaluation, ["mixture", ...baselines]), id: "study-segments" }],
    };
  },
};
