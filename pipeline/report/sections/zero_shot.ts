/**
 * The section of a report on zero-shot tasks: how often the mixture finds the right answer, beside the dense
 * models.
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import {
  type ChoiceWay,
  type Measure,
  verdictOf,
  waysOf,
  type ZeroShotResult,
} from "../../evaluation/choices/results.ts";
import { type Metric, METRICS } from "../../evaluation/choices/tasks.ts";
import type { Way } from "../../evaluation/evaluation.ts";
import { type Html, htmlTable, markup, percent, type Table } from "../html.ts";
import { wayName } from "../plots.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { plural } from "./words.ts";

/** What metrics are called. */
const NAMES: Record<Metric, string> = {
  acc: "right",
  acc_norm: "right, per character",
  perplexity: "perplexity",
};

/** Writes the section; none where no task was asked. */
export function zeroShotSection({ zeroShot }: RunRecord): Section[] {
  if (zeroShot.length === 0) return [];
  const metrics = METRICS.filter((metric) => zeroShot.some(({ ways }) => ways.mixture?.[metric]));
  const table: Table = {
    head: ["task", "questions", "guessing", "answered by", ...metrics.map((metric) => NAMES[metric])],
    rows: zeroShot.flatMap((result) => {
      const { task, questions, chance, ways, experts } = result;
      return waysOf([result]).map((way, i) => [
        ...i === 0 ? [task, questions, chance === null ? null : percent(chance)] : [null, null, null],
        nameOf(way, experts),
        ...metrics.map((metric) => measureText(metric, ways[way]?.[metric])),
      ]);
    }),
  };
  const verdicts = verdictTexts(zeroShot);
  return [{
    id: "zero-shot",
    title: "Zero-shot tasks",
    lead: [
      markup`<p>${
        plural(zeroShot.length, "task")
      } of questions with several continuations: the answer of a model is the
one that it finds likeliest. Intervals are of 95%, by bootstrap over the questions, or over the
documents that these are made of.${verdicts}</p>`,
      htmlTable(table, "Zero-shot tasks"),
    ],
  }];
}

/** Names what answers. */
function nameOf(way: ChoiceWay, experts: number): string {
  const [, together] = /^top-(\d+)$/.exec(way) ?? [];
  return together === undefined ? wayName(way as Way, experts) : `${together} experts together`;
}

function measureText(metric: Metric, measure: Measure | undefined): string | null {
  if (measure === undefined) return null;
  const text = (value: number) => metric === "perplexity" ? value.toPrecision(4) : percent(value);
  return `${text(measure.value)} (${text(measure.low)} to ${text(measure.high)})`;
}

/** Says on how many tasks the mixture is right more often than each dense model, as often, or less often. */
function verdictTexts(results: readonly ZeroShotResult[]): Html[] {
  return BASELINES.flatMap((baseline) => {
    const verdicts = results.flatMap(({ differences }) =>
      differences.filter((one) => one.baseline === baseline && one.metric === "acc").map(verdictOf)
    );
    if (verdicts.length === 0) return [];
    const [better, equal, worse] = (["better", "equal", "worse"] as const).map((verdict) =>
      verdicts.filter((own) => own === verdict).length
    );
    return [
      markup` Against ${
        wayName(baseline, results[0].experts)
      } the mixture is better on ${better}, equal within the
interval on ${equal} and worse on ${worse}.`,
    ];
  });
}
