/**
 * How every expert does on the text that is routed to it, beside the dense models (SmallTalk LM, figure 5).
 *
 * @module
 */

import { type Outcome, percentText, type Setup } from "./study.ts";

/** An expert on its own text. */
export interface OwnText {
  /** The run. */
  setup: Setup;
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
export function ownTextOf({ setup, evaluation, partition }: Outcome): OwnText[] {
  return evaluation.segments.map(({ expert, share, perplexity: { mixture, ...others } }) => {
    const below = (other: number | null | undefined) => other && mixture ? 1 - mixture / other : null;
    const { sources, sequences } = partition.experts[expert];
    const kinds = Object.entries(sources).filter(([source]) => source !== "").sort(([, a], [, b]) => b - a)
      .slice(0, MOST).filter(([, count], i) => i < LEAST || count >= SHARE * sequences);
    return {
      ...{ setup, expert, share, perplexity: mixture ?? null },
      below: { dense: below(others.dense), "dense-steps": below(others["dense-steps"]) },
      sources: kinds.map(([source, count]) => `${source} ${Math.round(100 * count / sequences)}%`).join(", "),
    };
  });
}

/** What a claim says here of experts that should all beat the dense model of E times the batch, and whether they do. */
export function allAhead(experts: readonly OwnText[]): { here: string; holds: boolean } {
  const behind = experts.filter(({ below: { dense } }) => dense === null || dense <= 0);
  if (behind.length === 0) {
    const least = Math.min(...experts.map(({ below }) => below.dense!));
    return { here: `all ${experts.length}, the least by ${percentText(least)}`, holds: true };
  }
  const why = ({ perplexity, below: { dense } }: OwnText) =>
    perplexity === null
      ? "gets no text"
      : dense === null
      ? "has no such model beside it"
      : `is ${percentText(-dense)} behind`;
  const text = (own: OwnText) =>
    `${own.setup.label}, expert ${own.expert}${own.sources && ` (trained on ${own.sources})`} ${why(own)}`;
  return { here: behind.map(text).join("; "), holds: false };
}
