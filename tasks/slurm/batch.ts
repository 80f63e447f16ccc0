/**
 * Runs the jobs of a run by Slurm: writes their scripts, submits them, and reports what Slurm says
 * of them. Slurm itself knows what is queued: the comment of each job names its run and its
 * processes.
 *
 * @module
 */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ensure,
  ExplainedError,
  InputError,
  RunError,
  say,
  setting,
} from "../../kernels/errors.ts";
import { NO_LIBRARIES } from "../../pipeline/doctor/system.ts";
import { expertFolder, writeAtomic } from "../../pipeline/graph/mod.ts";
import { type Job, type JobPlan, JOBS, listMissing, lockJobs } from "../../pipeline/run/mod.ts";
import { ranges } from "../cli/layout.ts";
import { quoted, words } from "../cli/wording.ts";

/**
 * What Slurm is asked for, and the folders that a container shows tasks apart from the project's
 * and the run's.
 */
export type SlurmOptions = NonNullable<JobPlan["slurm"]> & { binds?: readonly string[] };

/**
 * A process that Slurm knows, queued or running: its job and its place among the job's processes,
 * from 0; Slurm's number of the job or array (`id`), and its task of an array; its state according
 * to Slurm; the node where it runs, or the reason why it waits.
 */
export type Queued = Awaited<ReturnType<typeof readQueue>>[number];

/** Places of one job that are submitted together. */
interface Submission {
  job: Job;
  /** Name of its script, and with underscores of the variable that holds its number. */
  name: string;
  /** The place of task 0 of the array. */
  base: number;
  places: number[];
  /** What must have ended before, as Slurm writes it. */
  dependency: string;
}

const PROJECT = resolve(fileURLToPath(new URL("../..", import.meta.url)));
const SUBMIT_MS = 60_000; // to wait for another process that submits the same run
// Before the time is up: more than slurm_job.sh gives a task to save a checkpoint.
const SIGNAL_SECONDS = 90;

/**
 * Runs a command of Slurm, or a script of such commands, and returns what it prints. Throws an
 * `InputError` where it is not there, and a `RunError` where it fails: Slurm does not answer, not
 * within `patience` milliseconds, or refuses.
 */
async function slurm(command: string, args: string[], patience?: number): Promise<string> {
  let child: Deno.ChildProcess;
  const late = new AbortController();
  try {
    const streams = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
    const options = { args, ...streams, env: NO_LIBRARIES, signal: late.signal };
    child = new Deno.Command(command, options).spawn();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) throw missing(command, cause);
    throw cause;
  }
  const timer = patience && setTimeout(() => {
    child.unref(); // it may not heed the signal
    late.abort();
  }, patience);
  // A process that it has started may keep its streams open.
  const [out, error] = [child.stdout, child.stderr].map((stream) => readAll(stream, late.signal));
  const [printed, reported] = await Promise.all([out, error]);
  const isEnded = !late.signal.aborted && (await child.status).success;
  clearTimeout(timer);
  if (isEnded) return printed;
  const report = late.signal.aborted
    ? `nothing in ${patience! / 1000} s`
    : reported.replace(/\s+/g, " ");
  throw new RunError(`Cannot use Slurm as ${command} must succeed: it reports "${report}"`, {
    remedy: "run the same again once Slurm answers, or change what it refuses",
  });
}

/** Reads the text of a stream to its end, or until a signal ends that. */
async function readAll(stream: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<string> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const keep = new WritableStream<Uint8Array>({
    write: (chunk) => void chunks.push(new Uint8Array(chunk)),
  });
  await stream.pipeTo(keep, { signal }).catch((error) => {
    if (!signal.aborted) throw error;
  });
  return (await new Blob(chunks).text()).trim();
}

/** Explains that a command of Slurm is not there. */
const missing = (command: string, cause?: unknown): InputError =>
  new InputError(`Cannot use Slurm as its commands must be there: there is no ${command}`, {
    remedy: say`install them (on Debian slurm-client), work on a machine of the cluster, or use ${
      setting("executor", "local")
    }`,
    cause,
  });

/**
 * Escapes what Slurm would take for the end or the quotes of a value, or for a comment after it.
 */
