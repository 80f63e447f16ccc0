/**
 * The weights of experts that answer together. They come from what a text costs every expert. Where they are
 * computed anew on the way, also the tokens that they are computed from.
 */

import type { Partitioner } from "./partitioner.ts";
import { PARTITIONERS } from "./partitioners.ts";

/** Gives the routing temperature τ that suits a partitioner's costs. */
export function routingTemperatureOf({ kind }: Pick<Partitioner, "kind">): number {
  return PARTITIONERS.get(kind)?.routingTemperature ?? 1;
}

/**
 * Gives the weight of every expert f64 `[E]` from its cost: w_e ∝ exp(−cost_e / τ). The `most` largest
 * weights are kept and sum up to 1; all others are 0. Of equal ones those with lower ids are kept, as in
 * routing, which is the case `most` = 1. Where costs are NLLs in nats, τ is 1 and all are kept, the weights
 * are the posterior of the experts.
 */
export function mixingWeights(costs: ArrayLike<number>, most: number, temperature: number): Float64Array {
  const ids = Array.from(costs, (_, expert) => expert).sort((a, b) => costs[a] - costs[b] || a - b);
  const weights = new Float64Array(costs.length);
  let total = 0;
  for (const expert of ids.slice(0, most)) {
    total += weights[expert] = Math.exp((costs[ids[0]] - costs[expert]) / temperature);
  }
  return weights.map((weight) => weight / total);
}

/**
 * Gives the tokens that the weights for the token at `position` are computed from: those of the routing
 * prefix of `prefix` tokens, M. Where weights are computed anew every `every` tokens, W, they are the last M
 * tokens before position M + W, M + 2W and so on.
 */
export function routingWindow(
  position: number,
  prefix: number,
  every = Infinity,
): { begin: number; end: number } {
  const begin = position < prefix + every ? 0 : Math.floor((position - prefix) / every) * every;
  return { begin, end: begin + prefix };
}
