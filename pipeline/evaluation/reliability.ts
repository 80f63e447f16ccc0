/**
 * How well a margin tells whether the choice is right. The expert that a prefix chooses is right if no expert
 * has a lower NLL of the whole sequence.
 *
 * @module
 */

import type { Reliability } from "./evaluation.ts";
import type { Kept } from "./routes.ts";

/** A routed sequence. */
export interface Choice {
  /** How much less its prefix costs the chosen expert than the second best one. */
  margin: number;
  /** How much higher its NLL under the chosen expert is than under its best one, nats. */
  loss: number;
}

const BINS = 10;

/** Lists, for every sequence, what the prefix in column `own` of the routes chose. */
export function* choicesOf(blocks: readonly Kept[], own: number): Generator<Choice> {
  for (const { rows, margin, routes, nll } of blocks) {
    const [prefixes, experts] = [routes.length / rows, nll.length / rows];
    for (let row = 0; row < rows; row++) {
      const of = nll.subarray(row * experts, (row + 1) * experts);
      yield { margin: margin[row], loss: of[routes[row * prefixes + own]] - Math.min(...of) };
    }
  }
}

/**
 * Says how often choices are right and what wrong ones lose, over all and by margin. There are at most ten
 * bins of margins with about equally many sequences; equal margins are in the same bin.
 */
export function reliabilityOf(choices: Iterable<Choice>): Reliability {
  const sorted = [...choices].sort((a, b) => a.margin - b.margin);
  const bins: Reliability["bins"] = [];
  for (let begin = 0, bin = 1; begin < sorted.length; bin++) {
    let end = Math.round(bin * sorted.length / BINS);
    if (end <= begin) continue;
    while (end < sorted.length && sorted[end].margin === sorted[end - 1].margin) end++;
    const [from, to] = [sorted[begin].margin, sorted[end - 1].margin];
    bins.push({ from, to, ...summary(sorted.slice(begin, end)) });
    begin = end;
  }
  return { ...summary(sorted), bins };
}

function summary(choices: readonly Choice[]) {
  const wrong = choices.filter(({ loss }) => loss > 0);
  return {
    sequences: choices.length,
    right: 1 - wrong.length / choices.length,
    loss: wrong.length === 0 ? null : wrong.reduce((sum, { loss }) => sum + loss, 0) / wrong.length,
  };
}
