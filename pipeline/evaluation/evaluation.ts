/**
 * The results of an evaluation: the text of `evaluation.json`.
 *
 * @module
 */

import * as v from "valibot";
import { count, finite, readJson, share } from "../graph/schema.ts";
import { SHAPE } from "../training/adoption.ts";
import { BASELINES } from "./baselines.ts";

/**
 * What answers for a sequence. `mixture`: the expert that its prefix chooses. `random`: any expert,
 * as the mean of their NLLs. `oracle`: the expert with the lowest NLL of the whole sequence. The
 * others are baselines.
 *
 * @ignore
 */
export type Way = typeof WAYS[number];

/** Every way of answering, in the order of the file. */
export const WAYS = ["mixture", "random", "oracle", ...BASELINES] as const;

/** Every way of answering, in the order in which they are shown. */
export const SHOWN_WAYS: readonly Way[] = ["mixture", ...BASELINES, "oracle", "random"];

/** Version of the layout of `evaluation.json`. */
export const EVALUATION_FORMAT = 3;

const PERPLEXITY = { perplexity: finite, low: finite, high: finite };
/**
 * Fit to held-out tokens: nats per predicted token, its exponential, the ends of that one's 95%
 * bootstrap interval over documents. Also bits per byte of the text, where the tokenizer tells how
 * many bytes its tokens stand for: these compare with models of other vocabularies.
 */
const SCORE = v.object({
  nllPerToken: finite,
  bitsPerByte: v.optional(finite),
  ...PERPLEXITY,
});
/**
 * How much lower one perplexity is than another: 100 · (1 − perplexity / that of the other), with
 * its 95% interval, both on the same draws of documents.
 */
const LOWER = v.object({ percent: finite, low: finite, high: finite });
/** How much lower the mixture's perplexity is than a baseline's. */
const GAIN = v.object({ baseline: v.picklist(BASELINES), ...LOWER.entries });
export const atLeast1 = v.pipe(count, v.minValue(1));

/**
 * Held-out sequences of one source: documents (one counts where its first sequence does),
 * sequences, predicted tokens, and perplexity by way. Also the share of its sequences that goes to
 * each expert `[E]`.
 */
const SOURCE = v.object({
  source: v.string(),
  documents: count,
  sequences: count,
  tokens: count,
  bytes: v.optional(count),
  perplexity: v.object(v.entriesFromList(WAYS, v.optional(v.nullable(finite)))),
  shares: v.array(share),
});

/**
 * Held-out sequences that are routed to one expert: their share of all, predicted tokens,
 * perplexity of the expert, as part of the mixture, and of the baselines; null where nothing is
 * routed to it.
 */
const SEGMENT = v.object({
  expert: count,
  sequences: count,
  share,
  tokens: count,
  bytes: v.optional(count),
  perplexity: v.object({
    mixture: v.nullable(finite),
    ...v.entriesFromList(BASELINES, v.optional(v.nullable(finite))),
  }),
});

/**
 * The mixture where a prefix of another length routes: perplexity of the whole sequences with its
 * 95% bootstrap interval over documents. `gains` compare the mixture so routed with every baseline.
 * `agreement` is the share of the sequences that goes where M tokens send it.
 */
const PREFIX = v.object({
  prefix: atLeast1,
  ...PERPLEXITY,
  gains: v.array(GAIN),
  agreement: share,
});

const RELIABLE = { sequences: count, right: share, loss: v.nullable(finite) };
/**
 * How well a margin tells whether the choice is right. The margin is by how much the routing prefix
 * costs the chosen expert less than the second best. `right` is the share of the sequences whose
 * expert is the best in hindsight. `loss` is how much higher, on average, the NLL of the other
 * whole sequences is than that of their best expert, in nats. It is null where all are right. All
 * of this is for all sequences, and for bins of about as many sequences each whose margins lie
 * within `from` and `to`.
 */
const RELIABILITY = v.object({
  ...RELIABLE,
  bins: v.array(v.object({ from: finite, to: finite, ...RELIABLE })),
});

/**
 * A mixture in which so many experts answer together: the routing prefix gives the weights, or with
 * `reroute` W the last M tokens every W tokens. Its score; experts run per predicted token, where
 * one that answers for a token has read all before it; routings per sequence; how much lower its
 * perplexity is than that of the mixture that runs one expert, and than every baseline's; and its
 * perplexity where prefixes of other lengths give the weights (none with `reroute`).
 */
const MIX = v.object({
  experts: atLeast1,
  reroute: v.nullable(atLeast1),
  ...SCORE.entries,
  expertsPerToken: finite,
  routings: finite,
  gain: LOWER,
  gains: v.array(GAIN),
  prefixes: v.array(v.object({ prefix: count, ...PERPLEXITY })),
});

const POINT = { margin: v.nullable(finite), share, ...PERPLEXITY };
/**
 * A margin that sends a wanted share of the sequences to the dense model, and the share that it
 * sends. `unseen` says what to expect of other text: each half of the documents takes the margin
 * that the other half gives, and `gain` is how much lower the perplexity is than without fallback.
 */
const CALIBRATED = v.object({
  wanted: share,
  margin: finite,
  share,
  unseen: v.object({ share, ...PERPLEXITY, gain: LOWER }),
});

