/** The results of a zero-shot task: the text of `zero-shot/TASK.json`, and the form in which the LM Evaluation Harness writes them. */

import * as v from "valibot";
import { jsonText, writeAtomic } from "../../run/files.ts";
import { count, finite, readJson, share } from "../../run/schema.ts";
import { BASELINES } from "../baselines.ts";
import { SHOWN_WAYS, type Way } from "../evaluation.ts";
import { type Metric, METRICS } from "./tasks.ts";

/** Version of the layout. */
export const ZERO_SHOT_FORMAT = 1;

/** How a question is routed: by its context, so that one expert gets all choices, or each choice by context and choice. */
export type Routing = "context" | "choice";

/** How questions are asked. */
export interface ZeroShotOptions {
  /** Folder with the data of tasks as they are published; those of our own need none. */
  data?: string;
  /** Examples before each question; 0 unless given. */
  fewShot?: number;
  /** Questions of a task that are asked, of each set of it where it has sets: the first ones; all unless given. */
  limit?: number;
  /** What routes; the context unless given. */
  routing?: Routing;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** How many experts answer together, one mixture for each of these numbers: 1 to E. */
  mix?: readonly number[];
  /** τ, above 0: weights are computed from costs / τ. Without it the one that suits the partitioner. */
  routingTemperature?: number;
}

/**
 * What answers a question: as in an evaluation, or `top-K`, the K experts together that the routing prefix
 * costs least, with weighted probabilities.
 *
 * @ignore
 */
export type ChoiceWay = Way | `top-${number}`;

/** Names the way in which so many experts answer together. */
export const topWay = (size: number): ChoiceWay => `top-${size}`;

const expertsTogether = (way: unknown) => Number(/^top-([1-9]\d*)$/.exec(String(way))?.[1] ?? 0);
const isWay = (name: unknown) => SHOWN_WAYS.some((way) => way === name) || expertsTogether(name) > 0;
const WAY = v.custom<ChoiceWay>(isWay, "Expected a way of answering");

const INTERVAL = { value: finite, low: finite, high: finite };
/**
 * A metric with its standard error and the ends of its 95% bootstrap interval, over questions or over the documents that these are made of.
 * Over questions it is as the harness gives them. But the harness pools errors of sets where this takes the questions of all sets together.
 */
const MEASURE = v.object({ ...INTERVAL, standardError: finite });
const byMetric = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.object(v.entriesFromList(METRICS, v.optional(schema)));
/** How much higher the mixture's metric is than a baseline's, with its 95% interval, both on the same draws. */
const DIFFERENCE = v.object({ baseline: v.picklist(BASELINES), metric: v.picklist(METRICS), ...INTERVAL });
/** The same for so many experts that answer together, against the mixture that runs one or a baseline. */
const MIXED = v.object({
  experts: v.pipe(count, v.minValue(1)),
  against: v.picklist(["mixture", ...BASELINES]),
  metric: v.picklist(METRICS),
  ...INTERVAL,
});

/**
 * What a task came to.
 *
 * - Questions that were asked, how many its data hold (`published`), and examples before each (`fewShot`).
 * - Routing, and its prefix M; E.
 * - Questions that lost tokens at the left (`cut`), and the accuracy of guessing (`chance`, null without choices).
 * - Draws (`resamples`) and seed of the bootstrap.
 * - Every way's metrics, differences from every baseline, and the share of the choices that each expert gets `[E]`.
 * - Metrics and differences for each set of a task that has several.
 * - If experts answer together, the routing temperature of their weights, and their differences.
 */
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

type Answered = ZeroShotResult["sets"][number];

/** Whether the mixture is better or worse than a baseline; equal if the interval holds zero. */
export type Verdict = "better" | "equal" | "worse";

/** Tells what a difference shows: if its interval holds zero, nothing. */
export function judge({ metric, low, high }: Pick<Difference, "metric" | "low" | "high">): Verdict {
  if (low <= 0 && high >= 0) return "equal";
  return low > 0 === (metric !== "perplexity") ? "better" : "worse";
}

