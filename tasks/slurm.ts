/**
 * Runs the jobs of a run by Slurm: writes their scripts, submits them, and reports what Slurm says of them.
 * Slurm itself knows what is queued: the comment of each job names its run and its processes.
 *
 * @module
 */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ExplainedError, InputError, RunError, say, setting } from "../kernels/mod.ts";
import { NO_LIBRARIES } from "../pipeline/doctor/mod.ts";
import { holdJobs, type Job, JOBS, missingOf } from "../pipeline/stages/mod.ts";
import { writeAtomic } from "../pipeline/run/mod.ts";
import { quoted, words } from "./wording.ts";

/** How jobs are submitted. */
export interface SlurmOptions {
  /** Partition of nodes; Slurm's default unless given. */
  slurmPartition?: string;
  /** Most processes of a job that run at once, whichever call submitted them; no limit unless given. */
  expertsAtOnce?: number;
  /** Most time of a process, as Slurm writes it. */
  time?: string;
  /** What a process that opens a GPU requests. */
  gres?: string;
  /** Image of the container that tasks run in, by Apptainer. */
  container?: string;
  /** Folders beside the project's and the run's that it shows them. */
  binds?: readonly string[];
}

/** A process that Slurm knows, queued or running. */
export interface Queued {
  /** Its job. */
  job: string;
  /** Its place among the job's processes, from 0. */
  place: number;
  /** Slurm's number of the job or array. */
  id: string;
  /** Its task of the array; undefined where it is none. */
  task?: number;
  /** Its state according to Slurm: PENDING, RUNNING, COMPLETING … */
  state: string;
  /** Where it runs; "" where it does not. */
  node: string;
  /** Why it waits. */
  reason: string;
}

/** Jobs that are submitted together: some places of one job. */
interface Submission {
  job: Job;
  /** Name of its script, and of the variable that holds its number. */
  name: string;
  /** The place of task 0 of the array. */
  base: number;
  places: number[];
  after: Dependency[];
}

/** What must have ended before a job: its kind in Slurm, and the number of a job or the name of a submission. */
interface Dependency {
  kind: "afterok" | "afterany";
  on: string;
}

/** What is to change of what is queued. */
interface Renewal {
  /** Slurm's number of it, or of some tasks of an array. */
  id: string;
  /** It stood on a process that failed, and waits for the one that takes its place. */
  after?: Dependency[];
  /** Most of its tasks at once. */
  limit?: number;
}

const PROJECT = resolve(fileURLToPath(new URL("..", import.meta.url)));
const SUBMIT_MS = 60_000; // to wait for another process that submits the same run
const SIGNAL_SECONDS = 90; // before the time is up: more than slurm_job.sh gives a task to save a checkpoint

/**
 * Runs a command of Slurm and returns what it prints. Throws an `InputError` where the command is not there, and a
 * `RunError` where it fails: Slurm does not answer, or refuses.
 */
async function slurm(command: string, args: string[]): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, { args, stdin: "null", env: NO_LIBRARIES }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      const reason = (error as Error).message.split("\n")[0]; // thousands of dependencies are too long for a command
      throw new InputError(say`Cannot use Slurm as ${command} must start: ${reason}`, { cause: error });
    }
    throw new InputError(say`Cannot use Slurm as its commands must be there: there is no ${command}`, {
      remedy: say`install them (on Debian slurm-client), work on a machine of the cluster, or use ${
        setting("executor", "local")
      }`,
      cause: error,
    });
  }
  const { success, stdout, stderr } = output;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (success) return text(stdout);
  throw new RunError(
    `Cannot use Slurm as ${command} must succeed: it says "${text(stderr).replace(/\s+/g, " ")}"`,
    { remedy: "run the same again once Slurm answers, or change what it refuses" },
  );
}

