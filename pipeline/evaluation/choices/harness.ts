/** Writes results in the form of the LM Evaluation Harness, so that tools which read its files can read these. */

import { jsonText, writeAtomic } from "../../run/files.ts";
import { type ChoiceWay, listWays, type ZeroShotResult } from "./results.ts";
import type { Metric } from "./tasks.ts";

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
  const measures = (
    alias: string,
    own: Partial<Record<Metric, { value: number; standardError: number }>>,
    error = (metric: Metric) => own[metric]!.standardError,
  ) => {
    const reported = (Object.keys(own) as Metric[]).flatMap((metric) => [
      [`${metric},none`, own[metric]!.value],
      [`${metric}_stderr,none`, error(metric)],
    ]);
    return { alias, ...Object.fromEntries(reported) };
  };
  const whole = (result: ZeroShotResult) =>
    measures(result.task, result.ways[way]!, (metric) => writtenError(result, way, metric));
  const sets = tasks.flatMap(({ task, sets }) =>
    sets.map(({ set, ways }) => [`${task}_${set}`, measures(`${task}_${set}`, ways[way]!)])
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
 * Gives the standard error of a metric of a task. Where it has sets, the harness pools theirs: it takes the sets as
 * given, whereas the run's own intervals draw questions from all of them.
 */
function writtenError({ ways, sets }: ZeroShotResult, way: ChoiceWay, metric: Metric): number {
  if (sets.length === 0) return ways[way]![metric]!.standardError;
  const questions = sets.reduce((sum, set) => sum + set.questions, 0);
  const squares = sets.reduce((sum, { questions, ways }) => {
    return sum + (questions - 1) * questions * ways[way]![metric]!.standardError ** 2;
  }, 0);
  // Of sets of one question, which have no error, it is zero.
  return Math.sqrt(squares / Math.max(1, questions - sets.length) / questions);
}
