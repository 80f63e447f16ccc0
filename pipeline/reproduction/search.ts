/**
 * Searches for one setting by short trainings: from a first value outwards by factors of two, until the
 * best one lies between worse ones, or no more values may be tried.
 *
 * @module
 */

import type { RateSearch, Trial } from "../report/reproduction.ts";

/** Nats by which a higher rate must be better in trials: these are short, and bear higher rates than the training itself. */
const RATE_MARGIN = 0.03;

/** How a setting is searched for. */
export interface LineSearch {
  /** Where the search begins. */
  first: number;
  /** Whether values are whole numbers. */
  whole?: boolean;
  /** Whether a lower value must be clearly better, too, and not only a higher one. */
  cautious?: boolean;
  /** Nats by which another value must be better, where it must be clearly better. Default: 0.01. */
  margin?: number;
  /** Most values that are tried. Default: 6. */
  most?: number;
  /** Largest value that is tried. Default: none. */
  largest?: number;
}

/**
 * Gives the best value found, and all that were tried with their losses in nats, by value. A value whose
 * training diverges has an infinite loss.
 */
export async function searchLine(
  { first, whole = false, cautious = false, margin = 0.01, most = 6, largest = Infinity }: LineSearch,
  validate: (value: number) => Promise<number>,
): Promise<{ value: number; losses: Map<number, number> }> {
  const losses = new Map<number, number>();
  const attempt = async (value: number) => {
    const loss = losses.get(value) ?? await validate(value);
    losses.set(value, loss);
    return { value, loss };
  };
  let best = await attempt(first);
  // From a rate that diverges the way leads down, until one does not; fewer rounds would not help.
  for (const factor of best.loss !== Infinity ? [2, 1 / 2] : whole ? [] : [1 / 2]) {
    while (losses.size < most) {
      const value = best.value * factor;
      if (value > largest) break;
      const next = await attempt(whole ? Math.max(1, Math.round(value)) : Number(value.toPrecision(6)));
      const least = factor > 1 || cautious ? margin : 0;
      if (best.loss !== Infinity && !(next.loss < best.loss - least)) break;
      best = next;
    }
    if (best.value > first) break; // the value below it is worse: the search came from there
  }
  return {
    value: best.loss === Infinity ? first : best.value,
    losses: new Map([...losses].sort(([a], [b]) => a - b)),
  };
}

/**
 * Searches for a learning rate by trials of a part of the training. Long trainings bear lower rates than
 * short ones, so a higher rate must be clearly better.
 */
export async function searchRate(
  first: number,
  validate: (rate: number) => Promise<number>,
  most?: number,
): Promise<RateSearch> {
  const { value, losses } = await searchLine({ first, most, margin: RATE_MARGIN }, validate);
  const trials: Trial[] = [...losses].map(([rate, validationLoss]) => ({ rate, validationLoss }));
  return { rate: value, trials };
}