/** Escapes what Slurm would take for the end or the quotes of a value, or for a comment after it. */
const escaped = (value: string) => value.replace(/[\s"'\\#]/g, "\\$&");

/** Gives the path of a folder without links, by which a run is known whatever it is called; as it is where nothing is there yet. */
function placeOf(folder: string): string {
  try {
    return Deno.realPathSync(folder);
  } catch {
    return resolve(folder);
  }
}

/** Names the run, the job and the places that a job of Slurm belongs to. */
const commentOf = (run: string, { job, base }: Submission) => `smalltalk ${job.name} ${base} ${placeOf(run)}`;

/** Lists what Slurm knows of a run. Throws as {@linkcode slurm} does. */
export async function readQueue(run: string): Promise<Queued[]> {
  const format = ["%F", "%K", "%T", "%N", "%r", "%k"].join("|");
  const place = placeOf(run);
  const text = await slurm("squeue", ["--noheader", "--array", "--me", `--format=${format}`]);
  return text.split("\n").flatMap((line) => {
    const [id, index, state, node, reason, ...comment] = line.split("|");
    const [, job, base, of] = /^smalltalk (\S+) (\d+) (.*)$/.exec(comment.join("|")) ?? [];
    if (of === undefined || of !== place && placeOf(of) !== place) return [];
    const task = /^\d+$/.test(index) ? { task: Number(index) } : {};
    return [{ job, place: Number(base) + (task.task ?? 0), id, ...task, state, node, reason }];
  });
}

/** What is assumed of Slurm where it cannot be asked. */
export const NONE: { queue: Queued[]; most: number } = { queue: [], most: 1001 };

/**
 * Reads what Slurm knows of a run, and how many tasks an array may have. Throws an `InputError` where Slurm
 * cannot take the path of the run, and where there is no Slurm, and a `RunError` where it does not answer, unless `tell`
 * accepts these: then nothing counts as queued, and arrays have Slurm's default limit.
 */
export async function readSlurm(run: string, tell?: (text: string) => void): Promise<typeof NONE> {
  const where = resolve(run);
  if (where.includes("\\")) { // it takes them out of the names of logs, however they are escaped
    const what = `Cannot submit "${run}" to Slurm as its path must have no backslash: it is "${where}"`;
    throw new InputError(what, { where, remedy: "rename the folder" });
  }
  try {
    const queue = await readQueue(run);
    const [, most = 1001] = /^MaxArraySize\s*=\s*(\d+)/m.exec(await slurm("scontrol", ["show", "config"])) ??
      [];
    return { queue, most: Number(most) };
  } catch (error) {
    if (!tell || !(error instanceof ExplainedError)) throw error;
    tell("Slurm does not answer here: the scripts are for an empty queue, and arrays of at most 1001 tasks");
    return NONE;
  }
}

/**
 * Plans submissions: the places that are missing and not queued, in arrays that Slurm accepts, one after another where only so many
 * processes may run at once. Where what is queued waits for one of these places, Slurm would cancel it, as the process that was there
 * before has failed: it is told to wait anew.
 */
function submissionsOf(
  jobs: readonly Job[],
  queue: readonly Queued[],
  maxArraySize: number,
  { expertsAtOnce: limit }: SlurmOptions,
): { submissions: Submission[]; renewals: Renewal[] } {
  const submissions: Submission[] = [];
  const queuedOf = (name: string) => queue.filter(({ job }) => job === name);
  const isPending = ({ state }: Queued) => state === "PENDING";
  const idsOf = (queued: readonly Queued[]) => [...new Set(queued.map(({ id }) => id))];
  /**
   * Says what a process waits for: of arrays in the queue single tasks, as others of them may have failed. Where all processes of a job
   * are in the queue none has, and arrays are named as a whole: a command takes only some thousand names.
   */
  const waitsFor = ({ after }: Job, ahead: readonly string[]): Dependency[] => [
    ...after.flatMap((name) => {
      const queued = queuedOf(name);
      const isWhole = queued.length === jobs.find((other) => other.name === name)!.done.length;
      const tasks = queued.map(({ id, task }) => task === undefined || isWhole ? id : `${id}_${task}`);
      const all = new Set([
        ...submissions.filter(({ job }) => job.name === name).map(({ name }) => name),
        ...tasks,
      ]);
      return [...all].map((on): Dependency => ({ kind: "afterok", on }));
    }),
    ...ahead.map((on): Dependency => ({ kind: "afterany", on })),
  ];
  for (const job of jobs) {
    const queued = queuedOf(job.name);
    const missing = missingOf(job).filter((place) => !queued.some((other) => other.place === place));
    let ahead = limit ? idsOf(queued) : [];
    for (const [base, places] of Map.groupBy(missing, (place) => place - place % maxArraySize)) {
      const number = submissions.filter((other) => other.job === job).length;
      const name = number === 0 ? job.name : `${job.name}-${number + 1}`;
      submissions.push({ job, name, base, places, after: waitsFor(job, ahead) });
      if (limit) ahead = [name];
    }
  }
  const renewals = jobs.flatMap((job): Renewal[] => {
    const pending = queuedOf(job.name).filter(isPending), ids = idsOf(pending);
    const arrays = new Set(pending.flatMap(({ id, task }) => task === undefined ? [] : id));
    const limits = limit ? [...arrays].map((id) => ({ id, limit })) : [];
    if (!submissions.some((other) => job.after.includes(other.job.name))) return limits;
    return [
      ...limits,
      ...ids.map((id) => {
        const tasks = pending.filter((other) => other.id === id).flatMap(({ task = [] }) => task);
        const ahead = limit ? idsOf(queuedOf(job.name)).filter((other) => Number(other) < Number(id)) : [];
        const some = tasks.length === 0 ? id : `${id}_[${rangesOf(tasks.sort((a, b) => a - b))}]`;
        return { id: some, after: waitsFor(job, ahead) };
      }),
    ];
  });
  return { submissions, renewals };
}

/** Writes numbers as Slurm takes those of an array: `0-3,7`. */
export function rangesOf(numbers: readonly number[]): string {
  const ranges: [from: number, to: number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => from === to ? `${from}` : `${from}-${to}`).join(",");
}

/** Stands in commands for the number or name of a process, where no path has the same. */
const UNIT = crypto.randomUUID();

/** Writes the script of a submission. */
function scriptOf(run: string, submission: Submission, options: SlurmOptions): string {
  const { job, base, places } = submission;
  const { slurmPartition, expertsAtOnce, time, gres, container, binds = [] } = options;
  const isArray = job.done.length > 1;
  const folder = resolve(run);
  const log = `${folder}/${JOBS}/logs/${job.name}+${base}`;
  const settings = [
    `job-name=${job.name}`,
    `comment=${escaped(commentOf(run, submission))}`,
    ...isArray
      ? [`array=${rangesOf(places.map((place) => place - base))}${expertsAtOnce ? `%${expertsAtOnce}` : ""}`]
      : [],
    ...slurmPartition ? [`partition=${slurmPartition}`] : [],
    ...time ? [`time=${time}`] : [],
    ...gres && job.device ? [`gres=${gres}`] : [],
    `signal=B:USR1@${SIGNAL_SECONDS}`,
    ...["requeue", "kill-on-invalid-dep=yes", "open-mode=append"],
    `output=${escaped(`${log.replaceAll("%", "%%")}-${isArray ? "%A_%a" : "%j"}.log`)}`, // a single one would be a number of Slurm's
  ];
  const shown = [...new Set([PROJECT, folder, ...binds])].map(quoted).join(",");
  const enter = container ? `apptainer exec --nv --bind ${shown} ${quoted(container)} ` : "";
  const offset = job.units ? base : job.first + base;
  const whose = job.units ? `the name at place N + ${offset}` : `number N + ${offset}`;
  const model = job.name === "train-expert"
    ? '"experts~expert-$(printf %02d "$unit")~"'
    : `${job.name.slice(6)}~`;
  return [
    "#!/bin/bash",
    ...settings.map((line) => `#SBATCH --${line}`),
    "",
    `# ${job.about}${isArray ? ` Task N of the array does ${whose}.` : ""}`,
    `cd ${quoted(PROJECT)} || exit 1`,
    `unit=$((\${SLURM_ARRAY_TASK_ID:-0} + ${offset}))`,
    ...job.units ? [`units=(${job.units.map(quoted).join(" ")})`, "unit=${units[unit]}"] : [],
    ...job.trains ? [`scratch=${quoted(`${folder}/scratch/`)}${model}`, `log=${quoted(log)}`] : [],
    ...gres && job.device ? ["one_card=yes"] : [],
    ". tasks/slurm_job.sh",
    ...job.tasks(UNIT).map((reference) =>
      `run ${enter}${words({ ...reference, with: { ...reference.with, run: folder } })}`.replaceAll(
        UNIT,
        "$unit",
      )
    ),
    "",
  ].join("\n");
}

/** Says how the number of a submission, or of what is queued, is written. */
type IdOf = (on: string) => string;

const dependencyText = (after: readonly Dependency[], idOf: IdOf) =>
  after.map(({ kind, on }) => `${kind}:${idOf(on)}`).join(",");

/** Gives the arguments of `sbatch`. */
function sbatchArguments(run: string, { name, after }: Submission, idOf: IdOf): string[] {
  return [
    "--parsable",
    ...after.length > 0 ? [`--dependency=${dependencyText(after, idOf)}`] : [],
    `${resolve(run)}/${JOBS}/scripts/${name}.sh`,
  ];
}

/** Gives the arguments of `scontrol update` that change what is queued. */
const updateArguments = ({ id, after, limit }: Renewal, idOf: IdOf): string[] => [
  `JobId=${id}`,
  after ? `Dependency=${dependencyText(after, idOf)}` : `ArrayTaskThrottle=${limit}`,
];

const variableOf = (name: string) => name.replaceAll("-", "_");

/** Says whether a word of arguments is no flag of the dry run, nor its value. */
const isNoDryRun = (word: string, i: number, all: readonly string[]): boolean =>
  !/^--dry-run(=|$)/.test(word) && !(all[i - 1] === "--dry-run" && /^(true|false)$/.test(word));

/** Writes a shell script that writes all scripts and submits them, for a person to read, edit and run. */
export function submitScript(
  run: string,
  jobs: readonly Job[],
  queue: readonly Queued[],
  maxArraySize: number,
  options: SlurmOptions,
): string {
  const { submissions, renewals } = submissionsOf(jobs, queue, maxArraySize, options);
  const names = new Set(submissions.map(({ name }) => name));
  const folder = `${resolve(run)}/${JOBS}`;
  const idOf = (on: string) => names.has(on) ? `$${variableOf(on)}` : on;
  return [
    "#!/bin/bash",
    "set -e",
    `export INIT_CWD=${quoted(Deno.env.get("INIT_CWD") ?? Deno.cwd())}`, // the folder in which relative paths were typed
    `cd ${quoted(PROJECT)}`,
    ["deno task submit", ...Deno.args.filter(isNoDryRun).map(quoted), "--settle"].join(" "),
    `mkdir -p ${quoted(`${folder}/scripts`)} ${quoted(`${folder}/logs`)}`,
    ...submissions.flatMap((submission) => {
      const args = sbatchArguments(run, submission, idOf);
      const path = args.pop()!;
      const variable = variableOf(submission.name);
      const script = scriptOf(run, submission, options);
      let end = "SCRIPT";
      while (script.split("\n").includes(end)) end += "_"; // a path may have a line break
      return [
        "",
        `cat >${quoted(path)} <<'${end}'\n${script}${end}`,
        `${variable}=$(sbatch ${args.join(" ")} ${quoted(path)})`,
        `${variable}=\${${variable}%%;*}`, // without the name of the cluster, which may follow
      ];
    }),
    "",
    ...renewals.map((renewal) =>
      `scontrol update ${updateArguments(renewal, idOf).map((word) => `"${word}"`).join(" ")}\n`
    ),
  ].join("\n");
}

/**
 * Writes the scripts of the places that are missing and not queued, and submits them, while no other process does
 * so for this run; tells whom it waits for. Returns what was queued before, and the submissions. Throws a
 * `RunError` where another process still submits after a minute, or what is queued can no longer wait for what is
 * submitted, and the reason of `signal` where that ends the waiting.
 */
export async function submitJobs(
  run: string,
  planned: () => Promise<readonly Job[]>,
  maxArraySize: number,
  options: SlurmOptions,
  { signal, tell }: { signal: AbortSignal; tell: (text: string) => void },
): Promise<{ queue: Queued[]; submitted: { job: string; id: string; places: number[] }[] }> {
  const submitted: { job: string; id: string; places: number[] }[] = [];
  const ids = new Map<string, string>();
  const folder = `${run}/${JOBS}`;
  const lock = await holdJobs(run, { signal, tell, patience: SUBMIT_MS });
  try {
    const queue = await readQueue(run); // before the plan: what ends in between counts as queued
    const jobs = await planned();
    await Deno.mkdir(`${folder}/logs`, { recursive: true });
    const { submissions, renewals } = submissionsOf(jobs, queue, maxArraySize, options);
    const idOf = (on: string) => ids.get(on) ?? on;
    for (const submission of submissions) {
      await writeAtomic(`${folder}/scripts/${submission.name}.sh`, scriptOf(run, submission, options));
      const text = await slurm("sbatch", sbatchArguments(run, submission, idOf));
      const id = text.split(";")[0];
      ids.set(submission.name, id);
      submitted.push({ job: submission.job.name, id, places: submission.places });
    }
    const refused: string[] = [];
    for (const renewal of renewals) {
      await slurm("scontrol", ["update", ...updateArguments(renewal, idOf)]).catch((error) => {
        if (!(error instanceof RunError)) throw error;
        refused.push(`of ${renewal.id} Slurm says otherwise (${error.message})`);
      });
    }
    if (refused.length > 0) {
      const what = "Cannot let queued jobs go by what was submitted now as they must still wait";
      throw new RunError(`${what}: ${refused.join(", ")}`, { remedy: "submit the same again" });
    }
    return { queue, submitted };
  } finally {
    lock.release();
  }
}
