/**
 * Several experts that continue one text together. Their probabilities are mixed, not their logits; the
 * weights come from what the text before costs each of them.
 */

import { say, setting } from "../../kernels/errors.ts";
import { mixingWeights } from "../partition/mixing.ts";
import { integer, number, section, type Values } from "../settings/field.ts";
import type { Reader } from "./engine.ts";
import { RequestError, type Route } from "./route.ts";
import { settingsAmong } from "./sampling.ts";

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

/** An expert that continues a text, and its weight among those that do. */
export interface Answering {
  /** Its number. */
  expert: number;
  /** Its weight, above 0; the weights of all that continue the text sum up to 1. */
  weight: number;
}

/** Gives all settings, with defaults for those left out. Throws an `InputError` where one is impossible. */
export function resolveMixing(options: Partial<Values<typeof MIXING>>): Values<typeof MIXING> {
  return settingsAmong(MIXING, options);
}

/** Throws an `InputError` where more experts are to be mixed than there are. */
export function checkMix(mix: number, experts: number): void {
  if (mix <= experts) return;
  const rule = say`${setting("mix")} must be from 1 to the number of experts, ${experts}`;
  throw new RequestError(say`Cannot mix experts as ${rule}: it is ${mix}`);
}

/** Throws an `InputError` where a routing temperature is given although no mixture is of more than one expert. */
export function checkTemperature(sizes: readonly number[], routingTemperature: number | undefined): void {
  if (routingTemperature === undefined || Math.max(...sizes) > 1) return;
  const rule = say`${setting("routingTemperature")} as it belongs to experts that answer together`;
  throw new RequestError(say`Cannot use ${rule}: it is ${routingTemperature}, and none do`, {
    remedy: say`say how many with ${setting("mix")}`,
  });
}

/**
 * Reports which experts continue a text with this route, the one of the largest weight first. Experts whose
 * weight vanishes do not, nor do those in `exclude`.
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
  return all.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight || a.expert - b.expert);
}

/**
 * Reads with several readers in step, and returns the log-probabilities of the mixture in place of logits. They are
 * for the ids below `vocabulary`, which all models must have. With one reader it returns its logits for all ids.
 */
export function mixReaders(
  readers: readonly Reader[],
  weights: readonly number[],
  vocabulary: number,
): Reader {
  const [first] = readers;
  if (readers.length === 1) return first;
  return {
    capacity: Math.min(...readers.map(({ capacity }) => capacity)), // adopted experts may have longer contexts
    get length() {
      return first.length;
    },
    async read(tokens) {
      const logits = await Promise.all(readers.map((reader) => reader.read(tokens)));
      return mixLogits(logits.map((values) => values.subarray(0, vocabulary)), weights); // ids that pad are no tokens
    },
    clear() {
      for (const reader of readers) reader.clear();
    },
  };
}

/**
 * Gives log Σ_e w_e p_e f32 `[vocabulary]`, computed in f64, where p_e is the distribution of the logits
 * `[vocabulary]` of model e.
 */
export function mixLogits(logits: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const offsets = logits.map((values, model) => Math.log(weights[model]) - logSumExp(values));
  const terms = new Float64Array(logits.length);
  return logits[0].map((_, id) => {
    for (let model = 0; model < terms.length; model++) terms[model] = logits[model][id] + offsets[model];
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
