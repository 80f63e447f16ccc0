/**
 * Counts FLOPs of models and of a mixture, by the equations of the paper's section "Computational cost".
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { ModelConfig } from "../model/shape.ts";
import { layerOf } from "../model/sublayers/layer.ts";

/** Counts the FLOPs of one forward pass over `sequences` of `length` tokens each. */
export function forwardFlops(model: ModelConfig, sequences: number, length: number): number {
  const [tokens, { vocabulary, hidden }] = [sequences * length, model];
  const layers = layersFlops(model, sequences, length);
  return tokens * hidden + layers + 2 * tokens * hidden * vocabulary + 3 * tokens * vocabulary;
}

/** Counts the FLOPs of the part of a forward pass that recomputation repeats. */
export function layersFlops(model: ModelConfig, sequences: number, length: number): number {
  const ofLayer = layerOf(model).map((sublayer) => sublayer.flops(model, sequences, length));
  return model.layers * ofLayer.reduce((sum, flops) => sum + flops, 0);
}

/** Counts the FLOPs of one training step: forward, and twice that backward. */
export function trainingFlops(model: ModelConfig, sequences: number, length: number): number {
  return 3 * forwardFlops(model, sequences, length);
}

/** Width from which on models reach what a device is measured to reach. */
const WIDE = 64;
/** Width at which a model would reach half of what a very wide one does, on a processor. */
const HALF = 60;

/**
 * Gives the FLOPs of a model of width {@link WIDE} that take as long as `flops` of this one. Narrow models reach
 * less of a processor: kernels/NOTES.md has what was measured. Of GPUs nothing is known.
 */
export function slowedFlops(
  flops: number,
  { hidden }: Pick<ModelConfig, "hidden">,
  kind?: AdapterKind,
): number {
  const reached = (width: number) => width / (width + HALF);
  return kind === "gpu" || hidden >= WIDE ? flops : flops * reached(WIDE) / reached(hidden);
}

/** Says what narrow models among these reach, a line for each width. */
export function narrowNotes(models: readonly Pick<ModelConfig, "hidden">[], kind?: AdapterKind): string[] {
  const widths = [...new Set(models.map(({ hidden }) => hidden))].sort((a, b) => a - b);
  return widths.flatMap((hidden) => {
    const slower = slowedFlops(1, { hidden }, kind);
    const reached = `${(100 / slower).toFixed(0)}% of the FLOP/s of one of width ${WIDE}`;
    return slower > 1 ? [`a model of width ${hidden} reaches ${reached}`] : [];
  });
}

/** What the FLOPs of a mixture depend on. Symbols in brackets are those of the paper. */
export interface MixtureShape {
  /** Experts `[E]`. */
  experts: number;
  /** Routers: as many as experts, or none where text is split without models. */
  routers: number;
  /** Shape of an expert. */
  expert: ModelConfig;
  /** Shape of a router. */
  router: ModelConfig;
  /** Tokens of a sequence `[S]`. */
  length: number;
  /** Tokens of the routing prefix `[M]`. */
  prefix: number;
  /** Training steps of an expert. */
  steps: number;
  /** Sequences in an expert's batch `[B]`. */
  batch: number;
  /** Training steps of a router. */
  routerSteps: number;
  /** Sequences in a router's batch `[B_r]`. */
  routerBatch: number;
  /** Tokens of a training sequence of a router: M in this project, S as the paper counts. */
  routerLength: number;
  /** Sequences that every router scores while routers train. */
  roundsScored: number;
  /** Sequences that every router scores to shard the corpus for the experts. */
  corpusScored: number;
}

/** FLOPs of a mixture and of the dense model that sees as many tokens. */
export interface MixtureFlops {
  /** Training of all experts. */
  experts: number;
  /** Training of all routers. */
  trainRouters: number;
  /** Scoring for the routers' rounds. */
  shardForRouters: number;
  /** Scoring of the corpus, to shard it for the experts. */
  shardForExperts: number;
  /** What the mixture costs beyond its experts: the sum of the three above. */
  overhead: number;
  /** Experts and overhead. */
  total: number;
  /** Training of the dense baseline: the expert's model on the tokens of all experts. */
  dense: number;
  /** One sequence through one expert, which is what the dense model takes. */
  inference: number;
  /** The prefix of one sequence through all routers. What is split without models counts as free. */
  inferenceOverhead: number;
}

/** Counts the FLOPs of a mixture: the paper's equations of section "Computational cost". */
export function mixtureFlops(mixture: MixtureShape): MixtureFlops {
  const { expert, experts: count, router, routers, length, batch, steps } = mixture;
  const scoring = forwardFlops(router, 1, mixture.prefix) * routers;
  const experts = steps * trainingFlops(expert, batch, length) * count;
  const { routerSteps, routerBatch, routerLength } = mixture;
  const trainRouters = routerSteps * trainingFlops(router, routerBatch, routerLength) * routers;
  const shardForRouters = mixture.roundsScored * scoring;
  const shardForExperts = mixture.corpusScored * scoring;
  const overhead = trainRouters + shardForRouters + shardForExperts;
  return {
    ...{ experts, trainRouters, shardForRouters, shardForExperts, overhead },
    total: experts + overhead,
    dense: steps * trainingFlops(expert, batch * count, length),
    inference: forwardFlops(expert, 1, length),
    inferenceOverhead: scoring,
  };
}
