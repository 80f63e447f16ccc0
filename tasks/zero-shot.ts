/**
 * Asks zero-shot tasks of the mixture of a run, next to the dense models that are trained there.
 *
 *   deno task zero-shot --run runs/a --task arc_easy,sciq --data data
 */
import { countText, percent } from "../pipeline/graph/numbers.ts";
import { task } from "../kernels/errors.ts";
import { BASELINES } from "../pipeline/evaluation/baselines.ts";
import { judge, listWays, topWay } from "../pipeline/evaluation/choices/results.ts";
import { METRICS } from "../pipeline/evaluation/choices/tasks.ts";
import type { ChoiceWay, Difference, Metric, ZeroShotResult } from "../pipeline/evaluation/mod.ts";
import { MIXING } from "../pipeline/serving/mixing.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { blocks, counted, lines, perplexity, shortSourceName, table } from "./cli/layout.ts";
import { DEVICE, PLANNED, take } from "./cli/options.ts";
import { planText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

const NAMES: Partial<Record<ChoiceWay, string>> = { oracle: "best in hindsight" };
const MOST_SETS = 4; // of a task that are printed one by one

/**
 * Lays out results: metrics by task, then the mixture against each dense model, and on how many
 * tasks it wins.
 */
function zeroShotText(run: string, results: readonly ZeroShotResult[]): string {
  const [{ routing, prefix, resamples, mixing }] = results;
  const by = routing === "context" ? "by the text before the choices" : "by text and choice";
  const isCompared = BASELINES.some((name) => results.some(({ ways }) => ways[name]));
  const dense = words(task("train-dense", { run }));
  const none =
    `no wins, as no dense model is trained: run ${dense} (also with --match steps), then ask again`;
  const drawn = "bootstrap over questions or the documents that they are made of";
  return "\n" + blocks(
    metricTable(results),
    isCompared ? [differenceTable(results), lines(wins(results))] : none,
    togetherText(results),
    lines(
      `routed ${by}, ${countText(prefix)} tokens at most; intervals: 95%, ${drawn}, ${
        countText(resamples)
      } draws`,
      mixing &&
        `weights of experts together: costs over a routing temperature of ${mixing.temperature}`,
      `run folder: ${run}`,
    ),
  );
}

const valueText = (metric: Metric, value: number) =>
  metric === "perplexity" ? perplexity(value) : percent(value);

/** A row for every task and way of answering, with each metric and its interval. */
function metricTable(results: readonly ZeroShotResult[]): string {
  const metrics = METRICS.filter((metric) => results.some(({ ways }) => ways.mixture![metric]));
  const rows = results.flatMap((result) =>
    listWays([result]).map((way, i) => {
      const { task, questions, chance, ways } = result;
      const about = [task, countText(questions), chance === null ? "-" : percent(chance)];
      const cells = metrics.flatMap((metric) => {
        const { [metric]: measured } = ways[way]!;
        if (!measured) return ["-", ""];
        const [value, low, high] = [measured.value, measured.low, measured.high].map(
          (value) => valueText(metric, value),
        );
        return [value, `${low} to ${high}`];
      });
      return [...i === 0 ? about : about.map(() => ""), NAMES[way] ?? way, ...cells];
    })
  );
  const head = metrics.flatMap((metric) => [metric, "95% interval"]);
  return table(["task", "questions", "guessing", "answered by", ...head], rows, ["answered by"]);
}

/** A difference of one metric. */
type Compared = Omit<Difference, "baseline">;

/** Writes a difference, its interval and what that shows. */
function differenceCells(difference: Compared): string[] {
  const { metric, value, low, high } = difference;
  const size = metric === "perplexity" ? perplexity : (value: number) => (100 * value).toFixed(1);
  const signed = (value: number) => `${value < 0 ? "-" : "+"}${size(Math.abs(value))}`;
  return [signed(value), `${signed(low)} to ${signed(high)}`, judge(difference)];
}

function differenceTable(results: readonly ZeroShotResult[]): string {
  const row = (name: string, difference: Difference) => [
    ...[name, difference.metric, difference.baseline, ...differenceCells(difference)],
  ];
  const rows = results.flatMap(({ task, differences, sets }) => [
    ...differences.map((difference) => row(task, difference)),
    ...(sets.length > MOST_SETS ? [] : sets).flatMap(({ set, differences }) =>
      differences.filter(({ metric }) => metric === "acc").map((difference) =>
        row(`  ${shortSourceName(set)}`, difference)
      )
    ),
  ]);
  return table("task | metric | against | mixture is by | 95% interval | that is", rows);
}

/**
 * Counts what the intervals of several accuracies show, by `who`. Each count is of so many: few may
 * all be undecided.
 */
function winLines<One extends Compared>(
  unit: string,
  all: readonly One[],
  nameOpponents: (difference: One) => string,
): string[] {
  const groups = Map.groupBy(all.filter(({ metric }) => metric === "acc"), nameOpponents);
  return Array.from(groups, ([opponents, differences]) => {
    const counts = (["better", "worse", "equal"] as const).map((verdict) => {
      const name = verdict === "equal" ? "no difference beyond the interval" : verdict;
      return `${name} on ${
        differences.filter((difference) => judge(difference) === verdict).length
      }`;
    });
    return `${opponents} by acc, of ${counted(differences.length, unit)}: ${counts.join(", ")}`;
  });
}

/**
 * Tells on how many tasks the mixture is better than each dense model; sets of a task that has many
 * are counted separately.
 */
function wins(results: readonly ZeroShotResult[]): string[] {
  const countWins = (unit: string, all: readonly { differences: Difference[] }[]) =>
    winLines(
      unit,
      all.flatMap(({ differences }) => differences),
      ({ baseline }) => `mixture against ${baseline}`,
    );
  const many = results.filter(({ sets }) => sets.length > MOST_SETS);
  return [
    ...countWins("tasks", results),
    ...many.flatMap(({ task, sets }) => countWins(`sets of ${task}`, sets)),
  ];
}

/** Experts that answer together next to the mixture and each dense model; nothing where none do. */
function togetherText(results: readonly ZeroShotResult[]): string[] {
  const all = results.flatMap(({ task, mixing }) =>
    (mixing?.differences ?? []).map((difference) => ({ task, ...difference }))
  );
  if (all.length === 0) return [];
  const rows = all.map(({ task, ...difference }) => [
    ...[task, difference.metric, topWay(difference.experts), difference.against],
    ...differenceCells(difference),
  ]);
  return [
    table("task | metric | together | against | differ by | 95% interval | that is", rows, [
      "together",
    ]),
    lines(
      winLines("tasks", all, ({ experts, against }) => `${topWay(experts)} against ${against}`),
    ),
  ];
}

/** Reads `arc_easy,sciq`; commas alone are a name that no task has. */
function namesIn(text: string): string[] {
  const names = text.split(",").filter((name) => name !== "");
  return names.length > 0 ? names : [text];
}

export const TASK = await defineTask({
  name: "zero-shot",
  options: {
    ...take("run", "force", "check"),
    ...PLANNED,
    ...DEVICE,
    ...take("requireGpu"),
    task: field.custom(
      namesIn,
      { default: [], value: "NAME,…" },
      "tasks to ask; without it all whose data are there, or those made of held-out " +
        "text if there are no data",
    ),
    data: field.path(
      { value: "FOLDER" },
      "folder with TASK.jsonl or TASK.parquet, as data sets publish them",
    ),
    limit: field.integer(
      { min: 1 },
      "questions of a task, or of each set of it, to ask: the first ones",
    ),
    routeWithChoice: field.flag(
      "let each choice route with its context; without it the context alone does",
    ),
    resamples: field.integer(
      { default: 1000, min: 1, max: 1_000_000 },
      "bootstrap draws of questions, or of documents",
    ),
    ...take("mix"),
    routingTemperature: MIXING.routingTemperature,
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, task: tasks, routeWithChoice } = options;
    const { askRun, planQuestions } = await import("../pipeline/run/mod.ts");
    const asked = { ...options, tasks, routing: routeWithChoice ? "choice" : "context" } as const;
    if (options.dryRun) {
      const plan = await planQuestions({ ...asked, device: options, words });
      return print(plan, planText(plan));
    }
    const results = await askRun(asked, { signal, onEvent });
    print({ run, results }, zeroShotText(run, results));
  },
}, import.meta);
