/**
 * Lays out the state of the trainings of a run: a table for a terminal, or a line for each.
 *
 * @module
 */

import { type Training } from "../pipeline/stages/mod.ts";
import { duration } from "../pipeline/run/mod.ts";
import { count, percent, ranges, ROOF_TOO_LOW, table } from "./layout.ts";

/** Room for a table. */
export interface Room {
  /** Columns. Default: as many as it takes. */
  width?: number;
  /** Lines. Default: as many as it takes. */
  height?: number;
}

/** If more trainings than this are done or wait, they share one row. */
const MOST_ROWS = 16;
/** Lines of the table that are not trainings: name, head, summary, and blank lines. */
const AROUND = 7;

/** The columns, the least important last: these are left out first where there is no room. */
const COLUMNS: [head: string, cell: (training: Training) => string][] = [
  ["training", ({ model }) => model],
  ["state", ({ state }) => state],
  ["step", stepText],
  ["loss", ({ loss }) => loss?.toFixed(3) ?? ""],
  ["left", ({ secondsLeft }) => secondsLeft === null ? "" : duration(Math.ceil(secondsLeft))],
  ["tokens/s", ({ tokensPerSecond }) => tokensPerSecond === null ? "" : count(tokensPerSecond)],
  ["where", whereText],
  ["held-out", ({ validationLoss }) => validationLoss?.toFixed(3) ?? ""],
  ["checkpoint", ({ checkpoint, state }) => checkpoint && state !== "complete" ? count(checkpoint.step) : ""],
  ["rate", ({ rate, state }) => rate === null || state === "complete" ? "" : rate.toExponential(1)],
  ["GFLOP/s", flopsText],
];
/** Order from left to right. */
const ORDER = [0, 1, 2, 3, 7, 9, 5, 10, 4, 8, 6];

function stepText({ step, steps, state }: Training): string {
  if (state === "adopted" || state === "waiting" && steps === null) return "";
  return steps === null ? count(step) : `${count(step)} of ${count(steps)}`;
}

function flopsText({ flopsPerSecond, utilisation }: Training): string {
  if (flopsPerSecond === null) return "";
  const share = utilisation === null || utilisation > 1 ? "" : ` (${percent(utilisation)})`;
  return (flopsPerSecond / 1e9).toPrecision(3) + share;
}

/** Says who trains a model, or where it came from. */
function whereText({ holders, from }: Training): string {
  if (from !== undefined) return `from ${from}`;
  return holders.map(({ pid, host }) => `${host || "here"}, process ${pid}`).join("; ");
}

/**
 * Lays out all trainings: first those at work, then those that are done or wait; many of these share one row.
 */
export function watchText(
  run: string,
  trainings: readonly Training[],
  { width = Infinity, height = Infinity }: Room = {},
): string {
  const rank = ({ state }: Training) =>
    ["training", "damaged", "stopped", "adopted", "complete"].indexOf(state);
  const shown = trainings.filter(({ state }) => state !== "waiting" && state !== "complete");
  const few = (state: string) => {
    const own = trainings.filter((training) => training.state === state);
    return own.length <= MOST_ROWS && shown.length + own.length <= height - AROUND - 2 ? own : [];
  };
  const waiting = few("waiting"), complete = few("complete");
  const rows = [...shown, ...complete].sort((a, b) => rank(a) - rank(b)).concat(waiting);
  const apart = trainings.filter((training) => !rows.includes(training));
  const groups = [...Map.groupBy(apart, ({ state }) => state)].map(([state, own]) =>
    `${own.length} ${state}: ${ranges(own.map(({ model }) => model))}`
  );
  const room = height - groups.length - AROUND;
  const lines = tableOf(rows.slice(0, Math.max(1, room)), width);
  const hidden = rows.length - Math.max(1, room);
  return [
    run,
    "",
    ...rows.length > 0 ? lines : [],
    ...hidden > 0 ? [`and ${hidden} more`] : [],
    ...groups,
    ...rows.length > 0 || groups.length > 0 ? [""] : [],
    ...summaryOf(trainings),
  ].map((line) => line.slice(0, width)).join("\n");
}

/** Lays out rows in the columns for which there is room. */
function tableOf(rows: readonly Training[], width: number): string[] {
  for (let columns = COLUMNS.length;; columns--) {
    const kept = ORDER.filter((column) => column < columns);
    const head = kept.map((column) => COLUMNS[column][0]).join(" | ");
    const text = table(head, rows.map((row) => kept.map((column) => COLUMNS[column][1](row))));
    const lines = text.split("\n");
    if (columns <= 4 || lines.every((line) => line.length <= width)) return lines;
  }
}

/** Says how many trainings are in each state, and how fast those at work are together. */
function summaryOf(trainings: readonly Training[]): string[] {
  const states = Map.groupBy(trainings, ({ state }) => state);
  const counts = [...states].map(([state, own]) => `${own.length} ${state}`).join(", ");
  const atWork = states.get("training") ?? [];
  const speed = atWork.reduce((sum, { tokensPerSecond }) => sum + (tokensPerSecond ?? 0), 0);
  const isLow = atWork.some(({ utilisation }) => (utilisation ?? 0) > 1);
  const left = Math.max(0, ...atWork.map(({ secondsLeft }) => secondsLeft ?? 0));
  return [
    counts,
    ...speed > 0
      ? [
        `${count(speed)} tokens/s together, ${duration(Math.ceil(left))} left at most${
          isLow ? `; ${ROOF_TOO_LOW}` : ""
        }`,
      ]
      : [],
  ];
}

/** Words the state of a training in one line, for a log. */
export function trainingLine(training: Training): string {
  const { model, state, step, steps, from, checkpoint } = training;
  if (state === "adopted") return `${model} adopted from ${from}`;
  const cells = COLUMNS.slice(3).map(([head, cell]) => [head, cell(training)] as const);
  const parts = cells.flatMap(([head, text]) => {
    if (text === "") return [];
    return head === "left" || head === "tokens/s" || head === "GFLOP/s" ? [`${text} ${head}`] : [
      head === "where"
        ? `on ${text}`
        : head === "checkpoint"
        ? `checkpoint of step ${checkpoint!.step}`
        : `${head} ${text}`,
    ];
  });
  const at = step > 0 || state === "training"
    ? ` step ${count(step)}${steps ? ` of ${count(steps)}` : ""}`
    : "";
  return [`${model} ${state}${at}`, ...parts].join(", ");
}

/** Words the trainings that `told`, which it keeps, does not hold as they stand now; those that wait only once they have begun. */
export function newLines(trainings: readonly Training[], told: Map<string, string>): string[] {
  const time = new Date().toISOString().slice(0, 19);
  return trainings.filter(({ model, state, step }) => {
    const key = `${state} ${step}`;
    if (told.get(model) === key || state === "waiting" && !told.has(model)) return false;
    told.set(model, key);
    return true;
  }).map((training) => `${time}Z ${trainingLine(training)}`);
}
