/**
 * A bank of small models, trained and scored side by side, against one model after another.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Size } from "./sizes.ts";
import { columns, digits } from "./text.ts";
import { type Clock, takeMedian } from "../../kernels/device/time.ts";
import { scoring, takeTurns, training, type Work } from "./work.ts";

const [MODELS, EXPERTS, SCORE_BATCH] = [8, 4, 64];

/**
 * How two ways of doing something compare: seconds of the bank, of all models one after another,
 * and how many times faster the bank is.
 */
export type BankTimes = { what: string } & Record<"together" | "apart" | "ratio", number>;

/** What {@link measureBank} takes. */
export interface BankOptions {
  /** Shape of the models and of their training batches. */
  size: Size;
  /** Rounds that a median is taken of, the two ways in turns. */
  rounds: number;
  /** Training steps of a round. */
  steps: number;
  /** Sequences that every model scores in a round. */
  rows: number;
  /** What time is. */
  clock: Clock;
}

const seeds = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** Compares models that work together with others one after another. */
async function compare(
  what: string,
  together: Work[],
  apart: Work[],
  { rounds, clock, times }: Pick<BankOptions, "rounds" | "clock"> & { times: number },
): Promise<BankTimes> {
  const seconds = await takeTurns({
    together: () => Promise.all(together.map(({ run }) => run(times))),
    async apart() {
      for (const { run } of apart) await run(times);
    },
  }, rounds);
  for (const { close } of [...together, ...apart]) close();
  const [bank, others] = ["together", "apart"].map((way) => takeMedian(seconds.get(way)!, clock));
  return { what, together: bank, apart: others, ratio: others / bank };
}

/** Trains and scores 8 models both ways. */
export async function measureBank(gpu: Gpu, options: BankOptions): Promise<BankTimes[]> {
  const { size, steps, rows } = options;
  const batch = Math.min(rows, SCORE_BATCH);
  const both = (what: string, open: (seeds: number[]) => Work, times: number) => {
    const apart = seeds(0, MODELS).map((seed) => open([seed]));
    return compare(what, [open(seeds(0, MODELS))], apart, { ...options, times });
  };
  return [
    await both("training", (seeds) => training(gpu, size, { seeds }), steps),
    await both("scoring", (seeds) => scoring(gpu, size, { seeds, batch }), rows / batch),
  ];
}

/**
 * Trains 4 experts both ways: as a bank of two on each of two devices, as tasks do on the
 * processor, and one after another on one.
 */
export function measureExperts(
  gpus: readonly [Gpu, Gpu],
  options: BankOptions,
): Promise<BankTimes> {
  const { size, steps } = options;
  const open = (gpu: Gpu, seeds: number[]) => training(gpu, size, { seeds });
  const half = EXPERTS / 2;
  const banks = [open(gpus[0], seeds(0, half)), open(gpus[1], seeds(half, EXPERTS))];
  const apart = seeds(0, EXPERTS).map((seed) => open(gpus[0], [seed]));
  return compare("experts on two devices", banks, apart, { ...options, times: steps });
}

/** Writes the comparison. */
export function bankText(times: readonly BankTimes[]): string {
  const rows = times.map(({ what, together, apart, ratio }) => [
    ...[what, digits(together), digits(apart), `${digits(ratio)}×`],
  ]);
  return columns([["", "bank, s", "one by one, s", "bank is faster"], ...rows], "lrrr");
}
