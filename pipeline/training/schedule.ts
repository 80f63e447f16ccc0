/** Learning rates by step; the first step is 1. */

/** Linear warm-up from 0, then constant: the routers' schedule, which needs no number of steps beforehand. */
export function constantRate(step: number, { rate, warmup }: { rate: number; warmup: number }): number {
  return rate * Math.min(1, step / Math.max(1, warmup));
}
