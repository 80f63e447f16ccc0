/**
 * Models at work, as every benchmark lets them, and ways of doing one thing that are timed in
 * turns, so that what disturbs one disturbs all.
 *
 * @module
 */

import process from "node:process";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import type { Seconds } from "../../kernels/device/time.ts";
import { forwardFlops, trainingFlops } from "../../pipeline/cost/flops.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer, type Trainer } from "../../pipeline/model/trainer.ts";
import { RATE, SETTINGS, type Size, someBatch } from "./sizes.ts";

/** Models at work: what a repetition takes, and doing some of them. */
export interface Work {
  /** Tokens: of training those of all models, of scoring those that every model reads. */
  tokens: number;
  /** FLOPs of all models. */
  flops: number;
  run(times: number): Promise<unknown>;
  close(): void;
}

/**
 * The models that work, side by side: the seeds of their weights, and what activations are stored
 * in.
 */
export interface Workers {
  seeds?: readonly number[];
  dtype?: Dtype;
}

const weightsOf = (size: Size, seeds: readonly number[]) =>
  seeds.map((seed) => initialWeights(size, seed));

/** Opens models that train; `more` are options of the trainer. */
export function training(
  gpu: Gpu,
  size: Size,
  { seeds = [0], ...more }: Workers = {},
): Work & { trainer: Trainer } {
  const { batch, context, vocabulary } = size;
  const options = { config: size, batch, length: context, settings: SETTINGS, ...more };
  const trainer = createTrainer(gpu, { ...options, start: weightsOf(size, seeds) });
  const input = someBatch(seeds.length * batch, context, vocabulary);
  return {
    trainer,
    tokens: seeds.length * batch * context,
    flops: seeds.length * trainingFlops(size, batch, context),
    async run(times) {
      for (let i = 0; i < times; i++) trainer.step(input, RATE);
      await trainer.drain();
    },
    close: () => trainer.close(),
  };
}

/** Opens models that score `batch` sequences of `length` tokens at once. */
export function scoring(
  gpu: Gpu,
  size: Size,
  { seeds = [0], batch, length = size.context, dtype }: Workers & {
    batch: number;
    length?: number;
  },
): Work {
  const scorer = createScorer(gpu, {
    config: size,
    models: weightsOf(size, seeds),
    batch,
    length,
    dtype,
  });
  return {
    tokens: batch * length,
    flops: seeds.length * forwardFlops(size, batch, length),
    run(times) {
      const { tokens, lengths } = someBatch(times * batch, length, size.vocabulary);
      return scorer.score(tokens, length, lengths);
    },
    close: scorer.close,
  };
}

/**
 * Runs every way once unmeasured and then `rounds` times, one after another; `finish` ends each
 * run, inside its time.
 */
export async function takeTurns(
  ways: Record<string, () => unknown>,
  rounds: number,
  finish = () => Promise.resolve(),
): Promise<Map<string, Seconds>> {
  const seconds = new Map(
    Object.keys(ways).map((name): [string, Seconds] => [name, { clock: [], processor: [] }]),
  );
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(ways)) {
      const before = process.cpuUsage();
      const start = performance.now();
      await run();
      await finish();
      const clock = (performance.now() - start) / 1000;
      const { user, system } = process.cpuUsage(before);
      if (round < 0) continue; // warm-up
      seconds.get(name)!.clock.push(clock);
      seconds.get(name)!.processor.push((user + system) / 1e6);
    }
  }
  return seconds;
}
