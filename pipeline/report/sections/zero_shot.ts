// Zero-shot tasks: how often the mixture finds the right answer, next to the dense models.

import { percent } from "../../graph/numbers.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import {
  judge,
  listWays,
  type Measure,
  type ZeroShotResult,
} from "../../evaluation/choices/results.ts";
import { type Metric, METRICS } from "../../evaluation/choices/tasks.ts";
import type { Way } from "../../evaluation/evaluation.ts";
import { wayName } from "../charts.ts";
import { htmlTable, markup, plural } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";

const NAMES: Record<Metric, string> = {
  acc: "right",
  acc_norm: "right, per character",
  perplexity: "perplexity",
};

function measureText(metric: Metric, measure: Measure | undefined): string | null {
  if (measure === undefined) return null;
  const text = (value: number) => metric === "perplexity" ? value.toPrecision(4) : percent(value);
  return `${text(measure.value)} (${text(measure.low)} to ${text(measure.high)})`;
}

/**
 * Reports on how many tasks the mixture is right more often than each dense model, as often, or
 * less often.
 */
function verdictTexts(results: readonly ZeroShotResult[]): string[] {
  return BASELINES.flatMap((baseline) => {
    const verdicts = results.flatMap(({ differences }) =>
      differences.filter((difference) =>
        difference.baseline === baseline && difference.metric === "acc"
      ).map(judge)
    );
    if (verdicts.length === 0) return [];
    const count = (wanted: typeof verdicts[number]) =>
      verdicts.filter((verdict) => verdict === wanted).length;
    const [better, equal, worse] = (["better", "equal", "worse"] as const).map(count);
    const name = wayName(baseline, results[0].experts);
    return ` Against ${name} the mixture is better on ${better}, equal within the ` +
      `interval on ${equal} and worse on ${worse}.`;
  });
}

/** The results of all tasks that were asked. */
export const zeroShotSection: Section<RunRecord> = {
  id: "zero-shot",
  title: "Zero-shot tasks",
  parts: ({ zeroShot }) => {
    if (zeroShot.length === 0) return null;
    const metrics = METRICS.filter((metric) => zeroShot.some(({ ways }) => ways.mixture?.[metric]));
    const head = [
      "task",
      "questions",
      "guessing",
      "answered by",
      ...metrics.map((metric) => NAMES[metric]),
    ];
    const rows = zeroShot.flatMap((result) => {
      const { task, questions, chance, ways, experts } = result;
      return listWays([result]).map((way, i) => [
        ...i === 0
          ? [task, questions, chance === null ? null : percent(chance)]
          : [null, null, null],
        way.startsWith("top-") ? `${way.slice(4)} experts together` : wayName(way as Way, experts),
        ...metrics.map((metric) => measureText(metric, ways[way]?.[metric])),
      ]);
    });
    const tasks = plural(zeroShot.length, "task");
    const verdicts = verdictTexts(zeroShot);
    return [
      markup`<p>${tasks} of questions with several continuations. \
A model answers with the likeliest one. Intervals are
of 95%, by bootstrap over the questions, or over the documents that these are made of.\
${verdicts}</p>`,
      htmlTable({ head, rows }, "Zero-shot tasks"),
    ];
  },
};
