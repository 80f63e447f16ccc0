/**
 * The mixture of a configuration, as its costs are counted: shapes, steps, and how many sequences routers
 * score.
 *
 * @module
 */

import { modelShapes } from "../model/shapes.ts";
import { kindOf } from "../partition/partitioners.ts";
import type { Configuration } from "../settings/configuration.ts";
import { trainingSteps } from "../training/steps.ts";
import type { MixtureShape } from "./flops.ts";

/** Sequences of a tokenized corpus. */
export interface CostCorpus {
  /** For training. */
  train: number;
  /** Held out. */
  test: number;
}

/** Gives the sizes that a configuration names directly. */
export function shapeOf(configuration: Configuration) {
  const { experts, prefix, sequenceLength: length, expertBatch: batch, routerBatch } = configuration;
  return { ...modelShapes(configuration), experts, length, prefix, batch, routerBatch };
}

/**
 * Gives the sizes that the FLOPs of the mixture of a configuration depend on, as it runs here. Throws an
 * `InputError` on values that do not go together.
 */
export function mixtureOf(configuration: Configuration, corpus?: CostCorpus): MixtureShape {
  const shape = shapeOf(configuration);
  const { experts, prefix, batch, routerBatch } = shape;
  // Each part is assumed to hold one E-th of the corpus.
  const steps = trainingSteps(configuration, { sequences: corpus && Math.floor(corpus.train / experts) });
  // Routers from elsewhere may be of any kind; they count as models.
  const isTrained = configuration.routers === "";
  const hasModels = !isTrained || kindOf(configuration).models === true;
  const rounds = isTrained && hasModels ? configuration.rounds : 0;
  return {
    ...shape,
    routers: hasModels ? experts : 0,
    steps,
    routerSteps: rounds * Math.floor(configuration.roundSequences / routerBatch),
    routerLength: Math.max(0, ...configuration.prefixLengths) || prefix,
    roundsScored: rounds * configuration.roundSequences * experts,
    corpusScored: corpus ? corpus.train + corpus.test : steps * batch * experts,
  };
}
