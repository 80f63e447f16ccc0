/**
 * Learning rates by step; the first step is 1.
 *
 * @module
 */

import { say, setting, type Text } from "../../kernels/errors.ts";

/** Linear warm-up from 0, then constant: the routers' schedule, which needs no number of steps beforehand. */
export function constantRate(step: number, { rate, warmup }: { rate: number; warmup: number }): number {
  return rate * Math.min(1, step / Math.max(1, warmup));
}

/** What {@link cosineRate} takes. */
export interface CosineSchedule {
  /** Rate at the end of the warm-up. */
  rate: number;
  /** Steps of linear warm-up from 0. */
  warmup: number;
  /** Steps in all. */
  steps: number;
  /** Share of `rate` that the last step has. */
  final: number;
}

/** Linear warm-up from 0, then half a cosine down to `final · rate` at the last step: the experts' schedule. */
export function cosineRate(step: number, { rate, warmup, steps, final }: CosineSchedule): number {
  if (step <= warmup) return rate * step / warmup;
  const done = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  return rate * (final + (1 - final) * (1 + Math.cos(Math.PI * done)) / 2);
}

const WARMUP = setting("expertWarmup");

/** Largest share of the steps that a warm-up should take. */
const LONGEST = 1 / 4;

/** Warns of a warm-up that takes more than a quarter of the steps; undefined where it does not. */
export function longWarmup(
  name: string,
  { steps, warmup, rate }: Omit<CosineSchedule, "final">,
): Text | undefined {
  if (warmup <= LONGEST * steps) return undefined;
  const last = cosineRate(steps, { rate, warmup, steps, final: 1 });
  const [reached, peak] = [last.toExponential(1), rate.toExponential(1)];
  const why = steps < warmup
    ? `its rate ends at ${reached} while it still rises to ${peak}`
    : "that is more than a quarter of its steps";
  return say`${name} warms up for ${warmup} steps and trains for ${steps}: ${why}; give a smaller ${WARMUP} or more steps`;
}