/**
 * The mixture where sequences of a margin below some value go to a dense model: the share sent, and
 * the perplexity with its interval. `chosen` is for the margin that was chosen, where one was, and
 * `calibrated` for a share that was. `curve` is over margins from none sent to all (null: all are
 * sent).
 */
const FALLBACK = v.object({
  model: v.picklist(BASELINES),
  calibrated: v.optional(CALIBRATED),
  chosen: v.optional(v.object({ ...POINT, nllPerToken: finite })),
  curve: v.array(v.object(POINT)),
});

/**
 * The same experts where another partitioner chooses, of this kind. By prefix: the perplexity, and
 * how much lower that of the run's own partitioner is (`gain`). `agreement` is the share of the
 * sequences that both send to the same expert.
 */
const ROUTED_BY = v.object({
  kind: v.string(),
  prefixes: v.array(v.object({ prefix: atLeast1, ...PERPLEXITY, gain: LOWER, agreement: share })),
});

const MODEL = { config: SHAPE, parameters: count };

/**
 * Result of {@linkcode evaluate}, what `evaluation.json` holds.
 *
 * - M (`prefix`), E (`experts`), and the widths of the `levels` of a tree.
 * - `trained`: the experts that were there where others were not. Only text that goes to them
 *   counts.
 * - Held-out documents, sequences and predicted tokens (all but the first of every sequence).
 * - Bytes in UTF-8 that the predicted tokens stand for, and those of tokens that are not predicted.
 * - Draws (`resamples`) and seed of the bootstrap, and every way's score and gains.
 * - Figures by source in the order of their labels, by expert, and by prefix (4, 8, 16, … S tokens,
 *   and M).
 * - `reliability`: what margins tell.
 * - Where they are asked for: mixtures of several experts with the routing temperature of their
 *   weights, and a fallback.
 * - Where that is asked for: the same experts chosen by another partitioner (`routedBy`).
 * - Shape and weights of an expert or baseline, of every expert that was adopted, and of a router
 *   where a partitioner has some.
 */
export const EVALUATION_SCHEMA = v.object({
  format: v.literal(EVALUATION_FORMAT),
  prefix: count,
  experts: atLeast1,
  levels: v.optional(v.array(atLeast1)),
  trained: v.optional(v.array(count)),
  documents: count,
  sequences: count,
  tokens: count,
  bytes: v.optional(count),
  unscoredBytes: v.optional(count),
  resamples: count,
  seed: finite,
  scores: v.object(v.entriesFromList(WAYS, v.optional(SCORE))),
  gains: v.array(GAIN),
  sources: v.array(SOURCE),
  segments: v.array(SEGMENT),
  prefixes: v.array(PREFIX),
  reliability: v.optional(RELIABILITY),
  mixing: v.optional(v.object({ temperature: finite, mixes: v.array(MIX) })),
  fallback: v.optional(FALLBACK),
  routedBy: v.optional(ROUTED_BY),
  models: v.object({
    ...MODEL,
    adopted: v.optional(v.array(v.object({ expert: count, ...MODEL, from: v.string() }))),
    router: v.optional(SHAPE),
    routerParameters: v.optional(count),
  }),
});

/** @ignore */
export type Score = v.InferOutput<typeof SCORE>;
/** @ignore */
export type Lower = v.InferOutput<typeof LOWER>;
/** @ignore */
export type Gain = v.InferOutput<typeof GAIN>;
/** @ignore */
export type PrefixScore = v.InferOutput<typeof PREFIX>;
/** @ignore */
export type Reliability = v.InferOutput<typeof RELIABILITY>;
/** @ignore */
export type FallbackScores = v.InferOutput<typeof FALLBACK>;
/** @ignore */
export type Evaluation = v.InferOutput<typeof EVALUATION_SCHEMA>;

/**
 * Gives a gain in positive numbers: by how much a perplexity is lower or higher, with the ends of
 * that interval.
 */
export function asPositive(
  { percent, low, high }: Lower,
): { side: "lower" | "higher"; by: number; from: number; to: number } {
  return percent < 0
    ? { side: "higher", by: -percent, from: -high, to: -low }
    : { side: "lower", by: percent, from: low, to: high };
}

/**
 * Gives the bits per byte of text that a perplexity comes to: of so many predicted tokens, which
 * stand for so many bytes.
 */
export function bitsPerByte(
  perplexity: number,
  { tokens, bytes }: { tokens: number; bytes?: number },
): number | undefined {
  return bytes ? Math.log2(perplexity) * tokens / bytes : undefined;
}

/**
 * Whether two perplexities are the same whichever documents are drawn, as those of one expert and
 * of a dense model that is its copy.
 */
export const isEqual = ({ low, high }: Pick<Lower, "low" | "high">): boolean =>
  low === 0 && high === 0;

/**
 * Writes by how much a perplexity is lower or higher, with the interval: "4.1% lower [2.0%, 6.1%]",
 * or "equal".
 */
export function gainText(gain: Lower, digits = 1): string {
  if (isEqual(gain)) return "equal";
  const { side, ...values } = asPositive(gain);
  const [by, from, to] = [values.by, values.from, values.to].map((value) =>
    `${value.toFixed(digits)}%`
  );
  return `${by} ${side} [${from}, ${to}]`;
}

/** Reads an `evaluation.json`. Throws an `InputError` where it is missing or damaged. */
export function readEvaluation(where: string): Promise<Evaluation> {
  return readJson(where, EVALUATION_SCHEMA, "an evaluation");
}
