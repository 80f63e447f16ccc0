/**
 * Tells how a run stands: what is made, with which settings and revision, what is missing or out of
 * date, and who works at it.
 *
 *   deno task status --run runs/a
 */
import { task, type TaskReference } from "../kernels/errors.ts";
import { type Owner, processText } from "../pipeline/graph/lock.ts";
import { binaryBytes } from "../pipeline/graph/numbers.ts";
import { withPath } from "../pipeline/partition/tree/branches.ts";
import { field, FIELDS, type Fields } from "../pipeline/settings/mod.ts";
import { changesText } from "../pipeline/stages/documents.ts";
import { readJobPlan } from "../pipeline/run/jobs.ts";
import {
  isToRun,
  nextTasks,
  readStatus,
  type RunStatus,
  type StageStatus,
  taskForAll,
} from "../pipeline/run/status.ts";
import { defineTask } from "./cli/command.ts";
import { blocks, lines, ranges, tableWithNote } from "./cli/layout.ts";
import { take } from "./cli/options.ts";
import { worded, words } from "./cli/wording.ts";

/** Longest list of models that is printed whole. */
const MOST_NAMES = 40;

const COLUMNS = "files, size: what the stage has made; note: why it is not up to date, or which " +
  "process works on it";

/**
 * Lays out the status of a run: a row per stage (one row for models in the same state), what else
 * could be made, the settings that were given, and what to run next.
 */
export function statusText(status: RunStatus): string {
  const { run, holders, parts, stages, unseen } = status;
  const changes = changesText(status.text);
  const seen = `${changes || "unchanged"}, by the sizes and times of its files`;
  const groups = grouped(stages);
  const isWanted = ([, { state, optional }]: Group) => state !== "missing" || !optional;
  const optional = groups.filter((group) => !isWanted(group));
  const requests = new Set(optional.map(([, { command }]) => requestText(command)));
  const rows = groups.filter(isWanted).map((
    [name, { state, because, holders }, { files, bytes: size }],
  ) => [
    ...[name, state, ...files > 0 ? [String(files), binaryBytes(size)] : ["", ""]],
    holders.length > 0 ? holders.map(by).join(", ") : because ? worded(because) : "",
  ]);
  const settings = settingsText(status.settings);
  return blocks(
    lines(
      `run  ${run}${holders.map((owner) => `, in which ${by(owner)} works`).join("")}`,
      parts.length > 0 &&
        `only parts lie here, without the run that they come from: of experts ${parts.join(", ")}`,
      status.text && status.settings.input && `text  ${seen}; partition --frozen reads them`,
      unseen && `text  taken to be what the run was made of: ${worded(unseen)}`,
    ),
    tableWithNote("stage | state | files | size | note", rows, COLUMNS),
    requests.size > 0 && `on request: ${[...requests].join(", ")}`,
    settings !== "" && `settings that were given: ${settings}`,
    nextText(status),
  );
}

/** Names a task that makes what nobody has asked for, with the flag that tells it from others. */
function requestText({ task: name, with: { match } }: TaskReference): string {
  return words(task(name, { match })).replace(/^deno task /, "");
}

/** Reports what to run next, and what makes all that is missing. */
function nextText({ run, parts, stages }: RunStatus): string {
  const tasks = nextTasks(run, stages);
  if (tasks.length > 0) {
    const all = taskForAll(run, tasks);
    return lines(
      `next: ${words(tasks[0])}`,
      tasks.length > 1 && all && `all that is missing: ${words(all)}`,
    );
  }
  if (stages.some(({ state }) => state === "being made")) {
    return "next: nothing, once what is being made is there";
  }
  return parts.length > 0
    ? "nothing is missing here: go on in the whole run"
    : `nothing is missing: ${words(task("report", { run }))} shows it on one page`;
}

const by = (owner: Owner): string =>
  `${processText(owner)} (task ${owner.task}, since ${owner.since})`;

/** Stages that stand alike: their name, the first of them, and what all of them made. */
type Group = [name: string, first: StageStatus, outputs: { files: number; bytes: number }];

/**
 * Joins models in the same state into one row, with the first of their names and their number: of a
 * tree the experts of each branch of the root, whatever else sets them apart.
 */
function grouped(stages: readonly StageStatus[]): Group[] {
  const groups = Map.groupBy(
    stages,
    ({ path, command: { task, with: { match } }, state, because, settings, holders }) =>
      JSON.stringify([
        state,
        ...path ? path.split(".", 1) : [task, match, because, settings, holders],
      ]),
  );
  return Array.from(groups.values(), (alike) => {
    const [first, last] = [alike[0], alike.at(-1)!];
    const all = ranges(alike.map(({ stage }) => stage));
    const names = all.length <= MOST_NAMES
      ? all
      : `${first.stage} … ${last.stage.replace(/^.*-/, "")}`;
    const sum = (figure: "files" | "bytes") =>
      alike.reduce((all, { outputs }) => all + (outputs?.[figure] ?? 0), 0);
    const where = first.path ? `${first.path} … ${last.path}` : alike.length;
    const name = alike.length === 1 ? withPath(names, first.path) : `${names} (${where})`;
    return [name, first, { files: sum("files"), bytes: sum("bytes") }];
  });
}

/** Writes settings as flags with their values. */
const settingsText = (settings: object): string =>
  Object.entries(settings).map(([name, value]) => {
    const fields: Fields = FIELDS;
    return `--${fields[name]?.flag ?? field.kebabCase(name)} ${valueText(value)}`.trimEnd();
  }).join(", ");

/** Writes a value without the marks of JSON. */
function valueText(value: unknown): string {
  if (Array.isArray(value)) return value.map(valueText).join(" ");
  if (typeof value !== "object" || value === null) return String(value ?? "");
  const parts = Object.entries(value).map(([name, part]) =>
    `${field.kebabCase(name)} ${valueText(part)}`
  );
  return `(${parts.join(", ")})`;
}

export const TASK = await defineTask({
  name: "status",
  startsAnew: true,
  options: {
    ...take("run"),
    exitCode: field.flag(
      "end with 1 where a partition, or the models that are there, would be made",
    ),
  },
  run: async ({ options, print }) => {
    const status = await readStatus(options.run);
    const stages = status.stages.map(({ because, command, ...stage }) => ({
      ...stage,
      because: because && worded(because),
      command: words(command),
    }));
    const isSubmitted = await readJobPlan(options.run) !== null;
    const slurm = isSubmitted
      ? await (await import("./slurm/queue.ts")).slurmView(options.run)
      : undefined;
    const text = statusText(status) + (slurm ? `\n\n${slurm.text}` : "");
    const unseen = status.unseen && worded(status.unseen);
    print({ ...status, unseen, stages, ...slurm ? { jobs: slurm.jobs } : {} }, text);
    if (options.exitCode && status.stages.some(isToRun)) Deno.exitCode = 1;
  },
}, import.meta);
