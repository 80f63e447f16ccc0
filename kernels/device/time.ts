/**
 * Times dispatches. A round is long enough that the time to submit it and to read back does not
 * count.
 *
 * @module
 */

import process from "node:process";
import type { Dispatch, Gpu } from "./gpu.ts";

/** Seconds of every round. */
export interface Seconds {
  /** By the clock. */
  clock: number[];
  /** Processor time of all threads. */
  processor: number[];
}

/** Returns the median; of two values in the middle, the larger. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/**
 * How time is measured: by the clock, or as processor time divided by the number of cores. On a
 * busy machine with a software adapter the latter repeats better. It looks too good for kernels
 * that leave cores idle.
 */
export type Clock = keyof Seconds;

/** How long to measure. */
export interface Effort {
  /** Rounds that a median is taken of, where they do not take too long. */
  rounds: number;
  /** Seconds that a round lasts at least; 0 for one repetition. */
  seconds: number;
  /** How time is measured. */
  clock: Clock;
}

const MOST_REPEATS = 2 ** 14;
const MOST_SECONDS = 2; // of all rounds

/** Returns the time in seconds. Only differences between two times mean something. */
export function now(clock: Clock): number {
  if (clock === "clock") return performance.now() / 1000;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6 / navigator.hardwareConcurrency;
}

/** Gives the median of some rounds by one clock. */
export function takeMedian(seconds: Seconds, clock: Clock): number {
  return median(seconds[clock]) / (clock === "clock" ? 1 : navigator.hardwareConcurrency);
}

/** Measures the median time of one run of the dispatches, in seconds. */
export async function measureSeconds(
  gpu: Gpu,
  dispatches: readonly Dispatch[],
  { rounds, seconds, clock }: Effort,
): Promise<number> {
  const run = async (list: readonly Dispatch[]) => {
    const begin = now(clock);
    gpu.submit(list);
    await gpu.read([{ buffer: gpu.empty }]);
    return now(clock) - begin;
  };
  await run(dispatches.map((dispatch) => ({ ...dispatch, grid: [1, 1, 1] }))); // compiles
  const idle = await run([]);
  // A round in which the machine was idle for a moment may have been slow by chance.
  const working = (time: number) => Math.max(time - idle, time / 2, 1e-9);
  let list = dispatches;
  let repeats = 1;
  let taken = working(await run(list));
  const repeat = async (times: number) => {
    repeats = times;
    list = Array(repeats).fill(dispatches).flat();
    taken = working(await run(list));
  };
  // One alone may be far shorter than the wait for the device.
  while (taken < seconds && repeats < MOST_REPEATS) {
    await repeat(Math.min(4 * repeats, MOST_REPEATS));
  }
  if (taken > seconds && repeats > 1) await repeat(Math.ceil(repeats * seconds / taken));
  const affordable = Math.min(rounds, Math.floor(MOST_SECONDS / taken));
  if (affordable < 1) return taken / repeats;
  const times: number[] = [];
  for (let round = 0; round < affordable; round++) times.push(working(await run(list)) / repeats);
  return median(times);
}
