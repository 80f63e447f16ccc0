/**
 * Writes results in the form of the LM Evaluation Harness, so that tools which read its files can read these.
 */

import { jsonText, writeAtomic } from "../../run/files.ts";
import { type ChoiceWay, type Measure, waysOf, type ZeroShotResult } from "./results.ts";
import type { Metric } from "./tasks.ts";

/** Writes the results of every way of answering into a folder: `WAY/results.json`. Throws where it cannot be written. */
export async function writeHarnessResults(
  folder: string,
  results: readonly ZeroShotResult[],
  { run, limit }: { run: string; limit?: number },
): Promise<void> {
  for (const way of waysOf(results)) {
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
  const each = <Value>(of: (result: ZeroShotResult) => Value) =>
    Object.fromEntries(tasks.map((result) => [result.task, of(result)]));
  const subtasks = tasks.flatMap(({ task, sets }) =>
    sets.map(({ set, ways }) => [`${task}_${set}`, measures(`${task}_${set}`, ways[way]!)])
  );
  const groups = tasks.filter(({ sets }) => sets.length > 0);
  return {
    results: {
      ...each((result) => measures(result.task, measured(result, way))),
      ...Object.fromEntries(subtasks),
    },
    ...groups.length > 0 && {
      groups: Object.fromEntries(
        groups.map((group) => [group.task, measures(group.task, measured(group, way))]),
      ),
    },
    group_subtasks: each(({ task, sets }) => sets.map(({ set }) => `${task}_${set}`)),
    configs: each(({ task, ways, fewShot }) => ({
      task,
      output_type: "perplexity" in ways[way]! ? "loglikelihood" : "multiple_choice",
      num_fewshot: fewShot,
      metric_list: Object.keys(ways[way]!).map((metric) => ({ metric })),
    })),
    versions: each(() => 1),
    "n-shot": each(({ fewShot }) => fewShot),
    higher_is_better: each(({ ways }) =>
      Object.fromEntries(Object.keys(ways[way]!).map((metric) => [metric, metric !== "perplexity"]))
    ),
    "n-samples": each(({ published, questions }) => ({ original: published, effective: questions })),
    config: { model: "smalltalk", model_args: name, limit: limit ?? null },
    model_source: "smalltalk",
    model_name: name,
    model_name_sanitized: name.replace(/[^\w.-]+/g, "__"),
  };
}

type Measured = Partial<Record<Metric, Pick<Measure, "value" | "standardError">>>;

/**
 * Gives the metrics of a task, where it has sets with the standard error that the harness pools from theirs: it takes
 * the sets as given, whereas the run's own intervals draw questions from all of them.
 */
function measured({ ways, sets }: ZeroShotResult, way: ChoiceWay): Measured {
  const all: Measured = ways[way]!;
  if (sets.length === 0) return all;
  const questions = sets.reduce((sum, set) => sum + set.questions, 0);
  return Object.fromEntries((Object.keys(all) as Metric[]).map((metric) => {
    const squares = sets.reduce(
      (sum, { questions, ways }) =>
        sum + (questions - 1) * questions * ways[way]![metric]!.standardError ** 2,
      0,
    );
    const pooled = squares / Math.max(1, questions - sets.length); // of sets of one question, which have no error, zero
    return [metric, { value: all[metric]!.value, standardError: Math.sqrt(pooled / questions) }];
  }));
}

function measures(
  alias: string,
  ways: Measured,
): Record<string, unknown> {
  const entries = Object.entries(ways).flatMap(([metric, { value, standardError }]) => [
    [`${metric},none`, value],
    [`${metric}_stderr,none`, standardError],
  ]);
  return { alias, ...Object.fromEntries(entries) };
}
