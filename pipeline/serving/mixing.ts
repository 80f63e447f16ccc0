/**
 * Where a text goes: to the expert that its prefix costs least (arXiv 2410.03529, inference),
 * without balancing, or to several that continue it together. Then their probabilities are mixed,
 * not their logits; the weights come from what the text before costs each of them.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { mixingWeights } from "../partition/mixing.ts";
import { NOT_FOLLOWED } from "../partition/partitioner.ts";
import { integer, number, section } from "../settings/field.ts";
import type { Reader } from "./engine.ts";

/**
 * How many experts continue a text together, and how they are weighted.
 *
 * @ignore Its type is inferred.
 */
export const MIXING = section("Mixing", {
  mix: integer(
    { default: 1, min: 1, max: 65_535 },
    "experts that continue the text together, their probabilities weighted; all of them are loaded",
  ),
  routingTemperature: number(
    { min: 1e-6, max: 1e6 },
    "what divides costs before they become weights of experts; without it 1, for ctbm 0.1",
  ),
  reroute: integer(
    { min: 1, max: 1_000_000 },
    "weigh experts anew after every so many tokens, by the last M ones",
  ),
});

/** What one request asks for that cannot be had, although the run that is to answer it is right. */
export class RequestError extends InputError {}

/** Where a text goes, and why. */
export interface Route {
  /** The expert. */
  expert: number;
  /** The second best, null with one expert. */
  runnerUp: number | null;
  /**
   * How much less the prefix costs the expert than the second best one: with routers, how much
   * likelier it is, in nats.
   */
  margin: number;
  /** The margin per predicted token of the prefix. */
  marginPerToken: number;
  /**
   * Minus the cost of the prefix for every expert: with routers, its log-likelihood, in nats;
   * -Infinity where a tree did not follow its branch.
   */
  scores: number[];
  /**
   * Tokens of the prefix, min(M, length); the first one is not predicted, so one alone is no
   * evidence for routers.
   */
  prefixTokens: number;
  /**
   * What a cost is called where it is one of the whole sequence, such as `squared distance`; absent
   * where costs are NLLs, in nats.
   */
  cost?: string;
}

/**
 * Finds the expert of a prefix from what it costs every expert: the least, the lower id on ties.
 * Throws an `InputError` where a cost is no number, and where all experts are in `exclude`, whose
 * ids are passed over.
 */
export function chooseRoute(
  costs: ArrayLike<number>,
  prefixTokens: number,
  exclude: readonly number[] = [],
): Route {
  const scores = Array.from(costs, (cost) => 0 - cost);
  const damaged = scores.findIndex((score) => !Number.isFinite(score));
  if (damaged >= 0) {
    const fact = `that for expert ${damaged} is ${costs[damaged]}; the partitioner is damaged`;
    throw new InputError(`Cannot route a text as it must have a cost for every expert: ${fact}`);
  }
  const ids = [...scores.keys()].filter((id) => !exclude.includes(id));
  const [expert, runnerUp = null] = ids.sort((a, b) => scores[b] - scores[a] || a - b);
  if (expert === undefined) {
    const fact = `all ${scores.length} of them are excluded`;
    throw new RequestError(`Cannot route a text as an expert must be left: ${fact}`);
  }
  const margin = runnerUp === null ? 0 : scores[expert] - scores[runnerUp];
  const marginPerToken = prefixTokens === 1 ? 0 : margin / (prefixTokens - 1);
  const followed = scores.map((score) => score > -NOT_FOLLOWED ? score : -Infinity);
  return { expert, runnerUp, margin, marginPerToken, scores: followed, prefixTokens };
}

/** An expert that continues a text, and its weight among those that do. */
export interface Answering {
  /** Its number. */
  expert: number;
  /** Its weight, above 0; the weights of all that continue the text sum up to 1. */
  weight: number;
}

/** Throws an `InputError` where more experts are to be mixed than there are. */
export function checkMix(mix: number, experts: number): void {
  if (mix <= experts) return;
  const rule = say`${setting("mix")} must be from 1 to the number of experts, ${experts}`;
  throw new RequestError(say`Cannot mix experts as ${rule}: it is ${mix}`);
}

/**
 * Throws an `InputError` where a routing temperature is given although no mixture is of more than
 * one expert.
 */
export function checkTemperature(
  sizes: readonly number[],
  routingTemperature: number | undefined,
): void {
  if (routingTemperature === undefined || Math.max(...sizes) > 1) return;
  const rule = say`${setting("routingTemperature")} as it belongs to experts that answer together`;
  throw new RequestError(say`Cannot use ${rule}: it is ${routingTemperature}, and none do`, {
    remedy: say`say how many with ${setting("mix")}`,
  });
}

/**
 * Reports which experts continue a text with this route, the one of the largest weight first.
 * Experts whose weight vanishes do not, nor do those in `exclude`.
 */
export function chooseAnswering(
  { scores }: Route,
  mix: number,
  temperature: number,
  exclude: readonly number[] = [],
): Answering[] {
  const costs = scores.map((score, expert) => exclude.includes(expert) ? Infinity : 0 - score);
  const weights = mixingWeights(costs, mix, temperature);
  const all = Array.from(weights, (weight, expert) => ({ expert, weight }));
  return all.filter(({ weight }) => weight > 0).sort((a, b) =>
    b.weight - a.weight || a.expert - b.expert
  );
}

/**
 * Reads with several readers in step, and returns the log-probabilities of the mixture in place of
 * logits. They are for the ids below `vocabulary`, which all models must have. With one reader it
 * returns its logits for all ids.
 */
export function mixReaders(
  readers: readonly Reader[],
  weights: readonly number[],
  vocabulary: number,
): Reader {
  const [first] = readers;
  if (readers.length === 1) return first;
  return {
    // Adopted experts may have longer contexts.
    capacity: Math.min(...readers.map(({ capacity }) => capacity)),
    get length() {
      return first.length;
    },
    async read(tokens) {
      const logits = await Promise.all(readers.map((reader) => reader.read(tokens)));
      // Ids that pad are no tokens.
      return mixLogits(logits.map((values) => values.subarray(0, vocabulary)), weights);
    },
    clear() {
      for (const reader of readers) reader.clear();
    },
  };
}

/**
 * Gives log Σ_e w_e p_e f32 `[vocabulary]`, computed in f64, where p_e is the distribution of the
 * logits `[vocabulary]` of model e.
 */
export function mixLogits(
  logits: readonly Float32Array[],
  weights: readonly number[],
): Float32Array {
  const offsets = logits.map((values, model) => Math.log(weights[model]) - logSumExp(values));
  const terms = new Float64Array(logits.length);
  return logits[0].map((_, id) => {
    for (let model = 0; model < terms.length; model++) {
      terms[model] = logits[model][id] + offsets[model];
    }
    return logSumExp(terms);
  });
}

/** Gives log Σ exp of values, in f64; NaN where one is. */
export function logSumExp(values: Float32Array | Float64Array): number {
  let most = -Infinity;
  for (const value of values) most = Math.max(most, value); // NaN stays
  let sum = 0;
  for (const value of values) sum += Math.exp(value - most);
  return most + Math.log(sum);
}
