/** How many steps a training takes, and the learning rate of each; the first step is 1. */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";

/**
 * Linear warm-up from 0, then constant: the routers' schedule, which needs no number of steps
 * beforehand.
 */
export function constantRate(
  step: number,
  { rate, warmup }: { rate: number; warmup: number },
): number {
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

/**
 * Linear warm-up from 0, then half a cosine down to `final · rate` at the last step: the experts'
 * schedule.
 */
export function cosineRate(step: number, { rate, warmup, steps, final }: CosineSchedule): number {
  if (step <= warmup) return rate * step / warmup;
  const done = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  return rate * (final + (1 - final) * (1 + Math.cos(Math.PI * done)) / 2);
}

const WARMUP = setting("expertWarmup");

const LONGEST = 1 / 4; // largest share of the steps that a warm-up should take

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
  return say`${name} warms up for ${warmup} steps and trains for ${steps}: ${why}; \
give a smaller ${WARMUP} or more steps`;
}

/** What a number of steps depends on apart from the configuration. */
interface StepCount {
  /** Sequences per step. Default: those of an expert. */
  batch?: number;
  /** Multiple of the steps of an expert, where steps are not counted by epochs. Default: 1. */
  multiple?: number;
  /** Training sequences, where they are known. */
  sequences?: number;
  /** Steps where tokens or epochs make fewer. Default: there must be one. */
  least?: number;
}

const [TOKENS, EPOCHS, BATCH] = ["expertTokens", "expertEpochs", "expertBatch"].map((name) =>
  setting(name)
);

/**
 * Counts the steps of an expert or a dense model: by tokens, by passes over its sequences, or as
 * configured.
 */
export function trainingSteps(
  configuration: Configuration,
  { batch = configuration.expertBatch, multiple = 1, sequences, least = 0 }: StepCount = {},
): number {
  const { expertTokens: tokens, expertEpochs: epochs } = configuration;
  if (tokens > 0 && epochs > 0) {
    throw new InputError(
      say`Cannot train as only one of ${TOKENS} and ${EPOCHS} may be given: \
tokens is ${tokens}, epochs is ${epochs}`,
    );
  }
  if (tokens === 0 && epochs === 0) return configuration.expertSteps * multiple;
  if (epochs > 0 && sequences === undefined) {
    const none = setting("expertEpochs", 0);
    throw new InputError(
      say`Cannot count ${EPOCHS} as the number of sequences must be known: epochs is ${epochs}`,
      {
        remedy: say`name a ${setting("run")} that is tokenized, or set ${none} and ${
          setting("expertSteps")
        }`,
      },
    );
  }
  const perStep = configuration.expertBatch * configuration.sequenceLength;
  const steps = epochs > 0
    ? Math.floor(epochs * sequences! / batch)
    : Math.floor(tokens / perStep) * multiple;
  if (steps >= 1 || least >= 1) return Math.max(steps, least);
  const fact = epochs > 0
    ? `${epochs} epochs of ${sequences} sequences make no batch of ${batch}`
    : say`${TOKENS} is ${tokens}, a step takes ${perStep}`;
  throw new InputError(say`Cannot train as there must be at least one step: ${fact}`, {
    remedy: say`set more ${TOKENS} or ${EPOCHS}, or a smaller ${BATCH}`,
  });
}
