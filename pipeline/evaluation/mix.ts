/**
 * Mixtures in which several experts answer together (method of c-BTM, Gururangan et al. 2023, arXiv
 * 2303.14177). The probability of a token is Σ_e w_e p_e; the weights come from what the text before it costs
 * every expert. Experts score one after another, so the log-probabilities of all tokens under all experts are
 * kept, for as many sequences at a time as fit a budget.
 *
 * @module
 */

import type { TokenScores } from "../model/scorer.ts";
import { mixingWeights, routingTemperatureOf, routingWindow } from "../partition/mixing.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { tokenArrayOf } from "../rows/columns.ts";
import { checkMix, checkTemperature, logSumExp, mixingOf } from "../serving/mixing.ts";
import type { Evaluation } from "./evaluation.ts";
import type { Kept, Routed, RouteOptions } from "./routes.ts";
import { type Block, blocks } from "./rows.ts";
import type { Figures, Tables } from "./tables.ts";

/** Which experts answer together. */
export interface MixOptions {
  /** How many experts answer together, 1 to E; one mixture for each of these numbers. */
  mix?: readonly number[];
  /**
   * The temperature τ, above 0: costs are divided by it before they become weights. Default: what suits the
   * partitioner.
   */
  routingTemperature?: number;
  /**
   * After every W tokens the weights are computed anew from the last M tokens. For each size one mixture that
   * does so is added.
   */
  reroute?: number;
  /**
   * About how many log-probabilities are kept at once. This changes the memory and how often models are
   * loaded, never a result.
   */
  valuesAtOnce?: number;
}

/** Mixtures to evaluate. */
export interface Mixes {
  /** How many experts answer together in each, ascending. */
  sizes: number[];
  /** The temperature that costs are divided by. */
  temperature: number;
  /** Tokens after which the weights of a second mixture of each size are computed anew. */
  reroute?: number;
  /** Log-probabilities that are kept at once, about. */
  valuesAtOnce: number;
}

/** Weights of the experts for a stretch of a sequence. */
export interface Stretch {
  /** The weights f64 `[E]`, which sum up to 1. */
  weights: Float64Array;
  /** Number of the sequence's predicted tokens at the end of the stretch. */
  end: number;
}

/** Blocks by their numbers, from `begin` to before `end`. */
export interface Part {
  /** The first. */
  begin: number;
  /** The one after the last. */
  end: number;
}

/** Mixtures while experts score. */
export interface Mixing {
  /** Parts of the sequences that all experts score before the next. */
  parts: Part[];
  /** Columns that the mixtures take. */
  columns: number;
  /** Begins a part; computes weights anew where that is asked for. */
  begin(part: Part): Promise<void>;
  /** Keeps what an expert says of the tokens of a block. */
  take(block: number, expert: number, scores: TokenScores): void;
  /** Mixes the sequences of the part and adds them to the columns from `first` on. */
  end(part: Part, add: Tables["add"], first: number): Promise<void>;
  /** Says what these columns mean; `routed` is the one of the mixture that runs one expert. */
  summarize(figures: Figures, first: number, routed: number): NonNullable<Evaluation["mixing"]>;
}

/** How many log-probabilities are kept at once by default: 128 MiB. */
const VALUES_AT_ONCE = 2 ** 25;
/** How many stretches the partitioner is asked about at once. */
const ROWS_AT_ONCE = 1024;

/**
 * Returns the mixtures that are asked for; undefined if there are none. Throws an `InputError` where a number
 * of experts, the temperature or the number of tokens is impossible.
 */
export function mixesOf(
  { mix = [], routingTemperature, reroute, valuesAtOnce = VALUES_AT_ONCE }: MixOptions,
  partitioner: Pick<Partitioner, "kind" | "experts">,
): Mixes | undefined {
  const sizes = mix.length === 0 ? [1] : mix;
  for (const size of sizes) {
    mixingOf({ mix: size, routingTemperature, reroute });
    checkMix(size, partitioner.experts);
  }
  checkTemperature(sizes, routingTemperature);
  if (mix.length === 0 && reroute === undefined) return undefined;
  return {
    sizes: [...new Set(sizes)].sort((a, b) => a - b),
    temperature: routingTemperature ?? routingTemperatureOf(partitioner),
    reroute,
    valuesAtOnce,
  };
}

