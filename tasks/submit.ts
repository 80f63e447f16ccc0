/**
 * Submits what is missing of a run to Slurm, or runs it on this machine, as many processes. What
 * flags do not say is planned as it was when the run was last submitted.
 *
 *   deno task submit --run runs/a --slurm-partition gpu --experts-at-once 8 \
 *     --time 04:00:00 --gres gpu:1
 *   deno task submit --run runs/a --executor local --jobs 2
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { ensure, InputError, task } from "../kernels/errors.ts";
import { MADE_ZERO_SHOT, zeroShotTasks } from "../pipeline/evaluation/mod.ts";
import type { Fields, Values } from "../pipeline/settings/mod.ts";
import {
  foldersNamed,
  type Job,
  type JobPlan,
  listMissing,
  lockJobs,
  nameUnit,
  planJobs,
  readJobPlan,
  writeJobSettings,
} from "../pipeline/run/mod.ts";
import { fromHere } from "./cli/arguments.ts";
import { type Call, defineTask } from "./cli/command.ts";
import { lines } from "./cli/layout.ts";
import { checkFinished, runJobs } from "./slurm/local_jobs.ts";
import { CHECKPOINTS, JOB_OPTIONS, take } from "./cli/options.ts";
import { NONE, type Queued, readSlurm, submitJobs, submitScript } from "./slurm/batch.ts";
import { words } from "./cli/wording.ts";

/** The options that a plan depends on. */
export const PLANNING = { ...JOB_OPTIONS, ...CHECKPOINTS, ...take("recompute", "requireGpu") };
type PlanOptions = Values<typeof PLANNING>;

const DENSE: JobPlan["dense"] = ["batch", "steps", "compute", "switch"];
/** What trainings get where it was said. */
const TRAINING = [
  "checkpointEvery",
  "checkpointMinutes",
  "keep",
  "recompute",
  "requireGpu",
] as const;
/** What Slurm is asked for where it was said; "none", or 0 processes, takes that back. */
const SLURM = ["slurmPartition", "expertsAtOnce", "time", "gres", "container"] as const;

/**
 * Gives the plan that options say, those of them that were given, without what was `denied`, and
 * otherwise the one of `earlierPlan`. Throws an `InputError` where a name is unknown or a folder is
 * missing, and where settings are to be written by a dry run.
 */
export function readPlan(
  options: PlanOptions,
  { givenNames, denied }: Pick<Call<Fields>, "givenNames" | "denied">,
  earlierPlan: JobPlan | null,
): JobPlan {
  const { parts, routerGroups, dense, settle, dryRun } = options;
  ensure(
    !settle || !dryRun,
    "Cannot write the settings of a run as --settle must be given without --dry-run, " +
      "which writes nothing: both are given",
  );
  const slurmValue = (name: typeof SLURM[number]) => {
    const value = options[name];
    if (!value || value === "none") return undefined;
    return name === "container" ? wholeImage(String(value)) : value;
  };
  const training = TRAINING.filter((name) => givenNames.has(name) || denied.has(name))
    .map((name) => [name, denied.has(name) ? undefined : options[name]]);
  const slurm = SLURM.filter((name) => givenNames.has(name)).map((
    name,
  ) => [name, slurmValue(name)]);
  return {
    parts: parts ?? earlierPlan?.parts ?? 1,
    dense: dense === undefined ? earlierPlan?.dense ?? ["batch"] : readDense(dense),
    routerGroups: routerGroups ?? earlierPlan?.routerGroups,
    training: overlaid(earlierPlan?.training, training),
    zeroShot: readZeroShot(options, earlierPlan),
    slurm: overlaid(earlierPlan?.slurm, slurm),
  };
}

/**
 * Puts what is said now over what was said before, and takes back what is undefined. Undefined
 * where nothing is left.
 */
function overlaid<Said extends object>(
  earlier: Said | undefined,
  changes: unknown[][],
): Said | undefined {
  const all = Object.entries({ ...earlier, ...Object.fromEntries(changes) })
    .filter(([, value]) => value !== undefined);
  return all.length > 0 ? Object.fromEntries(all) as Said : undefined;
}

/**
 * Gives the image of a container by its whole path, as jobs start elsewhere; "docker://…" and the
 * like stay as they are.
 */
function wholeImage(container: string): string {
  return /^[\w.+-]+:\/\//.test(container) ? container : resolve(fromHere(container));
}

/**
 * Reads names that a flag lists, each of them one of `names`; `short` gives what a word stands for.
 * Throws an `InputError` for others.
 */
function readNames<Name extends string>(
  kind: string,
  [flag, text]: [flag: string, text: string],
  names: readonly Name[],
  short: Record<string, readonly Name[]>,
): Name[] {
  if (text === "none") return [];
  const words = text.split(",").filter((word) => word !== "");
  const named = new Set(words.flatMap((word) => short[word] ?? [word as Name]));
  if (named.size > 0 && [...named].every((name) => names.includes(name))) return [...named];
  const all = [...names, ...Object.keys(short)].join(", ");
  throw new InputError(
    `Cannot plan ${kind} as ${flag} must name some of ${all} or none: it is "${text}"`,
  );
}

/** Gives the models to compare with that a flag names. */
function readDense(text: string): JobPlan["dense"] {
  const named = readNames("dense models", ["--dense", text], DENSE, {
    both: ["batch", "steps"],
    all: DENSE,
  });
  return DENSE.filter((name) => named.includes(name));
}

