/**
 * Searches for a learning rate by short trainings. It starts from one rate and goes outwards by factors of
 * two, until the best rate lies between two worse ones. Long trainings tolerate only lower rates than short
 * ones, so a higher rate must be clearly better.
 *
 * @module
 */

import type { RateSearch, Trial } from "../report/reproduction.ts";

/** A higher rate must be better by so many nats. */
const MARGIN = 0.01;

/** Tries at most `most` rates; one whose training diverges counts as infinitely bad. */
export async function searchRate(
  first: number,
  validate: (rate: number) => Promise<number>,
  most = 6,
): Promise<RateSearch> {
  const trials: Trial[] = [];
  const attempt = async (rate: number) => {
    const known = trials.find((trial) => trial.rate === rate);
    if (known) return known;
    const trial = { rate, validationLoss: await validate(rate) };
    trials.push(trial);
    return trial;
  };
  let best = await attempt(first);
  for (const factor of [2, 1 / 2]) {
    while (trials.length < most) {
      const next = await attempt(Number((best.rate * factor).toPrecision(6)));
      const margin = factor > 1 ? MARGIN : 0;
      if (!(next.validationLoss < best.validationLoss - margin)) break;
      best = next;
    }
    if (best.rate > first) break; // the rate below it is worse: the search came from there
  }
  return { rate: best.rate, trials: trials.sort((a, b) => a.rate - b.rate) };
}
