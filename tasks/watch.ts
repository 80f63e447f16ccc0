/**
 * Watches the trainings of a run, wherever they work.
 *
 *   deno task watch --run runs/a
 */
import { setTimeout } from "node:timers/promises";
import { ensure } from "../kernels/errors.ts";
import { duration } from "../pipeline/graph/mod.ts";
import { countText, percent } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Training } from "../pipeline/run/mod.ts";
import { defineTask } from "./cli/command.ts";
import { PEAK_TOO_LOW, ranges, table } from "./cli/layout.ts";
import { take } from "./cli/options.ts";

/** Room for a table, in columns and lines. Default: as much as it takes. */
type Room = Partial<ReturnType<typeof Deno.consoleSize>>;

/** If more trainings than this are done or wait, they share one row. */
const MOST_ROWS = 16;
/** Lines of the table that are not trainings: name, head, summary, and blank lines. */
const AROUND = 7;
const RANK = ["training", "damaged", "stopped", "adopted", "complete", "waiting"];

/**
 * The columns, and in a line what stands for `%`. The last ones are left out first where there is
 * no room.
 */
const COLUMNS: [
  head: string,
  said: string,
  cell: (training: Training) => string | undefined | false,
][] = [
  ["training", "%", ({ model }) => model],
  ["state", "%", ({ state }) => state],
  ["step", "step %", ({ step, steps, state }) => {
    if (state === "adopted" || state === "waiting" && steps === null) return "";
    return steps === null ? countText(step) : `${countText(step)} of ${countText(steps)}`;
  }],
  ["loss", "loss %", ({ loss }) => loss?.toFixed(3)],
  ["left", "% left", ({ secondsLeft: left }) => left !== null && duration(Math.ceil(left))],
  ["tokens/s", "% tokens/s", ({ tokensPerSecond: speed }) => speed !== null && countText(speed)],
  ["where", "on %", ({ holders, from }) => {
    if (from !== undefined) return `from ${from}`;
    return holders.map(({ pid, host }) => `${host || "here"}, process ${pid}`).join("; ");
  }],
  ["held-out", "held-out %", ({ validationLoss }) => validationLoss?.toFixed(3)],
  [
    "checkpoint",
    "checkpoint of step %",
    ({ checkpoint, state }) =>
      checkpoint !== null && state !== "complete" && countText(checkpoint.step),
  ],
  [
    "rate",
    "rate %",
    ({ rate, state }) => rate !== null && state !== "complete" && rate.toExponential(1),
  ],
  ["GFLOP/s", "% GFLOP/s", ({ flopsPerSecond: flops, utilisation }) => {
    if (flops === null) return "";
    const share = utilisation === null || utilisation > 1 ? "" : ` (${percent(utilisation)})`;
    return (flops / 1e9).toPrecision(3) + share;
  }],
];
const LEAST_COLUMNS = 4;

/**
 * Lays out all trainings: first those at work, then those that are done or wait; many of these
 * share one row.
 */
export function watchText(
  run: string,
  trainings: readonly Training[],
  { columns: width = Infinity, rows: height = Infinity }: Room = {},
): string {
  const states = Map.groupBy(trainings, ({ state }) => state);
  const { complete = [], waiting = [] } = Object.fromEntries(states);
  const busy = trainings.length - complete.length - waiting.length;
  const apart = [complete, waiting].filter(({ length }) =>
    length > MOST_ROWS || length > 0 && busy + length > height - AROUND - 2
  );
  const rows = trainings.filter((training) => !apart.flat().includes(training))
    .sort((a, b) => RANK.indexOf(a.state) - RANK.indexOf(b.state));
  const groups = apart.map((group) =>
    `${group.length} ${group[0].state}: ${ranges(group.map(({ model }) => model))}`
  );
  const room = Math.max(1, height - groups.length - AROUND);
  return [
    ...[run, ""],
    ...rows.length > 0 ? trainingsTable(rows.slice(0, room), width) : [],
    ...rows.length > room ? [`and ${rows.length - room} more`] : [],
    ...groups,
    ...trainings.length > 0 ? [""] : [],
    ...summaryLines(states),
  ].map((line) => line.slice(0, width)).join("\n");
}

/** Lays out rows in the columns for which there is room. */
function trainingsTable(rows: readonly Training[], width: number): string[] {
  for (let columns = COLUMNS.length;; columns--) {
    const kept = COLUMNS.slice(0, columns);
    const cells = rows.map((row) => kept.map(([, , cell]) => cell(row) || ""));
    const lines = table(kept.map(([head]) => head), cells, ["where"]).split("\n");
    if (columns === LEAST_COLUMNS || lines.every((line) => line.length <= width)) return lines;
  }
}

