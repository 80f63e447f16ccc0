/** The results of a zero-shot task: the text of `zero-shot/TASK.json`. */

import * as v from "valibot";
import { count, finite, readJson, share } from "../../run/schema.ts";
import type { Vouched } from "../../run/vouched.ts";
import { BASELINES } from "../baselines.ts";
import { type Way } from "../evaluation.ts";
import { METRICS } from "./tasks.ts";

/** Version of the layout. */
export const ZERO_SHOT_FORMAT = 1;

/**
 * How a question is routed: by its context, so that one expert gets all choices, or each choice by context
 * and choice.
 */
export type Routing = "context" | "choice";

const WAYS: readonly Way[] = ["mixture", "random", "oracle", ...BASELINES];

const INTERVAL = { value: finite, low: finite, high: finite };
const MEASURE = v.object({ ...INTERVAL, standardError: finite });
const MEASURES = v.object(v.entriesFromList(METRICS, v.optional(MEASURE)));
const DIFFERENCE = v.object({ baseline: v.picklist(BASELINES), metric: v.picklist(METRICS), ...INTERVAL });
const byWay = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.object(v.entriesFromList(WAYS, v.optional(schema)));

const SET = v.object({
  set: v.string(),
  questions: count,
  ways: byWay(
    v.object(v.entriesFromList(METRICS, v.optional(v.object({ value: finite, standardError: finite })))),
  ),
  differences: v.array(DIFFERENCE),
});

const ZERO_SHOT = v.object({
  format: v.literal(ZERO_SHOT_FORMAT),
  task: v.string(),
  questions: v.pipe(count, v.minValue(1)),
  published: count,
  fewShot: count,
  routing: v.picklist(["context", "choice"] satisfies Routing[]),
  prefix: v.pipe(count, v.minValue(1)),
  experts: v.pipe(count, v.minValue(1)),
  cut: count,
  chance: v.nullable(share),
  resamples: count,
  seed: finite,
  ways: byWay(MEASURES),
  differences: v.array(DIFFERENCE),
  shares: v.array(share),
  sets: v.array(SET),
});

/**
 * A metric with its standard error, as the harness gives it, and the ends of its 95% bootstrap interval over questions.
 *
 * @ignore
 */
export type Measure = v.InferOutput<typeof MEASURE>;
/**
 * How much higher the mixture's metric is than a baseline's, with its 95% interval, both on the same draws of questions.
 *
 * @ignore
 */
export type Difference = v.InferOutput<typeof DIFFERENCE>;
/**
 * What a task came to: questions that were asked, and how many its data hold; examples before each; routing, and its prefix M; E;
 * questions that lost tokens at the left; the accuracy of guessing (null without choices); draws and seed of the bootstrap; every
 * way's metrics, differences from every baseline, the share of the choices that each expert gets `[E]`, and the same for each set of
 * a task that has several.
 *
 * @ignore
 */
export type ZeroShotResult = v.InferOutput<typeof ZERO_SHOT>;

/** Whether the mixture is better or worse than a baseline; equal if the interval holds zero. */
export type Verdict = "better" | "equal" | "worse";

/** Says what a difference shows: if its interval holds zero, nothing. */
export function verdictOf({ metric, low, high }: Difference): Verdict {
  if (low <= 0 && high >= 0) return "equal";
  return low > 0 === (metric !== "perplexity") ? "better" : "worse";
}

/** Reads a `zero-shot/TASK.json`. Throws an `InputError` where it is missing or damaged. */
export function readZeroShot(where: string, vouched?: Vouched): Promise<ZeroShotResult> {
  return readJson(where, ZERO_SHOT, "what a zero-shot task came to", vouched);
}
