/**
 * What margins are good for. How well does one tell whether the choice is right: whether no expert has a lower NLL of
 * the whole sequence than the one that a prefix chooses? And a fallback: sequences with a small margin, for which
 * the choice is unsure, go to a dense model instead.
 *
 * @module
 */

import type { Baseline } from "./baselines.ts";
import type { Fallback, Reliability } from "./evaluation.ts";
import type { Figures, Table } from "./tables.ts";

/** A routed sequence. */
export interface Choice {
  /** How much less its prefix costs the chosen expert than the second best one. */
  margin: number;
  /** How much higher its NLL under the chosen expert is than under its best one, nats. */
  loss: number;
}

const BINS = 10;

/**
 * Tells how often choices are right and what wrong ones lose, over all and by margin. There are at most ten
 * bins of margins with about equally many sequences; equal margins are in the same bin.
 */
export function measureReliability(choices: readonly Choice[]): Reliability {
  const sorted = choices.toSorted((a, b) => a.margin - b.margin);
  const bins: Reliability["bins"] = [];
  for (let begin = 0, bin = 1; begin < sorted.length; bin++) {
    let end = Math.round(bin * sorted.length / BINS);
    if (end <= begin) continue;
    while (end < sorted.length && sorted[end].margin === sorted[end - 1].margin) end++;
    const own = sorted.slice(begin, end);
    bins.push({ from: own[0].margin, to: own.at(-1)!.margin, ...summary(own) });
    begin = end;
  }
  return { ...summary(sorted), bins };
}

function summary(choices: readonly Choice[]) {
  const losses = choices.map(({ loss }) => loss).filter((loss) => loss > 0);
  return {
    sequences: choices.length,
    right: 1 - losses.length / choices.length,
    loss: losses.length === 0 ? null : losses.reduce((a, b) => a + b, 0) / losses.length,
  };
}

/** Which sequences go to a dense model, and to which. */
export interface FallbackOptions {
  /** The dense model that takes unsure sequences, one of those that the mixture is compared with. */
  fallback?: Baseline;
  /** Sequences with a smaller margin are sent. Without it, only the curve over all margins is computed. */
  margin?: number;
}

/** Points of the curve: margins that send no sequence, about a twentieth of them, two twentieths … all. */
const STEPS = 20;

/**
 * Adds a column for each margin below which sequences are sent, and returns what gives their figures. `margins` are
 * those of all sequences; `routed` and `dense` give the NLL of one by the mixture and by the dense model.
 */
export function addFallback(
  table: Table,
  { fallback, margin }: FallbackOptions & { fallback: Baseline },
  margins: readonly number[],
  routed: (row: number) => number,
  dense: (row: number) => number,
): (figures: Figures) => Fallback {
  const sorted = margins.toSorted((a, b) => a - b);
  const steps = Array.from({ length: STEPS }, (_, i) => sorted[Math.floor(i * sorted.length / STEPS)]);
  const curve = [...new Set(steps), Infinity];
  const column = (limit: number) => `${fallback} below ${limit}`;
  for (const limit of new Set(margin === undefined ? curve : [...curve, margin])) {
    table.add(column(limit), (row) => margins[row] < limit ? dense(row) : routed(row));
  }
  const point = (limit: number) => ({
    margin: limit === Infinity ? null : limit,
    share: sorted.filter((margin) => margin < limit).length / sorted.length,
  });
  return ({ score, perplexity }) => ({
    model: fallback,
    ...margin !== undefined && { chosen: { ...point(margin), ...score(column(margin)) } },
    curve: curve.map((limit) => ({ ...point(limit), ...perplexity(column(limit)) })),
  });
}