/** Gives the zero-shot tasks that flags name. */
function readZeroShot(
  { zeroShot, zeroShotData }: Pick<PlanOptions, "zeroShot" | "zeroShotData">,
  earlierPlan: JobPlan | null,
): JobPlan["zeroShot"] {
  const data = zeroShotData === undefined ? earlierPlan?.zeroShot?.data : resolve(zeroShotData);
  const tasks = zeroShot === undefined
    ? earlierPlan?.zeroShot?.tasks ?? []
    : readNames("zero-shot tasks", ["--zero-shot", zeroShot], zeroShotTasks(), {
      own: MADE_ZERO_SHOT,
    });
  if (zeroShotData !== undefined) {
    const must = "--zero-shot must name tasks that read it: it names none";
    ensure(tasks.length > 0, `Cannot use the data "${zeroShotData}" as ${must}`);
    const isFolder = statSync(zeroShotData, { throwIfNoEntry: false })?.isDirectory();
    const fact =
      `Cannot plan zero-shot tasks as --zero-shot-data must be a folder: "${zeroShotData}" is none`;
    ensure(isFolder, fact, { where: zeroShotData });
  }
  const published = tasks.find((name) => !MADE_ZERO_SHOT.includes(name));
  const must = "its data must be there: --zero-shot-data names no folder";
  ensure(!published || data, `Cannot plan zero-shot task "${published}" as ${must}`);
  return tasks.length > 0 ? { tasks, data } : undefined;
}

const processes = (count: number) => `${count} ${count === 1 ? "process" : "processes"}`;

/** Reports what was submitted, and what was queued already. */
function submittedText(
  run: string,
  submitted: readonly { job: string; id: string; places: number[] }[],
  queue: readonly Queued[],
): string {
  const reported = submitted.map(({ job, id, places }) =>
    `${job}: ${processes(places.length)} as ${id}`
  );
  if (queue.length > 0) reported.push(`${processes(queue.length)} queued or running before`);
  if (reported.length === 0) reported.push("nothing is missing");
  return [...reported, "", `${words(task("status", { run }))} tells how they stand`].join("\n");
}

/** Most commands of a job that are printed one by one. */
const MOST_COMMANDS = 4;

/**
 * Reports what processes would run on this machine, at most so many at once: a block per job in the
 * order in which they can begin, with what it stands on and its commands.
 */
function plannedText(run: string, jobs: readonly Job[], atOnce: number): string {
  const left = jobs.filter((job) => listMissing(job).length > 0);
  if (left.length === 0) return `${run}: nothing is missing`;
  const blocks = left.map((job) => {
    const missing = listMissing(job);
    const unfinished = job.after.filter((name) => left.some((job) => job.name === name));
    const all = missing.map((place) => words(job.task(nameUnit(job, place))));
    const hidden = all.length - MOST_COMMANDS;
    const shown = hidden > 0
      ? [...all.slice(0, MOST_COMMANDS - 1), `… ${hidden} more`, all.at(-1)!]
      : all;
    return lines(
      `${job.name}: ${processes(missing.length)}${
        unfinished.length > 0 ? `, after ${unfinished.join(", ")}` : ""
      }`,
      [job.about, ...shown].map((line) => `  ${line}`),
    );
  });
  const most = atOnce === 1 ? "one process" : `${atOnce} processes`;
  return [...blocks, `at most ${most} at once; nothing was started`].join("\n\n");
}

export const TASK = await defineTask({
  name: "submit",
  drains: true,
  options: { ...take("run", "preset", "config", "force"), ...PLANNING },
  run: async ({ sources, options, givenNames, denied, signal, tell, print }) => {
    const { run, executor, jobs: atOnce, force, dryRun, settle } = options;
    const plan = readPlan(options, { givenNames, denied }, await readJobPlan(run));
    const reported = { run, sources, force };
    // What is accepted here is accepted by the trainings; they keep what was trained with these
    // settings.
    const asked = force ? { ...plan, training: { ...plan.training, replace: true } } : plan;
    const asks = executor === "slurm" && !settle;
    const { queue, most } = asks ? await readSlurm(run, dryRun ? tell : undefined) : NONE;
    // What cannot be planned writes nothing.
    const first = await planJobs({ ...reported, ...asked });
    const binds = plan.slurm?.container ? await foldersNamed({ ...reported, ...plan }) : [];
    const slurmOptions = { ...plan.slurm, binds };
    if (dryRun && executor === "slurm") {
      const script = submitScript(run, first, queue, most, slurmOptions);
      return print({ run, script }, script);
    }
    if (dryRun) {
      const jobs = first.map((job) => ({
        ...job,
        after: job.after.map((job) => ({ job, each: false })),
      }));
      return print({ run, jobs }, plannedText(run, first, atOnce));
    }
    await writeJobSettings(reported, plan);
    if (settle) return print({ run, plan }, `${run}: its settings are written`);
    const planned = () => planJobs({ run, ...asked }); // by the settings that its jobs find
    if (executor === "slurm") {
      const { submitted, queue } = await submitJobs(run, planned, most, slurmOptions, {
        signal,
        tell,
      });
      return print({ run, submitted, queued: queue }, submittedText(run, submitted, queue));
    }
    using _lock = await lockJobs(run, { signal, tell });
    const finished = await runJobs(run, await planned(), { atOnce, tell, signal });
    checkFinished(run, finished);
    print({ run, finished }, `${run}: ${finished.length} processes have run, nothing is missing`);
  },
}, import.meta);
