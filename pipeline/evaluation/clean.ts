/**
 * What an evaluation comes to on some of its documents alone, such as those that share nothing with training text.
 *
 * @module
 */

import type { DocumentScores } from "./documents.ts";
import { type Evaluation, type Gain, SHOWN_WAYS } from "./evaluation.ts";
import { figuresOf } from "./tables.ts";

/** The figures of an evaluation on some of its documents; `changed` are gains outside the interval that they have on all. */
export interface SomeFigures extends Pick<Evaluation, "scores" | "gains"> {
  /** Held-out documents that are left. */
  documents: number;
  /** Gains outside the interval that they have on all documents. */
  changed: Gain[];
}

/** Computes the figures on the documents that `leaks` has not, with as many draws; null where there is none. */
export async function figuresOn(
  { document, tokens, nll }: DocumentScores,
  leaks: ReadonlySet<bigint>,
  { gains: all, resamples, seed }: Evaluation,
): Promise<SomeFigures | null> {
  const isKept = (_: unknown, row: number) => !leaks.has(document[row]);
  const ways = SHOWN_WAYS.filter((way) => way in nll);
  const kept = Object.fromEntries(ways.map((way) => [way, nll[way]!.filter(isKept)]));
  if (kept.mixture.length === 0) return null;
  const { score, gains } = await figuresOf(
    { tokens: Float64Array.from(tokens.filter(isKept)), nll: kept },
    { resamples, seed },
  );
  const own = gains("mixture");
  return {
    documents: kept.mixture.length,
    scores: Object.fromEntries(ways.map((way) => [way, score(way)])),
    gains: own,
    changed: own.filter(({ baseline, percent }) => {
      const { low, high } = all.find((gain) => gain.baseline === baseline)!;
      return percent < low || percent > high;
    }),
  };
}
