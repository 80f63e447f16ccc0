/**
 * The results of an evaluation: the text of `evaluation.json`.
 *
 * @module
 */

import * as v from "valibot";
import { count, finite, readJson, share } from "../run/schema.ts";
import type { Vouched } from "../run/vouched.ts";
import { BASELINES } from "./baselines.ts";

/**
 * What answers for a sequence: the expert that its prefix chooses, any expert (the mean of their NLLs), the expert with the
 * lowest NLL of the whole sequence, or a baseline.
 *
 * @ignore
 */
export type Way = typeof WAYS[number];

const WAYS = ["mixture", "random", "oracle", ...BASELINES] as const;

/** Every way of answering, in the order in which they are shown. */
export const TOLD_WAYS: readonly Way[] = ["mixture", ...BASELINES, "oracle", "random"];

/**
 * Version of the layout of `evaluation.json`. Older ones are read too: 2 has no reliability, 1 also no gains
 * by prefix.
 */
export const EVALUATION_FORMAT = 3;

const PERPLEXITY = { perplexity: finite, low: finite, high: finite };
const SCORE = v.object({ nllPerToken: finite, ...PERPLEXITY });
const LOWER = { percent: finite, low: finite, high: finite };
const GAIN = v.object({ baseline: v.picklist(BASELINES), ...LOWER });

const SOURCE = v.object({
  source: v.string(),
  documents: count,
  sequences: count,
  tokens: count,
  perplexity: v.object(v.entriesFromList(WAYS, v.optional(v.nullable(finite)))),
  shares: v.array(share),
});

const SEGMENT = v.object({
  expert: count,
  sequences: count,
  share,
  tokens: count,
  perplexity: v.object({
    mixture: v.nullable(finite),
    ...v.entriesFromList(BASELINES, v.optional(v.nullable(finite))),
  }),
});

const PREFIX = v.object({
  prefix: v.pipe(count, v.minValue(1)),
  ...PERPLEXITY,
  gains: v.optional(v.array(GAIN), []),
  agreement: share,
});

const RELIABILITY = {
  sequences: count,
  right: share,
  loss: v.nullable(finite),
};

const MIX = v.object({
  experts: v.pipe(count, v.minValue(1)),
  reroute: v.nullable(v.pipe(count, v.minValue(1))),
  ...SCORE.entries,
  expertsPerToken: finite,
  routings: finite,
  gain: v.object(LOWER),
  gains: v.array(GAIN),
  prefixes: v.array(v.object({ prefix: count, ...PERPLEXITY })),
});

const FALLBACK_POINT = { margin: v.nullable(finite), share, ...PERPLEXITY };

const ROUTED_BY = v.object({
  kind: v.string(),
  prefixes: v.array(v.object({
    prefix: v.pipe(count, v.minValue(1)),
    ...PERPLEXITY,
    gain: v.object({ percent: finite, low: finite, high: finite }),
    agreement: share,
  })),
});

const SHAPE = v.object({
  vocabulary: count,
  hidden: count,
  layers: count,
  heads: count,
  context: count,
  sublayers: v.optional(v.pipe(v.array(v.string()), v.readonly())),
  untied: v.optional(v.literal(true)),
});

/** The schema of an {@linkcode Evaluation}. */
export const EVALUATION = v.object({
  format: v.picklist([1, 2, EVALUATION_FORMAT]),
  prefix: count,
  experts: v.pipe(count, v.minValue(1)),
  trained: v.optional(v.array(count)),
  documents: count,
  sequences: count,
  tokens: count,
  resamples: count,
  seed: finite,
  scores: v.object(v.entriesFromList(WAYS, v.optional(SCORE))),
  gains: v.array(GAIN),
  sources: v.array(SOURCE),
  segments: v.array(SEGMENT),
  prefixes: v.array(PREFIX),
  reliability: v.optional(v.object({
    ...RELIABILITY,
    bins: v.array(v.object({ from: finite, to: finite, ...RELIABILITY })),
  })),
  mixing: v.optional(v.object({ temperature: finite, mixes: v.array(MIX) })),
  fallback: v.optional(v.object({
    model: v.picklist(BASELINES),
    chosen: v.optional(v.object({ ...FALLBACK_POINT, nllPerToken: finite })),
    curve: v.array(v.object(FALLBACK_POINT)),
  })),
  routedBy: v.optional(ROUTED_BY),
  models: v.object({
    config: SHAPE,
    parameters: count,
    adopted: v.optional(
      v.array(v.object({ expert: count, config: SHAPE, parameters: count, from: v.string() })),
    ),
    router: v.optional(SHAPE),
    routerParameters: v.optional(count),
  }),
});

/**
 * Fit to held-out tokens: nats per predicted token, its exponential, the ends of that one's 95% bootstrap interval over documents.
 *
 * @ignore
 */
export type Score = v.InferOutput<typeof SCORE>;
/**
 * How much lower the mixture's perplexity is than a baseline's: 100 · (1 − perplexity of the mixture / perplexity of the baseline),
 * with its 95% interval, both models on the same draws of documents.
 *
 * @ignore
 */
