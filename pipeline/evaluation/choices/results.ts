/** The results of a zero-shot task: the text of `zero-shot/TASK.json`. */

import * as v from "valibot";
import { count, finite, readJson, share } from "../../graph/schema.ts";
import { BASELINES } from "../baselines.ts";
import type { EvaluateOptions } from "../evaluate.ts";
import { atLeast1, SHOWN_WAYS, type Way } from "../evaluation.ts";
import type { MixOptions } from "../mix.ts";
import { METRICS } from "./tasks.ts";

/** Version of the layout. */
export const ZERO_SHOT_FORMAT = 1;

/**
 * How a question is routed: by its context, so that one expert gets all choices, or each choice by
 * context and choice.
 */
export type Routing = "context" | "choice";

/** How questions are asked. */
export interface ZeroShotOptions
  extends Pick<MixOptions, "mix" | "routingTemperature">, Pick<EvaluateOptions, "resamples"> {
  /** Folder with the data of tasks as they are published; those of our own need none. */
  data?: string;
  /**
   * Questions of a task that are asked, of each set of it where it has sets: the first ones; all
   * unless given.
   */
  limit?: number;
  /** What routes; the context unless given. */
  routing?: Routing;
}

/**
 * What answers a question: as in an evaluation, or `top-K`, the K experts together that the routing
 * prefix costs least, with weighted probabilities.
 *
 * @ignore
 */
export type ChoiceWay = Way | `top-${number}`;

/** Names the way in which so many experts answer together. */
export const topWay = (size: number): ChoiceWay => `top-${size}`;

const expertsTogether = (way: unknown) => Number(/^top-([1-9]\d*)$/.exec(String(way))?.[1] ?? 0);
const isWay = (name: unknown) =>
  SHOWN_WAYS.some((way) => way === name) || expertsTogether(name) > 0;
const WAY = v.custom<ChoiceWay>(isWay, "Expected a way of answering");

const INTERVAL = { value: finite, low: finite, high: finite };
/**
 * A metric with its standard error and the ends of its 95% bootstrap interval, over questions or
 * over the documents that these are made of. Over questions the error is that of the harness. But
 * the harness pools errors of sets where this takes the questions of all sets together.
 */
const MEASURE = v.object({ ...INTERVAL, standardError: finite });
const byMetric = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.object(v.entriesFromList(METRICS, v.optional(schema)));
/**
 * How much higher the mixture's metric is than a baseline's, with its 95% interval, both on the
 * same draws.
 */
const DIFFERENCE = v.object({
  baseline: v.picklist(BASELINES),
  metric: v.picklist(METRICS),
  ...INTERVAL,
});
/**
 * The same for so many experts that answer together, against the mixture that runs one or a
 * baseline.
 */
const MIXED = v.object({
  experts: atLeast1,
  against: v.picklist(["mixture", ...BASELINES]),
  metric: v.picklist(METRICS),
  ...INTERVAL,
});

/**
 * What a task came to.
 *
 * - Questions that were asked, and how many its data hold (`published`).
 * - Routing, and its prefix M; E.
 * - Questions that lost tokens at the left (`cut`), and the accuracy of guessing (`chance`, null
 *   without choices).
 * - Draws (`resamples`) and seed of the bootstrap.
 * - Every way's metrics, differences from every baseline, and the share of the choices that each
 *   expert gets `[E]`.
 * - Metrics and differences for each set of a task that has several.
 * - If experts answer together, the routing temperature of their weights, and their differences.
 */
const ZERO_SHOT = v.object({
  format: v.literal(ZERO_SHOT_FORMAT),
  task: v.string(),
  questions: atLeast1,
  published: count,
  routing: v.picklist(["context", "choice"] satisfies Routing[]),
  prefix: atLeast1,
  experts: atLeast1,
  cut: count,
  chance: v.nullable(share),
  resamples: count,
  seed: finite,
  ways: v.record(WAY, byMetric(MEASURE)),
  differences: v.array(DIFFERENCE),
  shares: v.array(share),
  sets: v.array(v.object({
    set: v.string(),
    questions: count,
    ways: v.record(WAY, byMetric(v.object({ value: finite, standardError: finite }))),
    differences: v.array(DIFFERENCE),
  })),
  mixing: v.optional(v.object({ temperature: finite, differences: v.array(MIXED) })),
});

/** @ignore */
export type Measure = v.InferOutput<typeof MEASURE>;
/** @ignore */
export type Difference = v.InferOutput<typeof DIFFERENCE>;
/** @ignore */
export type MixedDifference = v.InferOutput<typeof MIXED>;
/** @ignore */
export type ZeroShotResult = v.InferOutput<typeof ZERO_SHOT>;

/** Whether the mixture is better or worse than a baseline; equal if the interval holds zero. */
export type Verdict = "better" | "equal" | "worse";

/** Tells what a difference shows: if its interval holds zero, nothing. */
export function judge({ metric, low, high }: Pick<Difference, "metric" | "low" | "high">): Verdict {
  if (low <= 0 && high >= 0) return "equal";
  return low > 0 === (metric !== "perplexity") ? "better" : "worse";
}

/**
 * Lists the ways in which any of the tasks was answered, in the order in which they are printed.
 */
export function listWays(results: readonly ZeroShotResult[]): ChoiceWay[] {
  const ways = new Set(results.flatMap(({ ways }) => Object.keys(ways) as ChoiceWay[]));
  const together = [...ways].filter(expertsTogether).sort((a, b) =>
    expertsTogether(a) - expertsTogether(b)
  );
  return [...new Set<ChoiceWay>(["mixture", ...together, ...SHOWN_WAYS])].filter((way) =>
    ways.has(way)
  );
}

/** Reads a `zero-shot/TASK.json`. Throws an `InputError` where it is missing or damaged. */
export function readZeroShot(where: string): Promise<ZeroShotResult> {
  return readJson(where, ZERO_SHOT, "what a zero-shot task came to");
}
