/**
 * Lays out the results of zero-shot tasks for a person to read.
 *
 * @module
 */

import { say, setting, task } from "../kernels/mod.ts";
import {
  BASELINES,
  type Difference,
  METRICS,
  TOLD_WAYS,
  verdictOf,
  type Way,
  type ZeroShotResult,
} from "../pipeline/evaluation/mod.ts";
import { count, percent, table } from "./layout.ts";
import { worded } from "./wording.ts";

const NAMES: Partial<Record<Way, string>> = { oracle: "best in hindsight" };
const MOST_SETS = 4; // of a task that are told one by one

/** Lays out results: metrics by task, then the mixture against each dense model, and on how many tasks it wins. */
export function zeroShotText(run: string, results: readonly ZeroShotResult[]): string {
  const ways = TOLD_WAYS.filter((way) => results.some((result) => result.ways[way]));
  const rows = results.flatMap(({ task, questions, chance, ways: measured }) =>
    METRICS.filter((metric) => measured.mixture![metric]).map((metric) => {
      const value = format(metric);
      const { low, high } = measured.mixture![metric]!;
      const isChance = metric !== "perplexity" && chance !== null;
      return [
        ...[task, metric, questions, isChance ? value(chance) : "-"],
        ...ways.flatMap((way) => {
          const own = measured[way]?.[metric];
          const cell = own ? value(own.value) : "-";
          return way === "mixture" ? [cell, `${value(low)} to ${value(high)}`] : [cell];
        }),
      ];
    })
  );
  const head = ways.map((way) => way === "mixture" ? "mixture | 95% interval" : NAMES[way] ?? way);
  const [{ routing, prefix, fewShot, resamples }] = results;
  const by = routing === "context" ? "by the text before the choices" : "by text and choice";
  const baselines = BASELINES.filter((name) => results.some(({ ways }) => ways[name]));
  const dense = task("train-dense", { run });
  const none = say`no wins, as no dense model is trained: run ${dense} (also with ${
    setting("match", "steps")
  }), then ask again`;
  return [
    "",
    table(`task | metric | questions | guessing | ${head.join(" | ")}`, rows),
    "",
    ...baselines.length === 0 ? [worded(none)] : [differenceTable(results), ""],
    ...baselines.flatMap((baseline) => winLines(results, baseline)),
    "",
    `routed ${by}, ${count(prefix)} tokens at most; ${
      fewShot === 0 ? "no" : count(fewShot)
    } examples; intervals: ` +
    `bootstrap over questions, ${count(resamples)} draws`,
    `run folder: ${run}`,
  ].join("\n");
}

function format(metric: string): (value: number) => string {
  return metric === "perplexity"
    ? (value) => value < 1000 ? value.toFixed(2) : value.toPrecision(4)
    : percent;
}

function differenceTable(results: readonly ZeroShotResult[]): string {
  const line = (name: string, difference: Difference) => {
    const { baseline, metric, value, low, high } = difference;
    const signed = (value: number) =>
      `${value < 0 ? "-" : "+"}${
        metric === "perplexity" ? format(metric)(Math.abs(value)) : (100 * Math.abs(value)).toFixed(1)
      }`;
    return [
      ...[name, metric, baseline, signed(value), `${signed(low)} to ${signed(high)}`],
      verdictOf(difference),
    ];
  };
  const rows = results.flatMap(({ task, differences, sets }) => [
    ...differences.map((difference) => line(task, difference)),
    ...(sets.length > MOST_SETS ? [] : sets).flatMap(({ set, differences }) =>
      differences.filter(({ metric }) => metric === "acc").map((one) => line(`  ${set || "(none)"}`, one))
    ),
  ]);
  return table("task | metric | against | mixture is by | 95% interval | that is", rows);
}

/**
 * Says on how many tasks the accuracy of the mixture is better than that of a dense model, equal or worse.
 * The sets of a task are counted separately.
 */
function winLines(results: readonly ZeroShotResult[], baseline: string): string[] {
  const isOne = (one: Difference) => one.baseline === baseline && one.metric === "acc";
  const of = (all: readonly Difference[][]) => all.flatMap((differences) => differences.filter(isOne));
  const line = (what: string, differences: Difference[]) => {
    if (differences.length === 0) return [];
    const verdicts = differences.map(verdictOf);
    const [better, equal, worse] = (["better", "equal", "worse"] as const).map((verdict) =>
      verdicts.filter((own) => own === verdict).length
    );
    const share = percent((better + equal) / differences.length);
    return [
      `mixture against ${baseline}, ${what}: better on ${better}, equal within the interval on ${equal}, worse on ` +
      `${worse}; better or equal on ${share}`,
    ];
  };
  const tasks = of(results.map(({ differences }) => differences));
  return [
    ...line(`${count(tasks.length)} ${tasks.length === 1 ? "task" : "tasks"} by acc`, tasks),
    ...results.filter(({ sets }) => sets.length > MOST_SETS).flatMap(({ task, sets }) =>
      line(`${count(sets.length)} sets of ${task}`, of(sets.map(({ differences }) => differences)))
    ),
  ];
}
