/** The weights of experts that answer together, and the tokens that they are computed from. */

import type { Partitioner } from "./partitioner.ts";
import { PARTITIONERS } from "./partitioners.ts";

/** Returns the routing temperature τ that suits a partitioner's costs. */
export function suitingTemperature({ kind }: Pick<Partitioner, "kind">): number {
  return PARTITIONERS.get(kind)?.routingTemperature ?? 1;
}

/**
 * Gives the weight of every expert f64 `[E]` from its cost: w_e ∝ exp(−cost_e / τ). The `most`
 * largest weights are kept and sum up to 1, of equal ones those with lower ids; `most` = 1 is
 * routing. Of NLLs in nats, τ = 1 gives the posterior of the experts.
 */
export function mixingWeights(
  costs: ArrayLike<number>,
  most: number,
  temperature: number,
): Float64Array {
  const ids = Array.from(costs, (_, expert) => expert).sort((a, b) => costs[a] - costs[b] || a - b);
  const weights = new Float64Array(costs.length);
  let total = 0;
  for (const expert of ids.slice(0, most)) {
    total += weights[expert] = Math.exp((costs[ids[0]] - costs[expert]) / temperature);
  }
  return weights.map((weight) => weight / total);
}

/**
 * Gives the tokens that the weights for the token at `position` are computed from: the first M,
 * `prefix`. Where weights are computed anew every W tokens, `every`, they are the last M before
 * position M + W, M + 2W and so on.
 */
export function routingWindow(
  position: number,
  prefix: number,
  every = Infinity,
): { begin: number; end: number } {
  const begin = position < prefix + every ? 0 : Math.floor((position - prefix) / every) * every;
  return { begin, end: begin + prefix };
}