export type Gain = v.InferOutput<typeof GAIN>;
/**
 * Held-out sequences of one source: documents (one counts where its first sequence does), sequences, predicted tokens, perplexity
 * by way, and the share of its sequences that goes to each expert `[E]`.
 *
 * @ignore
 */
export type SourceScore = v.InferOutput<typeof SOURCE>;
/**
 * Held-out sequences that are routed to one expert: their share of all, predicted tokens, perplexity of the expert, as part of the
 * mixture, and of the baselines; null where nothing is routed to it.
 *
 * @ignore
 */
export type Segment = v.InferOutput<typeof SEGMENT>;
/**
 * The mixture where a prefix of another length routes: perplexity of the whole sequences with its 95% bootstrap interval over
 * documents, the mixture so routed against every baseline, the share of the sequences that goes where M tokens send it.
 *
 * @ignore
 */
export type PrefixScore = v.InferOutput<typeof PREFIX>;
/**
 * The same experts where another partitioner chooses: its kind, and by prefix the perplexity of the whole sequences with its 95%
 * bootstrap interval over documents, how much lower that of the run's own partitioner is, in percent, on the same draws, and the share
 * of the sequences that both send to the same expert.
 *
 * @ignore
 */
export type RoutedBy = v.InferOutput<typeof ROUTED_BY>;
/**
 * How well a margin, by which the routing prefix costs the chosen expert less than the second best, tells whether the choice is right:
 * sequences, the share of them whose expert is the best in hindsight, and how much higher the NLL of the others' whole sequences is on
 * average than their best expert's, in nats (null where all are right); for all, and for bins of about as many sequences each whose margins
 * lie within `from` and `to`.
 *
 * @ignore
 */
export type Reliability = NonNullable<Evaluation["reliability"]>;
/**
 * A mixture in which so many experts answer together, their probabilities weighted: the routing prefix says the weights, or with `reroute`
 * W the last M tokens every W tokens. Its score; experts run per predicted token, where one that answers for a token has read all before
 * it; routings per sequence; how much lower its perplexity is than that of the mixture that runs one expert, and than every baseline's,
 * in percent, on the same draws; and its perplexity where prefixes of other lengths say the weights (none with `reroute`).
 *
 * @ignore
 */
export type Mix = v.InferOutput<typeof MIX>;
/**
 * The mixture where sequences of a margin below some value go to a dense model: the share sent and the perplexity with its interval, for the
 * `chosen` margin where one was, and as a curve over margins from none sent to all (a margin of null sends all).
 *
 * @ignore
 */
export type Fallback = NonNullable<Evaluation["fallback"]>;
/**
 * Result of {@linkcode evaluate}, what `evaluation.json` holds: M, E, the experts that were there where others were not (only text
 * that goes to them counts), held-out documents, sequences and predicted tokens (all but
 * the first of every sequence); draws and seed of the bootstrap; every way's score (baselines where there are some), gains against
 * every baseline; by source in the order of their labels, by expert, by prefix (4, 8, 16, … S tokens, and M); what margins tell;
 * mixtures of several experts, with the routing temperature of their weights, a fallback, and the same experts chosen by another
 * partitioner, where they are asked for; shape and
 * weights of an expert or baseline, of every expert that was adopted, and of a router where a partitioner has some.
 *
 * @ignore
 */
export type Evaluation = v.InferOutput<typeof EVALUATION>;

/** Finds the row of so many tokens in figures by routing prefix; undefined where such a prefix was not measured. */
export function atPrefix<Row extends { prefix: number }>(
  { prefixes }: { prefixes: readonly Row[] },
  tokens: number,
): Row | undefined {
  return prefixes.find(({ prefix }) => prefix === tokens);
}

/** How much lower one perplexity is than another on the same draws of documents, in percent, with its 95% interval. */
export interface Lower {
  /** 100 · (1 − perplexity / that of the other). */
  percent: number;
  /** Lower end of the interval. */
  low: number;
  /** Upper end of the interval. */
  high: number;
}

/**
 * Gives a gain in positive numbers: by how much the perplexity of the mixture is lower or higher, with the
 * ends of that interval.
 */
export function sideOf(
  { percent, low, high }: Lower,
): { side: "lower" | "higher"; by: number; from: number; to: number } {
  return percent < 0
    ? { side: "higher", by: -percent, from: -high, to: -low }
    : { side: "lower", by: percent, from: low, to: high };
}

/** Whether two perplexities are the same whichever documents are drawn, as those of one expert and of a dense model that is its copy. */
export const isEqual = ({ low, high }: Pick<Lower, "low" | "high">): boolean => low === 0 && high === 0;

/** Writes by how much a perplexity is lower or higher, with the interval: "4.1% lower [2.0%, 6.1%]", or "equal". */
export function gainText(gain: Lower): string {
  if (isEqual(gain)) return "equal";
  const { side, by, from, to } = sideOf(gain);
  return `${by.toFixed(1)}% ${side} [${from.toFixed(1)}%, ${to.toFixed(1)}%]`;
}

/** Reads an `evaluation.json`. Throws an `InputError` where it is missing or damaged. */
export function readEvaluation(where: string, vouched?: Vouched): Promise<Evaluation> {
  return readJson(where, EVALUATION, "an evaluation", vouched);
}