const escaped = (value: string) => value.replace(/[\s"'\\#]/g, "\\$&");

/**
 * Gives the path of a folder without links, by which a run is known whatever it is called; as it is
 * where nothing is there yet.
 */
function realPath(folder: string): string {
  try {
    return Deno.realPathSync(folder);
  } catch {
    return resolve(folder);
  }
}

/** Lists what Slurm knows of a run. Throws as {@linkcode slurm} does. */
export async function readQueue(run: string, patience?: number) {
  const format = ["%F", "%K", "%T", "%N", "%r", "%k"].join("|");
  const place = realPath(run);
  const asked = ["--noheader", "--array", "--me", `--format=${format}`];
  const text = await slurm("squeue", asked, patience);
  return text.split("\n").flatMap((line) => {
    const [id, index, state, node, reason, ...comment] = line.split("|");
    const [, job, base, jobRun] = /^smalltalk (\S+) (\d+) (.*)$/.exec(comment.join("|")) ?? [];
    if (jobRun === undefined || jobRun !== place && realPath(jobRun) !== place) return [];
    const task = /^\d+$/.test(index) ? { task: Number(index) } : {};
    return [{ job, place: Number(base) + (task.task ?? 0), id, ...task, state, node, reason }];
  });
}

/**
 * What is assumed of Slurm where it cannot be asked: nothing is queued, and an array has at most so
 * many tasks.
 */
export const NONE: { queue: Queued[]; most: number } = { queue: [], most: 1001 };

/**
 * Reads what Slurm knows of a run, and how many tasks an array may have. Throws an `InputError`
 * where Slurm cannot take the path of the run, and throws as {@linkcode slurm} does, unless `tell`
 * accepts that: then it is {@linkcode NONE}.
 */
export async function readSlurm(run: string, tell?: (text: string) => void): Promise<typeof NONE> {
  const where = resolve(run);
  const fact =
    `Cannot submit "${run}" to Slurm as its path must have no backslash: it is "${where}"`;
  // It takes them out of the names of logs, however they are escaped.
  ensure(!where.includes("\\"), fact, { where, remedy: "rename the folder" });
  try {
    const queue = await readQueue(run);
    // A script would run it.
    if (await slurm("sh", ["-c", "command -v sbatch || :"]) === "") throw missing("sbatch");
    const limits = await slurm("scontrol", ["show", "config"]);
    return { queue, most: Number(/^MaxArraySize\s*=\s*(\d+)/m.exec(limits)?.[1] ?? NONE.most) };
  } catch (error) {
    if (!tell || !(error instanceof ExplainedError)) throw error;
    const arrays = `arrays of at most ${NONE.most} tasks`;
    tell(`Slurm does not answer here: the scripts are for an empty queue, and ${arrays}`);
    return NONE;
  }
}

/**
 * Plans submissions: the places that are missing and not queued, in arrays that Slurm accepts, one
 * after another where only so many processes may run at once. Where what is queued waits for one of
 * these places, Slurm would cancel it, as the process that was there before has failed: `renewals`,
 * arguments of `scontrol update`, tell it to wait anew.
 */
function planSubmissions(
  jobs: readonly Job[],
  queue: readonly Queued[],
  maxArraySize: number,
  { expertsAtOnce: limit }: SlurmOptions,
): { submissions: Submission[]; renewals: string[] } {
  const submissions: Submission[] = [];
  const queuedAs = (name: string) => queue.filter(({ job }) => job === name);
  const jobIds = (queued: readonly Queued[]) => [...new Set(queued.map(({ id }) => id))];
  /**
   * Reports what a process waits for: of arrays in the queue single tasks, as others of them may
   * have failed. Where all processes of a job are in the queue none has, and arrays are named as a
   * whole: a command takes only some thousand names.
   */
  const waitsFor = (job: Job, ahead: readonly string[]): string => {
    const names = job.after.flatMap((name) => {
      const queued = queuedAs(name);
      const isWhole = queued.length === jobs.find((named) => named.name === name)!.done.length;
      return [
        ...submissions.filter(({ job }) => job.name === name).map(({ name }) =>
          `$${variableName(name)}`
        ),
        ...queued.map(({ id, task }) => task === undefined || isWhole ? id : `${id}_${task}`),
      ];
    });
    const ended = ahead.map((id) => `afterany:${id}`);
    return [...new Set(names.map((name) => `afterok:${name}`)), ...ended].join(",");
  };
  for (const job of jobs) {
    const queued = queuedAs(job.name);
    const missing = listMissing(job).filter((place) =>
      !queued.some((task) => task.place === place)
    );
    let ahead = limit ? jobIds(queued) : [];
    for (const [base, places] of Map.groupBy(missing, (place) => place - place % maxArraySize)) {
      const number = submissions.filter((submission) => submission.job === job).length;
      const name = number === 0 ? job.name : `${job.name}-${number + 1}`;
      submissions.push({ job, name, base, places, dependency: waitsFor(job, ahead) });
      if (limit) ahead = [`$${variableName(name)}`];
    }
  }
  const renewals = jobs.flatMap((job) => {
    const pending = queuedAs(job.name).filter(({ state }) => state === "PENDING");
    const isRenewed = submissions.some((submission) => job.after.includes(submission.job.name));
    return jobIds(pending).flatMap((id) => {
      const tasks = pending.filter((queuedTask) => queuedTask.id === id).flatMap(({ task = [] }) =>
        task
      );
      const ahead = limit
        ? jobIds(queuedAs(job.name)).filter((queuedId) => Number(queuedId) < Number(id))
        : [];
      const some = tasks.length === 0 ? id : `${id}_[${slurmRanges(tasks.sort((a, b) => a - b))}]`;
      return [
        ...limit && tasks.length > 0 ? [`"JobId=${id}" "ArrayTaskThrottle=${limit}"`] : [],
        ...isRenewed ? [`"JobId=${some}" "Dependency=${waitsFor(job, ahead)}"`] : [],
      ];
    });
  });
  return { submissions, renewals };
}

const variableName = (name: string) => name.replaceAll("-", "_");

/** Writes numbers as Slurm takes those of an array: `0-3,7`. */
export function slurmRanges(numbers: readonly number[]): string {
  return ranges(numbers.map(String)).replaceAll(" … ", "-").replaceAll(", ", ",");
}

/** Stands in commands for the number or name of a process, where no path has the same. */
const UNIT = crypto.randomUUID();

/** Writes the script of a submission. */
function writeScript(run: string, submission: Submission, options: SlurmOptions): string {
  const { job, base, places } = submission;
  const { slurmPartition, expertsAtOnce, time, gres, container, binds = [] } = options;
  const { task, with: further } = job.task(UNIT);
  const isArray = job.done.length > 1;
  const folder = resolve(run);
  const log = `${folder}/${JOBS}/logs/${job.name}+${base}`;
  const tasks = slurmRanges(places.map((place) => place - base));
  const settings = {
    "job-name": job.name,
    // readQueue() recognises the job by its comment.
    comment: escaped(`smalltalk ${job.name} ${base} ${realPath(run)}`),
    array: isArray && (expertsAtOnce ? `${tasks}%${expertsAtOnce}` : tasks),
    partition: slurmPartition,
    time,
    gres: job.device && gres,
    signal: `B:USR1@${SIGNAL_SECONDS}`,
    requeue: true,
    "kill-on-invalid-dep": "yes",
    "open-mode": "append",
    // Slurm reads a single % as the start of one of its own numbers.
    output: escaped(`${log.replaceAll("%", "%%")}-${isArray ? "%A_%a" : "%j"}.log`),
  };
  const asked = Object.entries(settings).filter(([, value]) => value)
    .map(([name, value]) => `#SBATCH --${name}${value === true ? "" : `=${value}`}`);
  const shown = [...new Set([PROJECT, folder, ...binds])].map(quoted).join(",");
  const enter = container ? `apptainer exec --nv --bind ${shown} ${quoted(container)} ` : "";
  const offset = job.units ? base : job.first + base;
  const source = job.units ? `the name at place N + ${offset}` : `number N + ${offset}`;
  const digits = expertFolder(0, job.done.length).split("-")[1].length;
  const model = job.name === "train-expert"
    ? `"experts~expert-$(printf %0${digits}d "$unit")~"`
    : `${job.name.slice(6)}~`;
  return [
    "#!/bin/bash",
    ...asked,
    "",
    `# ${job.about}${isArray ? ` Task N of the array does ${source}.` : ""}`,
    `cd ${quoted(PROJECT)} || exit 1`,
    `unit=$((\${SLURM_ARRAY_TASK_ID:-0} + ${offset}))`,
    ...job.units ? [`units=(${job.units.map(quoted).join(" ")})`, "unit=${units[unit]}"] : [],
    `log=${quoted(log)}`,
    ...job.trains ? [`scratch=${quoted(`${folder}/scratch/`)}${model}`] : [],
    ...gres && job.device ? ["one_card=yes"] : [],
    ". tasks/slurm_job.sh",
    `run ${enter}${words({ task, with: { ...further, run: folder } })}`.replaceAll(UNIT, "$unit"),
    "",
  ].join("\n");
}

/** Returns whether a word of arguments is no flag of the dry run, nor its value. */
const isNoDryRun = (word: string, i: number, all: readonly string[]): boolean =>
  !/^--dry-run(=|$)/.test(word) && !(all[i - 1] === "--dry-run" && /^(true|false)$/.test(word));

/**
 * Writes the lines of a shell script that write the scripts of submissions and submit them, and
 * print the number of each.
 */
function submitLines(
  run: string,
  { submissions, renewals }: ReturnType<typeof planSubmissions>,
  options: SlurmOptions,
): string[] {
  const folder = `${resolve(run)}/${JOBS}`;
  return [
    `mkdir -p ${quoted(`${folder}/scripts`)} ${quoted(`${folder}/logs`)}`,
    ...submissions.flatMap((submission) => {
      const { name, dependency } = submission;
      const [path, variable] = [quoted(`${folder}/scripts/${name}.sh`), variableName(name)];
      const script = writeScript(run, submission, options);
      let end = "SCRIPT";
      while (script.split("\n").includes(end)) end += "_"; // a path may have a line break
      return [
        "",
        `cat >${path} <<'${end}'\n${script}${end}`,
        `${variable}=$(sbatch --parsable ${dependency && `--dependency=${dependency} `}${path})`,
        `${variable}=\${${variable}%%;*}`, // without the name of the cluster, which may follow
        `echo "${name} $${variable}"`,
      ];
    }),
    "",
    ...renewals.length > 0 ? [RENEW] : [],
    ...renewals.map((renewal) => `renew ${renewal}`),
    // What is queued can no longer wait for what was submitted.
    ...renewals.length > 0 ? ['[ -z "${refused:-}" ]'] : [],
    "",
  ];
}

/** Changes what is queued; a task that has ended meanwhile need not be changed. */
const RENEW = [
  "renew() {",
  `  reported=$(scontrol update "$@" 2>&1) || ` +
  `! printf '%s\\n' "$reported" | grep -v 'already finished' >&2 || refused=yes`,
  "}",
].join("\n");

/**
 * Writes a shell script that writes all scripts and submits them, for a person to read, edit and
 * run.
 */
export function submitScript(
  run: string,
  jobs: readonly Job[],
  queue: readonly Queued[],
  maxArraySize: number,
  options: SlurmOptions,
): string {
  return [
    "#!/bin/bash",
    "set -e",
    // Paths were typed relative to this folder.
    `export INIT_CWD=${quoted(Deno.env.get("INIT_CWD") ?? Deno.cwd())}`,
    `cd ${quoted(PROJECT)}`,
    ["deno task submit", ...Deno.args.filter(isNoDryRun).map(quoted), "--settle"].join(" "),
    ...submitLines(run, planSubmissions(jobs, queue, maxArraySize, options), options),
  ].join("\n");
}

/**
 * Submits the places that are missing and not queued, while no other process does so for this run;
 * tells whom it waits for. Returns what was queued before, and the submissions. Throws a `RunError`
 * where another process still submits after a minute, or what is queued can no longer wait for what
 * is submitted. Throws the reason of `signal` where that ends the waiting.
 */
export async function submitJobs(
  run: string,
  planned: () => Promise<readonly Job[]>,
  maxArraySize: number,
  options: SlurmOptions,
  { signal, tell }: { signal: AbortSignal; tell: (text: string) => void },
): Promise<{ queue: Queued[]; submitted: { job: string; id: string; places: number[] }[] }> {
  using _lock = await lockJobs(run, { signal, tell, patience: SUBMIT_MS });
  const queue = await readQueue(run); // before the plan: what ends in between counts as queued
  const plan = planSubmissions(await planned(), queue, maxArraySize, options);
  const script = `${run}/${JOBS}/scripts/submit.sh`;
  await writeAtomic(script, ["set -e", ...submitLines(run, plan, options)].join("\n"));
  const printed = (await slurm("sh", [script])).split("\n");
  const ids = Object.fromEntries(printed.map((line) => line.split(" ")));
  const submitted = plan.submissions
    .map(({ job, name, places }) => ({ job: job.name, id: ids[name], places }));
  return { queue, submitted };
}
