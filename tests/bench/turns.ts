/**
 * Times several ways of doing one thing in turns, so that what disturbs one disturbs all.
 *
 * @module
 */

import process from "node:process";

/** Gives the median of some values; of two in the middle, the larger. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Seconds of every round. */
export interface Seconds {
  /** On the clock. */
  clock: number[];
  /** Of the processor, all threads. */
  processor: number[];
}

/** Runs every way once unmeasured and then `rounds` times, one after another; `settle` ends each run, inside its time. */
export async function takeTurns(
  ways: Record<string, () => unknown>,
  rounds: number,
  settle = () => Promise.resolve(),
): Promise<Map<string, Seconds>> {
  const seconds = new Map(
    Object.keys(ways).map((name): [string, Seconds] => [name, { clock: [], processor: [] }]),
  );
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(ways)) {
      const before = process.cpuUsage();
      const start = performance.now();
      await run();
      await settle();
      const clock = (performance.now() - start) / 1000;
      const { user, system } = process.cpuUsage(before);
      if (round < 0) continue; // warm-up
      seconds.get(name)!.clock.push(clock);
      seconds.get(name)!.processor.push((user + system) / 1e6);
    }
  }
  return seconds;
}
