/**
 * The training step and scoring of one model, and where the time of a step goes.
 *
 * @module
 */

import { openGpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import type { Trainer } from "../../pipeline/model/trainer.ts";
import { isProduct, type Kernel, kernelsOf } from "./kernels.ts";
import { computeSpeed, SPEED, type Speed, speedCells } from "./measure_kernels.ts";
import type { Peak } from "../../kernels/device/peak.ts";
import { RATE, type Size, someBatch } from "./sizes.ts";
import { columns, digits, percent } from "./text.ts";
import { type Clock, median, now, takeMedian } from "../../kernels/device/time.ts";
import { scoring, takeTurns, training, type Work } from "./work.ts";

/** A speed in GFLOP/s, by the FLOPs that `cost` counts, and its share of the arithmetic peak. */
type Computed = Record<"gflops" | "ofArithmetic", number>;

/** Figures of one size. */
export interface StepTimes extends Computed {
  /**
   * Seconds until the first step was done, from a device on which nothing was compiled (but for the
   * driver's own cache).
   */
  first: number;
  /** Training speed. */
  tokensPerSecond: number;
  /** Scoring speed by prefix. */
  scoring: (Computed & Record<"prefix" | "sequencesPerSecond", number>)[];
  /** Where the time of a step goes, with `--profile` on an adapter with timestamp queries. */
  profile?: Profile;
}

/**
 * Where the time of a training step goes: milliseconds of all kernels, the share that is not matrix
 * products, kernels with the longest first.
 */
export interface Profile extends Record<"ms" | "otherThanProducts", number> {
  kernels: ProfiledKernel[];
}

/**
 * One kernel of a step: its label, how often a step runs it, milliseconds per step, share of the
 * step, and its speed over all calls.
 */
export interface ProfiledKernel extends Record<"calls" | "ms" | "share", number> {
  kernel: string;
  speed: Speed;
}

const STEPS_PER_ROUND = 4;
const PREFIXES = [32, 128];
const SCORE_BATCH = 256;

/** What {@link measureSteps} takes. */
export interface StepOptions {
  /** Rounds that a median is taken of; 1 also takes the fewest steps. */
  rounds: number;
  /** What time is; timestamp queries know the clock alone. */
  clock: Clock;
  /** Whether to profile. */
  profile: boolean;
  /** The peak. */
  peak: Peak;
  /** Variants of kernels. */
  variants: Variants;
  /** What activations are stored in. */
  dtype: Dtype;
}

/** Measures training and scoring on a device of their own. */
export async function measureSteps(
  size: Size,
  { rounds, clock, profile, peak, variants, dtype }: StepOptions,
): Promise<StepTimes> {
  const gpu = await openGpu({ variants });
  /** Gives the median seconds of so many repetitions of some work, in all. */
  const measured = async ({ run }: Work, times: number) =>
    takeMedian((await takeTurns({ run: () => run(times) }, rounds)).get("run")!, clock);
  const computed = (flops: number, seconds: number): Computed => {
    const gflops = flops / seconds / 1e9;
    return { gflops, ofArithmetic: gflops / peak.gflops };
  };
  try {
    const begin = now(clock);
    const work = training(gpu, size, { dtype });
    await work.run(1);
    const first = now(clock) - begin;
    const steps = rounds === 1 ? 1 : STEPS_PER_ROUND;
    const seconds = await measured(work, steps) / steps;
    const times: StepTimes = {
      first,
      tokensPerSecond: work.tokens / seconds,
      ...computed(work.flops, seconds),
      scoring: [],
    };
    if (profile && gpu.canProfile) {
      times.profile = await profileStep(work.trainer, size, { rounds, peak, variants });
    }
    work.close();
    for (const prefix of PREFIXES.filter((prefix) => prefix <= size.context)) {
      const [batch, passes] = rounds === 1 ? [8, 1] : [SCORE_BATCH, 2];
      const work = scoring(gpu, size, { batch, length: prefix, dtype });
      const seconds = await measured(work, passes);
      const speed = computed(passes * work.flops, seconds);
      times.scoring.push({ prefix, sequencesPerSecond: passes * batch / seconds, ...speed });
      work.close();
    }
    return times;
  } finally {
    gpu.close();
  }
}

/** FLOPs and bytes of a step by kernel, from the table. */
function workOf(label: string, kernels: readonly Kernel[]): { flops: number; bytes: number } {
  const uses = kernels.filter((kernel) => kernel.label === label);
  const total = (of: "flops" | "values") =>
    uses.reduce((sum, kernel) => sum + kernel.calls * kernel[of], 0);
  return { flops: total("flops"), bytes: 4 * total("values") };
}

async function profileStep(
  trainer: Trainer,
  size: Size,
  { rounds, peak, variants }: Pick<StepOptions, "rounds" | "peak" | "variants">,
): Promise<Profile> {
  const times = new Map<string, { calls: number; ms: number[] }>();
  for (let round = 0; round < rounds; round++) {
    const input = someBatch(size.batch, size.context, size.vocabulary);
    for (const kernel of times.values()) kernel.calls = 0;
    for (const { label, nanoseconds } of await trainer.profile(input, RATE)) {
      const kernel = times.get(label) ?? { calls: 0, ms: [] };
      times.set(label, kernel);
      kernel.calls++;
      kernel.ms[round] = (kernel.ms[round] ?? 0) + nanoseconds / 1e6;
    }
    await trainer.drain();
  }
  const kernels = [...times].map(([kernel, { calls, ms }]) => ({ kernel, calls, ms: median(ms) }));
  const total = kernels.reduce((sum, { ms }) => sum + ms, 0);
  const uses = kernelsOf(size, variants.loss);
  const products = kernels.reduce((sum, { kernel, ms }) => sum + (isProduct(kernel) ? ms : 0), 0);
  return {
    ms: total,
    otherThanProducts: 1 - products / total,
    kernels: kernels.toSorted((a, b) => b.ms - a.ms).map((row) => {
      const { flops, bytes } = workOf(row.kernel, uses);
      return {
        ...row,
        share: row.ms / total,
        speed: computeSpeed(row.ms / 1000, flops, bytes, peak),
      };
    }),
  };
}

/** Writes the figures of a size. */
export function stepsText(
  { first, tokensPerSecond, gflops, ofArithmetic, scoring }: StepTimes,
): string {
  return columns([
    ["", "", "GFLOP/s", "of arithmetic"],
    ["first step, compiling, s", digits(first), "", ""],
    ["training, tokens/s", digits(tokensPerSecond), digits(gflops), percent(ofArithmetic)],
    ...scoring.map(({ prefix, sequencesPerSecond, gflops, ofArithmetic }) => [
      `scoring ${prefix} tokens, sequences/s`,
      digits(sequencesPerSecond),
      digits(gflops),
      percent(ofArithmetic),
    ]),
  ], "lrrr");
}

/** Writes where the time of a step goes. */
export function profileText({ ms, otherThanProducts, kernels }: Profile): string {
  const table = columns([
    ["kernel", "a step", "ms", "share", ...SPEED.titles],
    ...kernels.map(({ kernel, calls, ms, share, speed }) => [
      kernel,
      `${calls}×`,
      digits(ms),
      percent(share),
      ...speedCells(speed),
    ]),
  ], `lrrr${SPEED.sides}`);
  return `${table}\nnot matrix products: ${percent(otherThanProducts)} of ${digits(ms)} ms`;
}