/**
 * Gives the NLL of a sequence in nats: −Σ log Σ_e w_e p_e over its predicted tokens, whose log-probabilities are `[tokens, E]`. A token's is
 * computed in f64; the sum is rounded to f32 token by token, as a scorer's is, so that one expert alone gives its scorer's bits.
 */
export function mixedNll(logProbability: Float32Array, stretches: readonly Stretch[]): number {
  let [nll, token] = [0, 0];
  for (const { weights, end } of stretches) {
    const experts = weights.length;
    const running = [...weights.keys()].filter((expert) => weights[expert] > 0);
    const logWeights = running.map((expert) => Math.log(weights[expert]));
    const terms = new Float64Array(running.length);
    for (; token < end; token++) {
      for (let i = 0; i < terms.length; i++) {
        terms[i] = logWeights[i] + logProbability[token * experts + running[i]];
      }
      nll = Math.fround(nll - logSumExp(terms));
    }
  }
  return nll;
}

/**
 * Counts the tokens that experts run for. An expert that answers for a token has read all tokens before it.
 */
export function tokensRun(stretches: readonly Stretch[]): number {
  const last = new Map<number, number>();
  for (const { weights, end } of stretches) {
    weights.forEach((weight, expert) => weight > 0 && last.set(expert, end));
  }
  return last.values().reduce((sum, end) => sum + end, 0);
}

/** Prepares mixtures of routed sequences, whose costs are kept. */
export function createMixing(
  { sizes, temperature, reroute, valuesAtOnce }: Mixes,
  routed: Routed,
  { mixture, prefix, open, signal }: RouteOptions,
  partitioner: Pick<Partitioner, "experts" | "tokenizer" | "vocabulary">,
  onRows: (rows: number) => void,
): Mixing {
  const { experts } = partitioner;
  const { prefixes } = routed;
  const own = prefixes.indexOf(prefix);
  const scored = new Map<number, Scored>();
  const anew = new Map<number, Anew>();
  const mixes = [undefined, ...reroute === undefined ? [] : [reroute]].flatMap((every) =>
    sizes.map((size) => ({ size, every, run: 0, routings: 0 }))
  );
  const widths = mixes.map(({ every }) => every === undefined ? prefixes.length : 1);
  const firsts = widths.map((_, i) => widths.slice(0, i).reduce((a, b) => a + b, 0));

  /** Gives the weights of a sequence, stretch by stretch. */
  function stretchesOf(at: number, row: number, size: number, column: number, every?: number): Stretch[] {
    const { costs, predicted } = routed.blocks[at];
    const tokens = predicted[row];
    const weightsOf = (costs: Float32Array, place: number) =>
      mixingWeights(costs.subarray(place * experts, (place + 1) * experts), size, temperature);
    const weights = weightsOf(costs!, row * prefixes.length + column);
    if (every === undefined) return [{ weights, end: tokens }];
    const { starts, costs: later } = anew.get(at)!;
    // The token at position t is the predicted one number t − 1.
    const ends = (window: number) => Math.min(tokens, prefix + window * every - 1);
    return Array.from({ length: 1 + starts[row + 1] - starts[row] }, (_, window) => ({
      weights: window === 0 ? weights : weightsOf(later, starts[row] + window - 1),
      end: ends(window + 1),
    }));
  }

  return {
    parts: partsOf(routed.blocks, experts, valuesAtOnce),
    columns: widths.reduce((a, b) => a + b, 0),
    async begin(part) {
      scored.clear();
      anew.clear();
      if (reroute === undefined) return;
      const costs: RouteOptions["mixture"]["costs"] = (rows, prefixes) =>
        mixture.costs(rows, prefixes, signal);
      let at = 0;
      for await (const block of blocks(open(), partitioner)) {
        signal?.throwIfAborted();
        const number = at++;
        if (number < part.begin || number >= part.end) continue;
        anew.set(number, await routeAnew(block, prefix, reroute, partitioner, costs));
        onRows(block.rows);
      }
      mixture.closePartitioner();
    },
    take(at, expert, { starts, logProbability }) {
      const known = scored.get(at) ??
        { starts, logProbability: new Float32Array(logProbability.length * experts) };
      scored.set(at, known);
      logProbability.forEach((value, token) => known.logProbability[token * experts + expert] = value);
    },
    async end(part, add, first) {
      for (let at = part.begin; at < part.end; at++) {
        await new Promise((resolve) => setTimeout(resolve)); // lets the signal take effect
        signal?.throwIfAborted();
        const block = routed.blocks[at];
        const { starts, logProbability } = scored.get(at)!;
        for (let row = 0; row < block.rows; row++) {
          const tokens = logProbability.subarray(starts[row] * experts, starts[row + 1] * experts);
          for (const [i, mix] of mixes.entries()) {
            for (let k = 0; k < widths[i]; k++) {
              const column = mix.every === undefined ? k : own;
              const stretches = stretchesOf(at, row, mix.size, column, mix.every);
              add(block, row, first + firsts[i] + k, mixedNll(tokens, stretches));
              if (column !== own) continue;
              mix.run += tokensRun(stretches);
              mix.routings += stretches.length;
            }
          }
        }
      }
      scored.clear();
      anew.clear();
    },
    summarize({ scoreOf, gainOf, gainsOf }, first, routedColumn) {
      const sequences = routed.blocks.reduce((sum, { rows }) => sum + rows, 0);
      const tokens = routed.blocks.reduce((sum, block) => sum + tokensOf(block), 0);
      return {
        temperature,
        mixes: mixes.map(({ size, every, run, routings }, i) => {
          const column = first + firsts[i] + (every === undefined ? own : 0);
          return {
            experts: size,
            reroute: every ?? null,
            ...scoreOf(column),
            expertsPerToken: run / tokens,
            routings: routings / sequences,
            gain: gainOf(column, routedColumn),
            gains: gainsOf(column),
            prefixes: every === undefined
              ? prefixes.map((prefix, k) => {
                const { nllPerToken: _, ...score } = scoreOf(first + firsts[i] + k);
                return { prefix, ...score };
              })
              : [],
          };
        }),
      };
    },
  };
}

