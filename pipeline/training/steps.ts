/** How many steps a training takes. */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";

/** What a number of steps depends on apart from the configuration. */
export interface StepCount {
  /** Sequences per step. Default: those of an expert. */
  batch?: number;
  /** Multiple of the steps of an expert, where steps are not counted by epochs. Default: 1. */
  multiple?: number;
  /** Training sequences, where they are known. */
  sequences?: number;
}

const [TOKENS, EPOCHS, BATCH] = ["expertTokens", "expertEpochs", "expertBatch"].map((name) => setting(name));

/** Counts the steps of an expert or a dense model: by tokens, by passes over its sequences, or as configured. */
export function trainingSteps(
  configuration: Configuration,
  { batch = configuration.expertBatch, multiple = 1, sequences }: StepCount = {},
): number {
  const { expertTokens: tokens, expertEpochs: epochs } = configuration;
  if (tokens > 0 && epochs > 0) {
    throw new InputError(
      say`Cannot train as only one of ${TOKENS} and ${EPOCHS} may be given: tokens is ${tokens}, epochs is ${epochs}`,
    );
  }
  if (tokens === 0 && epochs === 0) return configuration.expertSteps * multiple;
  if (epochs > 0 && sequences === undefined) {
    const none = setting("expertEpochs", 0);
    throw new InputError(
      say`Cannot count ${EPOCHS} as the number of sequences must be known: epochs is ${epochs}`,
      {
        remedy: say`name a ${setting("run")} that is tokenized, or set ${none} and ${setting("expertSteps")}`,
      },
    );
  }
  const perStep = configuration.expertBatch * configuration.sequenceLength;
  const steps = epochs > 0
    ? Math.floor(epochs * sequences! / batch)
    : Math.floor(tokens / perStep) * multiple;
  if (steps >= 1) return steps;
  const fact = epochs > 0
    ? `${epochs} epochs of ${sequences} sequences make no batch of ${batch}`
    : say`${TOKENS} is ${tokens}, a step takes ${perStep}`;
  throw new InputError(say`Cannot train as there must be at least one step: ${fact}`, {
    remedy: say`set more ${TOKENS} or ${EPOCHS}, or a smaller ${BATCH}`,
  });
}
