/**
 * How every expert does on the text that is routed to it, beside the dense models (SmallTalk LM, figure 5).
 *
 * @module
 */

import type { Claim } from "../../report/reproduction.ts";
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
  /** By which share that is below the perplexity of the dense model of E times the batch; null where one is not there. */
  dense: number | null;
  /** The same for the dense model of E times the steps. */
  steps: number | null;
  /** The two kinds of text that it had most of in training. */
  sources: string;
}

/** Gives all experts of a run. */
export function ownTextOf({ setup, evaluation, partition }: Outcome): OwnText[] {
  return evaluation.segments.map(
    ({ expert, share, perplexity: { mixture, dense, "dense-steps": steps } }) => {
      const below = (of: number | null | undefined) => of && mixture ? 1 - mixture / of : null;
      const sources = Object.entries(partition.experts[expert].sources).sort(([, a], [, b]) => b - a);
      return {
        ...{ setup, expert, share, perplexity: mixture ?? null, dense: below(dense), steps: below(steps) },
        sources: sources.slice(0, 2).map(([source]) => source).join(", "),
      };
    },
  );
}

/** Says whether each of these experts beats the dense model of E times the batch, and names those that do not, with their text. */
export function ownTextClaim(experts: readonly OwnText[]): Claim {
  const behind = experts.filter(({ dense }) => dense === null || dense <= 0);
  return {
    claim: "Every expert beats the dense model of E times the batch on the text routed to it",
    paper: "all do",
    here: behind.length === 0
      ? `all ${experts.length}, the least by ${percentText(Math.min(...experts.map(({ dense }) => dense!)))}`
      : behind.map(({ setup, expert, dense, sources }) =>
        `${setup.label}, expert ${expert} (${sources}) ${
          dense === null ? "gets no text" : `is ${percentText(-dense)} behind`
        }`
      ).join("; "),
    holds: behind.length === 0,
  };
}
