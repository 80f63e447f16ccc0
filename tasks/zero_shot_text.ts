/**
 * Lays out the results of zero-shot tasks for a person to read.
 *
 * @module
 */

import { say, setting, task } from "../kernels/mod.ts";
import {
  BASELINES,
  type ChoiceWay,
  type Difference,
  METRICS,
  type MixedDifference,
  topWay,
  verdictOf,
  waysOf,
  type ZeroShotResult,
} from "../pipeline/evaluation/mod.ts";
import { count, counted, percent, sourceName, table } from "./layout.ts";
import { worded } from "./wording.ts";

const NAMES: Partial<Record<ChoiceWay, string>> = { oracle: "best in hindsight" };
const MOST_SETS = 4; // of a task that are told one by one

/** Lays out results: metrics by task, then the mixture against each dense model, and on how many tasks it wins. */
export function zeroShotText(run: string, results: readonly ZeroShotResult[]): string {
  const [{ routing, prefix, fewShot, resamples, mixing }] = results;
  const by = routing === "context" ? "by the text before the choices" : "by text and choice";
  const baselines = BASELINES.filter((name) => results.some(({ ways }) => ways[name]));
  const dense = task("train-dense", { run });
  const none = say`no wins, as no dense model is trained: run ${dense} (also with ${
    setting("match", "steps")
  }), then ask again`;
  return [
    "",
    metricTable(results),
    "",
    ...baselines.length === 0 ? [worded(none)] : [differenceTable(results), ""],
    ...baselines.flatMap((baseline) => winLines(results, baseline)),
    ...mixedText(results),
    "",
    `routed ${by}, ${count(prefix)} tokens at most; ${
      fewShot === 0 ? "no" : count(fewShot)
    } examples; intervals: ` +
    `95%, bootstrap over questions or the documents that they are made of, ${count(resamples)} draws`,
    ...mixing
      ? [`weights of experts together: costs over a routing temperature of ${mixing.temperature}`]
      : [],
    `run folder: ${run}`,
  ].join("\n");
}

/** A row for every task and way of answering, with each metric and its interval. */
function metricTable(results: readonly ZeroShotResult[]): string {
  const metrics = METRICS.filter((metric) => results.some(({ ways }) => ways.mixture![metric]));
  const rows = results.flatMap((result) =>
    waysOf([result]).map((way, i) => {
      const { task, questions, chance, ways } = result;
      const about = [task, count(questions), chance === null ? "-" : percent(chance)];
      const cells = metrics.flatMap((metric) => {
        const own = ways[way]![metric];
        if (!own) return ["-", ""];
        const [value, low, high] = [own.value, own.low, own.high].map(format(metric));
        return [value, `${low} to ${high}`];
      });
      return [...i === 0 ? about : about.map(() => ""), NAMES[way] ?? way, ...cells];
    })
  );
  const head = metrics.flatMap((metric) => [metric, "95% interval"]);
  return table(`task | questions | guessing | answered by | ${head.join(" | ")}`, rows, ["answered by"]);
}

function format(metric: string): (value: number) => string {
  return metric === "perplexity"
    ? (value) => value < 1000 ? value.toFixed(2) : value.toPrecision(4)
    : percent;
}

/** Writes a difference, its interval and what that says. */
function differenceCells(difference: Omit<Difference, "baseline">): string[] {
  const { metric, value, low, high } = difference;
  const signed = (value: number) =>
    `${value < 0 ? "-" : "+"}${
      metric === "perplexity" ? format(metric)(Math.abs(value)) : (100 * Math.abs(value)).toFixed(1)
    }`;
  return [signed(value), `${signed(low)} to ${signed(high)}`, verdictOf(difference)];
}

function differenceTable(results: readonly ZeroShotResult[]): string {
  const line = (name: string, difference: Difference) => [
    ...[name, difference.metric, difference.baseline],
    ...differenceCells(difference),
  ];
  const rows = results.flatMap(({ task, differences, sets }) => [
    ...differences.map((difference) => line(task, difference)),
    ...(sets.length > MOST_SETS ? [] : sets).flatMap(({ set, differences }) =>
      differences.filter(({ metric }) => metric === "acc").map((one) => line(`  ${sourceName(set)}`, one))
    ),
  ]);
  return table("task | metric | against | mixture is by | 95% interval | that is", rows);
}

/** Counts verdicts in words; nothing where there are none. */
function winLine(what: string, differences: readonly Omit<Difference, "baseline">[]): string[] {
  if (differences.length === 0) return [];
  const verdicts = differences.map(verdictOf);
  const [better, equal, worse] = (["better", "equal", "worse"] as const).map((verdict) =>
    verdicts.filter((own) => own === verdict).length
  );
  const share = percent((better + equal) / differences.length);
  return [
    `${what}: better on ${better}, equal within the interval on ${equal}, worse on ${worse}; better or equal on ${share}`,
  ];
}

const tasksByAcc = (tasks: number) => `${counted(tasks, "tasks")} by acc`;

/**
 * Says on how many tasks the accuracy of the mixture is better than that of a dense model, equal or worse.
 * The sets of a task are counted separately.
 */
function winLines(results: readonly ZeroShotResult[], baseline: string): string[] {
  const isOne = (one: Difference) => one.baseline === baseline && one.metric === "acc";
  const of = (all: readonly Difference[][]) => all.flatMap((differences) => differences.filter(isOne));
  const against = `mixture against ${baseline}`;
  const tasks = of(results.map(({ differences }) => differences));
  return [
    ...winLine(`${against}, ${tasksByAcc(tasks.length)}`, tasks),
    ...results.filter(({ sets }) => sets.length > MOST_SETS).flatMap(({ task, sets }) => {
      const own = of(sets.map(({ differences }) => differences));
      return winLine(`${against}, ${count(sets.length)} sets of ${task}`, own);
    }),
  ];
}

/** Tells experts that answer together beside the mixture and each dense model; nothing where none do. */
function mixedText(results: readonly ZeroShotResult[]): string[] {
  const all = results.flatMap(({ task, mixing }) =>
    (mixing?.differences ?? []).map((difference) => ({ task, ...difference }))
  );
  if (all.length === 0) return [];
  const rows = all.map(({ task, ...difference }) => [
    ...[task, difference.metric, topWay(difference.experts), difference.against],
    ...differenceCells(difference),
  ]);
  const pair = ({ experts, against }: MixedDifference) => `${topWay(experts)} against ${against}`;
  const byAcc = Map.groupBy(all.filter(({ metric }) => metric === "acc"), pair);
  return [
    "",
    table("task | metric | together | against | differ by | 95% interval | that is", rows, ["together"]),
    "",
    ...[...byAcc].flatMap(([pair, own]) => winLine(`${pair}, ${tasksByAcc(own.length)}`, own)),
  ];
}
