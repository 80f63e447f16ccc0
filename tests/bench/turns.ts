/**
 * Times several ways of doing one thing in turns, so that what disturbs one disturbs all.
 *
 * @module
 */

import process from "node:process";
import type { Seconds } from "../../kernels/device/time.ts";

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
