/**
 * Mixtures in which several experts answer together (method of c-BTM, Gururangan et al. 2023, arXiv
 * 2303.14177). The probability of a token is Σ_e w_e p_e; the weights come from what the text
 * before it costs every expert. Experts score one after another. So the log-probabilities of all
 * tokens under all experts are kept, for as many sequences at a time as fit a budget.
 *
 * @module
 */

import { mixingWeights, routingWindow, suitingTemperature } from "../partition/mixing.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { joinArrays } from "../rows/bytes.ts";
import { checkMix, checkTemperature, logSumExp, MIXING } from "../serving/mixing.ts";
import { settingsAmong } from "../serving/sampling.ts";
import type { Evaluation } from "./evaluation.ts";
import {
  cutRowBlocks,
  type ModelScores,
  type Routed,
  type RouteOptions,
  type RowBlock,
  type RowRange,
  rowsPerBlock,
  scoreModel,
} from "./passes.ts";
import type { Figures, SumTable } from "./tables.ts";

/** Which experts answer together. */
export interface MixOptions {
  /** How many experts answer together, 1 to E; one mixture for each of these numbers. */
  mix?: readonly number[];
  /**
   * The temperature τ, above 0, that costs are divided by before they become weights. Default: what
   * suits the partitioner.
   */
  routingTemperature?: number;
  /**
   * Adds, for each size, a mixture whose weights are computed anew after every W tokens, from the
   * last M tokens.
   */
  reroute?: number;
  /**
   * About how many log-probabilities are kept at once. Changes the memory and how often models are
   * loaded, never a result.
   */
  valuesAtOnce?: number;
}

/**
 * Mixtures to evaluate: how many experts answer together in each, ascending, and the other options.
 */
type Mixes = Pick<MixOptions, "reroute"> & { sizes: number[]; routingTemperature: number };

/**
 * Weights of the experts f64 `[E]`, which sum up to 1, for a stretch of a sequence up to so many
 * predicted tokens.
 */
type Stretch = { weights: Float64Array; end: number };

const VALUES_AT_ONCE = 2 ** 25; // how many log-probabilities are kept at once by default: 128 MiB
const ROWS_AT_ONCE = 1024; // how many sequences are mixed between two looks at the signal

/**
 * Returns the mixtures that are asked for; undefined if there are none. Throws an `InputError`
 * where a number of experts, the temperature or the number of tokens is impossible.
 */
export function listMixes(
  { mix = [], routingTemperature, reroute }: MixOptions,
  partitioner: Pick<Partitioner, "kind" | "experts">,
): Mixes | undefined {
  const sizes = mix.length === 0 ? [1] : mix;
  for (const size of sizes) {
    settingsAmong(MIXING, { mix: size, routingTemperature, reroute });
    checkMix(size, partitioner.experts);
  }
  checkTemperature(sizes, routingTemperature);
  if (mix.length === 0 && reroute === undefined) return undefined;
  routingTemperature ??= suitingTemperature(partitioner);
  return { sizes: [...new Set(sizes)].sort((a, b) => a - b), routingTemperature, reroute };
}

/**
 * Gives the NLL of a sequence in nats: −Σ log Σ_e w_e p_e over its predicted tokens, whose
 * log-probabilities `[tokens]` stand by expert from place `start` on. A token's is computed in f64;
 * the sum is rounded to f32 token by token, as a scorer's is, so that one expert alone gives its
 * scorer's bits.
 */
export function mixedNll(
  logProbability: readonly Float32Array[],
  start: number,
  stretches: readonly Stretch[],
): number {
  let [nll, token] = [0, 0];
  for (const { weights, end } of stretches) {
    const running = [...weights.keys()].filter((expert) => weights[expert] > 0);
    const logWeights = running.map((expert) => Math.log(weights[expert]));
    const terms = new Float64Array(running.length);
    for (; token < end; token++) {
      for (let i = 0; i < terms.length; i++) {
        terms[i] = logWeights[i] + logProbability[running[i]][start + token];
      }
      nll = Math.fround(nll - logSumExp(terms));
    }
  }
  return nll;
}

/**
 * Counts the tokens that experts run for. An expert that answers for a token has read all tokens
 * before it.
 */
export function tokensRun(stretches: readonly Stretch[]): number {
  const last = new Map<number, number>();
  for (const { weights, end } of stretches) {
    weights.forEach((weight, expert) => weight > 0 && last.set(expert, end));
  }
  return last.values().reduce((sum, end) => sum + end, 0);
}

/**
 * What came of one mixture: its size, and the tokens after which it is weighed anew; where M tokens
 * route, the tokens that experts ran for, and routings; the NLL of every sequence, by routing
 * prefix.
 */
type Mixed = {
  size: number;
  every?: number;
  run: number;
  routings: number;
  nll: Map<number, number[]>;
};

/** Begins a mix of so many experts, chosen anew `every` so many tokens, with no sequence yet. */
const newMix = (size: number, every: number | undefined, prefixes: readonly number[]): Mixed => ({
  size,
  every,
  run: 0,
  routings: 0,
  nll: new Map(prefixes.map((prefix) => [prefix, []])),
});

/**
 * Scores all sequences with all experts, part by part, and mixes them. Gives the mixtures, and what
 * each expert gave.
 */