/** Reports how many trainings are in each state, and how fast those at work are together. */
function summaryLines(states: ReadonlyMap<string, readonly Training[]>): string[] {
  const counts = [...states].map(([state, group]) => `${group.length} ${state}`).join(", ");
  const atWork = states.get("training") ?? [];
  const speed = atWork.reduce((sum, { tokensPerSecond }) => sum + (tokensPerSecond ?? 0), 0);
  if (speed === 0) return [counts];
  const left = Math.max(0, ...atWork.map(({ secondsLeft }) => secondsLeft ?? 0));
  const isLow = atWork.some(({ utilisation }) => (utilisation ?? 0) > 1);
  const together = `${countText(speed)} tokens/s together, ${
    duration(Math.ceil(left))
  } left at most`;
  return [counts, together + (isLow ? `; ${PEAK_TOO_LOW}` : "")];
}

/** Words the state of a training in one line, for a log. */
function trainingLine(training: Training): string {
  const { model, state, step, from } = training;
  if (state === "adopted") return `${model} adopted from ${from}`;
  const reported = COLUMNS.slice(2).map(([head, said, cell]) => {
    const text = head === "step" && step === 0 && state !== "training" ? "" : cell(training);
    return text ? said.replace("%", () => text) : "";
  });
  return [`${model} ${state}`, ...reported].filter(Boolean).join(", ");
}

/**
 * Words the trainings that `reported`, which it keeps, does not hold as they stand now; those that
 * wait only once they have begun.
 */
function newLines(trainings: readonly Training[], reported: Map<string, string>): string[] {
  const time = new Date().toISOString().slice(0, 19);
  return trainings.filter(({ model, state, step }) => {
    const key = `${state} ${step}`;
    if (reported.get(model) === key || state === "waiting" && !reported.has(model)) return false;
    reported.set(model, key);
    return true;
  }).map((training) => `${time}Z ${trainingLine(training)}`);
}

/** Another screen without a cursor, and back. */
const [ENTER, LEAVE] = ["\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"];
const [HOME, REST_OF_LINE, REST_OF_SCREEN] = ["\x1b[H", "\x1b[K", "\x1b[J"];

/**
 * Opens a screen of its own on the terminal of standard output, to show lines instead of those
 * before; `write` puts text there.
 */
export function openScreen(
  write: (text: string) => void = (text) =>
    void Deno.stdout.writeSync(new TextEncoder().encode(text)),
): { show: (text: string) => void; close: () => void } {
  let open = true;
  const close = () => {
    if (open) write(LEAVE);
    open = false;
  };
  // Also where a second interruption ends the process at once.
  globalThis.addEventListener("unload", close);
  write(ENTER);
  return {
    show: (text) =>
      write(
        HOME + text.split("\n").map((line) => line + REST_OF_LINE).join("\r\n") + REST_OF_SCREEN,
      ),
    close,
  };
}

export const TASK = await defineTask({
  name: "watch",
  startsAnew: true,
  options: {
    ...take("run"),
    once: field.flag("look once and end; so does --json"),
    follow: field.flag("go on when the run's trainings are complete"),
    every: field.number(
      { min: 0.1, max: 86_400 },
      "seconds between two looks; 2 on a terminal, else 60",
    ),
  },
  run: async ({ options, signal, print }) => {
    const { run, once, json, follow } = options;
    const otherFlag = once ? "--once" : "--json";
    const isOne = !follow || !(once || json);
    ensure(isOne, `Cannot watch as only one of --follow and ${otherFlag} may be given: both are`);
    const { readTrainings } = await import("../pipeline/run/trainings.ts");
    const { isTrained } = await import("./slurm/queue.ts");
    if (once || json) {
      const trainings = await readTrainings(run);
      return print({ run, trainings: trainings }, watchText(run, trainings));
    }
    const screen = Deno.stdout.isTerminal() ? openScreen() : undefined;
    const every = options.every ?? (screen ? 2 : 60);
    let trainings: Training[] = [];
    let planned = ""; // states of trainings for which the jobs were last planned
    const reported = new Map<string, string>(); // what was last reported of each
    try {
      while (!signal.aborted) {
        trainings = await readTrainings(run);
        screen?.show(watchText(run, trainings, Deno.consoleSize()));
        for (const line of screen ? [] : newLines(trainings, reported)) console.log(line);
        const states = JSON.stringify(trainings.map(({ model, state }) => [model, state]));
        if (!follow && states !== planned && await isTrained(run, trainings)) break;
        planned = states;
        // The loop looks at the signal.
        await setTimeout(1000 * every, undefined, { signal }).catch(() => {});
      }
    } finally {
      screen?.close();
    }
    if (screen) console.log(watchText(run, trainings, { columns: Deno.consoleSize().columns }));
    signal.throwIfAborted();
  },
}, import.meta);
