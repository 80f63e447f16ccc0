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
      ...each(({ task, ways }) => measures(task, ways[way]!)),
      ...Object.fromEntries(subtasks),
    },
    ...groups.length > 0 && {
      groups: Object.fromEntries(groups.map(({ task, ways }) => [task, measures(task, ways[way]!)])),
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

function measures(
  alias: string,
  ways: Partial<Record<Metric, Pick<Measure, "value" | "standardError">>>,
): Record<string, unknown> {
  const entries = Object.entries(ways).flatMap(([metric, { value, standardError }]) => [
    [`${metric},none`, value],
    [`${metric}_stderr,none`, standardError],
  ]);
  return { alias, ...Object.fromEntries(entries) };
}