export async function mixExperts(
  { sizes, routingTemperature, reroute }: Mixes,
  { routes, predicted }: Pick<Routed, "routes" | "predicted">,
  options: RouteOptions & Pick<MixOptions, "valuesAtOnce">,
  { experts, tokenizer, vocabulary }: Partitioner,
  onRows: (rows: number) => void,
): Promise<{ mixed: Mixed[]; scores: ModelScores[] }> {
  const {
    mixture,
    prefix: routingPrefix,
    sequenceLength,
    open,
    signal,
    valuesAtOnce = VALUES_AT_ONCE,
  } = options;
  const rounds = [undefined, ...reroute === undefined ? [] : [reroute]];
  const mixed = rounds.flatMap((every) =>
    sizes.map((size) =>
      newMix(size, every, every === undefined ? [...routes.keys()] : [routingPrefix])
    )
  );
  const sequences = { tokenizer, vocabulary, sequenceLength };
  const rowsOfBlock = rowsPerBlock(sequenceLength);
  const scores: ModelScores[] = [];
  const rows = Math.max(1, Math.floor(valuesAtOnce / experts / sequenceLength / rowsOfBlock)) *
    rowsOfBlock;
  for (let begin = 0; begin < predicted.length; begin += rows) {
    const end = Math.min(predicted.length, begin + rows);
    const range: RowRange = [begin, end];
    const later: number[][][] = [];
    const firsts: number[] = []; // of each sequence; the position of its first predicted token
    for await (const block of reroute ? cutRowBlocks(open(), sequences, range) : []) {
      later.push(...await laterCosts(block, reroute!, options));
      block.length.forEach((_, row) => firsts.push(Math.max(1, block.begin?.[row] ?? 0)));
      onRows(block.rows);
    }
    mixture.closePartitioner();
    const tokens: Float32Array[] = [];
    for (let expert = 0; expert < experts; expert++) {
      const values: Float32Array[] = [];
      const onTokens = (nll: Float32Array) => values.push(nll);
      const scored = await scoreModel(
        expert,
        { mixture, open, signal, range, onRows, onTokens },
        sequences,
      );
      tokens.push(joinArrays(Float32Array, values));
      const earlier = scores[expert]?.nll ?? new Float32Array();
      scores[expert] = { ...scored, nll: joinArrays(Float32Array, [earlier, scored.nll]) };
    }
    let start = 0;
    for (let row = begin; row < end; start += predicted[row++]) {
      // Lets the signal take effect.
      if (row % ROWS_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
      for (const mix of mixed) {
        const { size, every } = mix;
        for (const [prefix, nll] of mix.nll) {
          const costs = [routes.get(prefix)!.costs[row], ...every ? later[row - begin] : []];
          const stretches = costs.map((timeCosts, time): Stretch => ({
            weights: mixingWeights(timeCosts, size, routingTemperature),
            end: every
              ? Math.min(
                predicted[row],
                Math.max(0, prefix + (time + 1) * every - firsts[row - begin]),
              )
              : predicted[row],
          }));
          nll.push(mixedNll(tokens, start, stretches));
          if (prefix !== routingPrefix) continue;
          mix.run += tokensRun(stretches);
          mix.routings += stretches.length;
        }
      }
    }
  }
  return { mixed, scores };
}

/** Adds a column per mixture and prefix, and returns what gives their figures. */
export function addMixes(
  table: SumTable,
  mixes: readonly Mixed[],
  temperature: number,
  { prefix: routingPrefix, predicted }: Pick<Routed, "predicted"> & { prefix: number },
): (figures: Figures) => NonNullable<Evaluation["mixing"]> {
  const column = ({ size, every = 0 }: Mixed, prefix: number) =>
    `${size} of ${prefix} tokens, anew ${every}`;
  for (const mix of mixes) {
    for (const [prefix, nll] of mix.nll) table.add(column(mix, prefix), (row) => nll[row]);
  }
  return ({ score, perplexity, gain, gains }) => ({
    temperature,
    mixes: mixes.map((mix) => ({
      experts: mix.size,
      reroute: mix.every ?? null,
      ...score(column(mix, routingPrefix)),
      expertsPerToken: mix.run / predicted.reduce((a, b) => a + b),
      routings: mix.routings / predicted.length,
      gain: gain(column(mix, routingPrefix), "mixture"),
      gains: gains(column(mix, routingPrefix)),
      prefixes: mix.every === undefined
        ? Array.from(mix.nll.keys(), (prefix) => ({ prefix, ...perplexity(column(mix, prefix)) }))
        : [],
    })),
  });
}

/**
 * Asks about the last M tokens of a sequence at every W-th position after its prefix: costs by
 * sequence `[times][E]`.
 */
async function laterCosts(
  { tokens, sequenceLength, length }: RowBlock,
  every: number,
  { mixture, prefix, signal }: RouteOptions,
): Promise<number[][][]> {
  const times = Array.from(
    length,
    (tokens) => routingWindow(tokens - 1, prefix, every).begin / every,
  );
  const windows = times.flatMap((times, row) =>
    Array.from({ length: times }, (_, time) => {
      const begin = row * sequenceLength + (time + 1) * every;
      return Uint32Array.from(tokens.subarray(begin, begin + prefix));
    })
  );
  const routes = await mixture.routeAll(windows, prefix, [], signal);
  return times.map((times) =>
    routes.splice(0, times).map(({ scores }) => scores.map((score) => 0 - score))
  );
}
