/**
 * Counts FLOPs of models and of a mixture, by the equations of the paper's section "Computational
 * cost".
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { chooseSublayers, type ModelConfig } from "../model/shape.ts";

/** Counts the FLOPs of one forward pass over `sequences` of `length` tokens each. */
export function forwardFlops(model: ModelConfig, sequences: number, length: number): number {
  const [tokens, { vocabulary, hidden }] = [sequences * length, model];
  const layers = layersFlops(model, sequences, length);
  return tokens * hidden + layers + 2 * tokens * hidden * vocabulary + 3 * tokens * vocabulary;
}

/** Counts the FLOPs of the part of a forward pass that recomputation repeats. */
export function layersFlops(model: ModelConfig, sequences: number, length: number): number {
  const ofLayer = chooseSublayers(model).map((sublayer) =>
    sublayer.flops(model, sequences, length)
  );
  return model.layers * ofLayer.reduce((sum, flops) => sum + flops, 0);
}

/** Counts the FLOPs of one training step: forward, and twice that backward. */
export function trainingFlops(model: ModelConfig, sequences: number, length: number): number {
  return 3 * forwardFlops(model, sequences, length);
}

const WIDE = 64; // width from which on models reach what a device is measured to reach
// Width at which a model would reach half of what a very wide one does, on a processor.
const HALF = 60;

/**
 * Gives the FLOPs of a model of width {@link WIDE} that take as long as `flops` of this one. Narrow
 * models reach less of a processor: kernels/NOTES.md has what was measured. Of GPUs nothing is
 * known.
 */
export function slowedFlops(
  flops: number,
  { hidden }: Pick<ModelConfig, "hidden">,
  kind?: AdapterKind,
): number {
  const reached = (width: number) => width / (width + HALF);
  return kind === "gpu" || hidden >= WIDE ? flops : flops * reached(WIDE) / reached(hidden);
}

/** Lists the share of a device's speed that narrow models reach, a line for each width. */
export function narrowNotes(
  models: readonly Pick<ModelConfig, "hidden">[],
  kind?: AdapterKind,
): string[] {
  const widths = [...new Set(models.map(({ hidden }) => hidden))].sort((a, b) => a - b);
  return widths.flatMap((hidden) => {
    const slower = slowedFlops(1, { hidden }, kind);
    const reached = `${(100 / slower).toFixed(0)}% of the FLOP/s of one of width ${WIDE}`;
    return slower > 1 ? [`a model of width ${hidden} reaches ${reached}`] : [];
  });
}

/**
 * What the FLOPs of a mixture depend on, with the paper's symbols.
 *
 * - Experts E, and routers (as many, or none where text is split without models), with their
 *   shapes.
 * - Tokens of a sequence S (`length`) and of the routing `prefix` M.
 * - Training steps and batch B of an expert and of a router.
 * - `routerLength`: tokens of a router's training sequences (M in this project, S as the paper
 *   counts).
 * - `passes`: those that route a sequence, fewer than routers in a tree; of these so many may be on
 *   the device together (`onDevice`).
 * - The sequences that take so many passes while routers train (`roundsScored`) and to shard the
 *   corpus for the experts (`corpusScored`).
 */
export type MixtureShape =
  & Record<"expert" | "router", ModelConfig>
  & Record<"experts" | "routers" | "length" | "prefix" | "steps" | "batch", number>
  & { passes?: number; onDevice?: number }
  & Record<
    "routerSteps" | "routerBatch" | "routerLength" | "roundsScored" | "corpusScored",
    number
  >;

/**
 * FLOPs of a mixture: training of all `experts` and of all routers, and scoring for the routers'
 * rounds and for the experts' text. `overhead` is all of these but the experts' training, and
 * `total` is all of it. `dense` is training of the dense model that sees as many tokens.
 * `inference` is one sequence through one expert, which is what the dense model takes.
 * `inferenceOverhead` is its prefix through all routers. What is split without models counts as
 * free.
 */
export type MixtureFlops =
  & Record<
    "experts" | "trainRouters" | "shardForRouters" | "shardForExperts" | "overhead" | "total",
    number
  >
  & Record<"dense" | "inference" | "inferenceOverhead", number>;

/** Counts the FLOPs of a mixture: the paper's equations of section "Computational cost". */
export function mixtureFlops(mixture: MixtureShape): MixtureFlops {
  const { expert, experts: count, router, routers, passes = routers, length, batch, steps } =
    mixture;
  const scoring = forwardFlops(router, 1, mixture.prefix) * passes;
  const experts = steps * trainingFlops(expert, batch, length) * count;
  const { routerSteps, routerBatch, routerLength } = mixture;
  const trainRouters = routerSteps * trainingFlops(router, routerBatch, routerLength) * routers;
  const shardForRouters = mixture.roundsScored * scoring;
  const shardForExperts = mixture.corpusScored * scoring;
  const overhead = trainRouters + shardForRouters + shardForExperts;
  return {
    experts,
    trainRouters,
    shardForRouters,
    shardForExperts,
    overhead,
    total: experts + overhead,
    dense: steps * trainingFlops(expert, batch * count, length),
    inference: forwardFlops(expert, 1, length),
    inferenceOverhead: scoring,
  };
}