/** Lists the ways in which any of the tasks was answered, in the order in which they are printed. */
export function listWays(results: readonly ZeroShotResult[]): ChoiceWay[] {
  const found = new Set(results.flatMap(({ ways }) => Object.keys(ways) as ChoiceWay[]));
  const together = [...found].filter(expertsTogether).sort((a, b) => expertsTogether(a) - expertsTogether(b));
  return [...new Set<ChoiceWay>(["mixture", ...together, ...SHOWN_WAYS])].filter((way) => found.has(way));
}

/** Reads a `zero-shot/TASK.json`. Throws an `InputError` where it is missing or damaged. */
export function readZeroShot(where: string): Promise<ZeroShotResult> {
  return readJson(where, ZERO_SHOT, "what a zero-shot task came to");
}

/** Writes the results of every way of answering into a folder: `WAY/results.json`. Throws where it cannot be written. */
export async function writeHarnessResults(
  folder: string,
  results: readonly ZeroShotResult[],
  { run, limit }: { run: string; limit?: number },
): Promise<void> {
  for (const way of listWays(results)) {
    const text = jsonText(harnessResults(results, way, { name: `${run} ${way}`, limit }));
    await writeAtomic(`${folder}/${way}/results.json`, text);
  }
}

/** Gives the results of one way of answering, as the harness writes them; `name` is what its files call the model. */
export function harnessResults(
  results: readonly ZeroShotResult[],
  way: ChoiceWay,
  { name, limit }: { name: string; limit?: number },
): Record<string, unknown> {
  const tasks = results.filter(({ ways }) => ways[way]);
  const each = <Value>(value: (result: ZeroShotResult) => Value, of = tasks) =>
    Object.fromEntries(of.map((result) => [result.task, value(result)]));
  const metrics = ({ ways }: ZeroShotResult) => Object.keys(ways[way]!) as Metric[];
  const measures = (alias: string, ways: Answered["ways"], sets: readonly Answered[] = []) => {
    const reported = Object.entries(ways[way]!).flatMap(([metric, { value, standardError }]) => [
      [`${metric},none`, value],
      [`${metric}_stderr,none`, poolErrors(sets, way, metric as Metric) ?? standardError],
    ]);
    return { alias, ...Object.fromEntries(reported) };
  };
  const whole = ({ task, ways, sets }: ZeroShotResult) => measures(task, ways, sets);
  const sets = tasks.flatMap(({ task, sets }) =>
    sets.map(({ set, ways }) => [`${task}_${set}`, measures(`${task}_${set}`, ways)])
  );
  const groups = tasks.filter(({ sets }) => sets.length > 0);
  return {
    results: { ...each(whole), ...Object.fromEntries(sets) },
    ...groups.length > 0 && { groups: each(whole, groups) },
    group_subtasks: each(({ task, sets }) => sets.map(({ set }) => `${task}_${set}`)),
    configs: each((result) => ({
      task: result.task,
      output_type: metrics(result).includes("perplexity") ? "loglikelihood" : "multiple_choice",
      num_fewshot: result.fewShot,
      metric_list: metrics(result).map((metric) => ({ metric })),
    })),
    versions: each(() => 1),
    "n-shot": each(({ fewShot }) => fewShot),
    higher_is_better: each((result) =>
      Object.fromEntries(metrics(result).map((metric) => [metric, metric !== "perplexity"]))
    ),
    "n-samples": each(({ published, questions }) => ({ original: published, effective: questions })),
    config: { model: "smalltalk", model_args: name, limit: limit ?? null },
    model_source: "smalltalk",
    model_name: name,
    model_name_sanitized: name.replace(/[^\w.-]+/g, "__"),
  };
}

/**
 * Pools the standard errors of a task's sets as the harness does: it takes the sets as given, whereas the run's own intervals draw
 * questions from all of them. Of sets of one question, which have no error, it is zero; undefined where there are no sets.
 */
function poolErrors(sets: readonly Answered[], way: ChoiceWay, metric: Metric): number | undefined {
  if (sets.length === 0) return undefined;
  let all = 0, squares = 0;
  for (const { questions, ways } of sets) {
    all += questions;
    squares += (questions - 1) * questions * ways[way]![metric]!.standardError ** 2;
  }
  return Math.sqrt(squares / Math.max(1, all - sets.length) / all);
}
