/**
 * The training step and scoring of one model, and where the time of a step goes.
 *
 * @module
 */

import { openGpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { forwardFlops, trainingFlops } from "../../pipeline/cost/flops.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer, type Trainer } from "../../pipeline/model/trainer.ts";
import { isProduct, KERNELS } from "./kernels.ts";
import { SPEED, type Speed, speedCells, speedOf } from "./measure_kernels.ts";
import type { Roof } from "../../kernels/device/roof.ts";
import { RATE, SETTINGS, type Size, someBatch, someTokens } from "./sizes.ts";
import { columns, digits, percent } from "./text.ts";
import { type Clock, median, now } from "../../kernels/device/time.ts";

/** Figures of one size. */
export interface StepTimes {
  /** Seconds until the first step was done, from a device on which nothing was compiled (but for the driver's own cache). */
  first: number;
  /** Training speed. */
  tokensPerSecond: number;
  /** The same in GFLOP/s, by the FLOPs that `cost` counts. */
  gflops: number;
  /** That as a share of the arithmetic roof. */
  ofArithmetic: number;
  /** Scoring speed by prefix. */
  scoring: { prefix: number; sequencesPerSecond: number; gflops: number; ofArithmetic: number }[];
  /** Where the time of a step goes, with `--profile` on an adapter with timestamp queries. */
  profile?: Profile;
}

/** Where the time of a training step goes. */
export interface Profile {
  /** Milliseconds of all kernels. */
  ms: number;
  /** Share of that which is not matrix products. */
  otherThanProducts: number;
  /** By kernel, the longest first. */
  kernels: ProfiledKernel[];
}

/** One kernel of a step. */
export interface ProfiledKernel {
  /** Label of the kernel. */
  kernel: string;
  /** How often a step runs it. */
  calls: number;
  /** Milliseconds per step. */
  ms: number;
  /** Share of the step. */
  share: number;
  /** Its speed, over all calls. */
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
  /** The roof. */
  roof: Roof;
  /** Forms of kernels. */
  variants: Variants;
  /** What activations are stored in. */
  dtype: Dtype;
}

/** Measures training and scoring on a device of their own. */
export async function measureSteps(
  size: Size,
  { rounds, clock, profile, roof, variants, dtype }: StepOptions,
): Promise<StepTimes> {
  const gpu = await openGpu({ variants });
  try {
    const weights = initialWeights(size, 0);
    const { batch, context } = size;
    const input = someBatch(batch, context, size.vocabulary);
    const begin = now(clock);
    const options = { config: size, start: [weights], batch, length: context, settings: SETTINGS, dtype };
    const trainer = createTrainer(gpu, options);
    trainer.step(input, RATE);
    await trainer.drain();
    const first = now(clock) - begin;
    const steps = rounds === 1 ? 1 : STEPS_PER_ROUND;
    const seconds = await medianSeconds({ rounds, clock }, async () => {
      for (let i = 0; i < steps; i++) trainer.step(input, RATE);
      await trainer.drain();
    }) / steps;
    const times: StepTimes = {
      first,
      tokensPerSecond: batch * context / seconds,
      ...computed(trainingFlops(size, batch, context), seconds, roof),
      scoring: [],
    };
    if (profile && gpu.canProfile) {
      times.profile = await profileStep(trainer, size, { rounds, roof });
    }
    trainer.close();

    for (const prefix of PREFIXES.filter((prefix) => prefix <= context)) {
      const rows = rounds === 1 ? 8 : 2 * SCORE_BATCH;
      const options = {
        config: size,
        models: [weights],
        batch: Math.min(rows, SCORE_BATCH),
        length: prefix,
        dtype,
      };
      const scorer = createScorer(gpu, options);
      const tokens = someTokens(rows * prefix, size.vocabulary);
      const lengths = new Uint32Array(rows).fill(prefix);
      await scorer.score(tokens, prefix, lengths);
      const seconds = await medianSeconds({ rounds, clock }, () => scorer.score(tokens, prefix, lengths));
      times.scoring.push({
        prefix,
        sequencesPerSecond: rows / seconds,
        ...computed(forwardFlops(size, rows, prefix), seconds, roof),
      });
      scorer.close();
    }
    return times;
  } finally {
    gpu.close();
  }
}

async function medianSeconds(
  { rounds, clock }: { rounds: number; clock: Clock },
  run: () => Promise<unknown>,
): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const begin = now(clock);
    await run();
    seconds.push(now(clock) - begin);
  }
  return median(seconds);
}

function computed(flops: number, seconds: number, roof: Roof) {
  const gflops = flops / seconds / 1e9;
  return { gflops, ofArithmetic: gflops / roof.gflops };
}

/** FLOPs and bytes of a step by kernel, from the table. */
function workOf(label: string, size: Size): { flops: number; bytes: number } {
  const uses = KERNELS.filter((kernel) => kernel.label === label);
  const total = (of: "flops" | "values") =>
    uses.reduce((sum, kernel) => sum + kernel.calls(size) * kernel[of](size), 0);
  return { flops: total("flops"), bytes: 4 * total("values") };
}

async function profileStep(
  trainer: Trainer,
  size: Size,
  { rounds, roof }: { rounds: number; roof: Roof },
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
  const products = kernels.reduce((sum, { kernel, ms }) => sum + (isProduct(kernel) ? ms : 0), 0);
  return {
    ms: total,
    otherThanProducts: 1 - products / total,
    kernels: kernels.toSorted((a, b) => b.ms - a.ms).map((row) => {
      const { flops, bytes } = workOf(row.kernel, size);
      return { ...row, share: row.ms / total, speed: speedOf(row.ms / 1000, flops, bytes, roof) };
    }),
  };
}

/** Writes the figures of a size. */
export function stepsText({ first, tokensPerSecond, gflops, ofArithmetic, scoring }: StepTimes): string {
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