/** Log-probabilities of a block's predicted tokens under all experts. */
interface Scored {
  /** Where the tokens of every row start, and after the last where they end `[rows + 1]`. */
  starts: Uint32Array;
  /** Nats `[tokens, E]`. */
  logProbability: Float32Array;
}

/** What the last M tokens cost every expert, each time that weights are computed anew. */
interface Anew {
  /** Where the times of every row start, and after the last where they end `[rows + 1]`. */
  starts: Uint32Array;
  /** Costs `[times, E]`. */
  costs: Float32Array;
}

/** Asks a partitioner about the last `prefix` tokens at every `every`-th position after the prefix of each sequence. */
async function routeAnew(
  { rows, tokens, sequenceLength, length, source }: Block,
  prefix: number,
  every: number,
  { experts, vocabulary }: Pick<Partitioner, "experts" | "vocabulary">,
  costsOf: RouteOptions["mixture"]["costs"],
): Promise<Anew> {
  const starts = new Uint32Array(rows + 1);
  const begins: { row: number; begin: number }[] = [];
  for (let row = 0; row < rows; row++) {
    const last = routingWindow(length[row] - 1, prefix, every).begin;
    for (let begin = every; begin <= last; begin += every) begins.push({ row, begin });
    starts[row + 1] = begins.length;
  }
  const costs = new Float32Array(begins.length * experts);
  for (let first = 0; first < begins.length; first += ROWS_AT_ONCE) {
    const together = begins.slice(first, first + ROWS_AT_ONCE);
    const windows = new (tokenArrayOf(vocabulary))(together.length * prefix);
    together.forEach(({ row, begin }, i) => {
      const from = row * sequenceLength + begin;
      windows.set(tokens.subarray(from, from + prefix), i * prefix);
    });
    const lengths = new Uint32Array(together.length).fill(prefix);
    const labels = together.map(({ row }) => source[row]);
    const asked = { tokens: windows, sequenceLength: prefix, length: lengths, source: labels };
    costs.set(await costsOf(asked, [prefix]), first * experts);
  }
  return { starts, costs };
}

/** Counts the predicted tokens of a block. */
function tokensOf({ predicted }: Kept): number {
  return predicted.reduce((sum, tokens) => sum + tokens, 0);
}

/** Cuts blocks into parts whose log-probabilities fit the budget, or which are one block. */
function partsOf(blocks: readonly Kept[], experts: number, most: number): Part[] {
  const parts: Part[] = [];
  let values = Infinity;
  blocks.forEach((block, at) => {
    const own = experts * tokensOf(block);
    if (values + own > most) {
      parts.push({ begin: at, end: at });
      values = 0;
    }
    values += own;
    parts.at(-1)!.end = at + 1;
  });
  return parts;
}
