/**
 * Runs the jobs of a run by Slurm: writes their scripts, submits them, and reports what Slurm says of them.
 * Slurm itself knows what is queued: the comment of each job names its run and its processes.
 *
 * @module
 */

import { resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { fileURLToPath } from "node:url";
import { ExplainedError, InputError, RunError, say, setting } from "../kernels/mod.ts";
import { NO_LIBRARIES } from "../pipeline/doctor/mod.ts";
import { lockRun, writeAtomic } from "../pipeline/run/mod.ts";
import { type Job, JOBS, missingOf } from "../pipeline/stages/mod.ts";
import { quoted, words } from "./wording.ts";

/** How jobs are submitted. */
export interface SlurmOptions {
  /** Partition of nodes; Slurm's default unless given. */
  slurmPartition?: string;
  /** Most processes of an array that run at once; no limit unless given. */
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

/** A process that was started, is not complete, and is not known to be queued or at work. */
export interface Ended {
  job: string;
  place: number;
  /** Its log, in the run folder. */
  log: string;
  /** The last line of its log. */
  line: string;
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
  kind: "afterok" | "aftercorr" | "afterany";
  on: string;
}

/** What is queued and stood on a process that failed: it waits for the one that takes its place. */
interface Renewal {
  /** Slurm's number of it, or of some tasks of an array. */
  id: string;
  after: Dependency[];
}

const PROJECT = resolve(fileURLToPath(new URL("..", import.meta.url)));
const SUBMIT_MS = 60_000; // to wait for another process that submits the same run
const SIGNAL_SECONDS = 90; // seconds before the time is up: enough to save a checkpoint
const SAVE_SECONDS = 75; // of these, until the task is killed and goes on from an earlier checkpoint

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

/** Reads how many tasks an array may have. */
async function readMaxArraySize(): Promise<number> {
  const [, size] = /^MaxArraySize\s*=\s*(\d+)/m.exec(await slurm("scontrol", ["show", "config"])) ?? [];
  return Number(size ?? 1001);
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
    throw new InputError(
      `Cannot submit "${run}" to Slurm as its path must have no backslash: it is "${where}"`,
      {
        where,
        remedy: "rename the folder",
      },
    );
  }
  try {
    return { queue: await readQueue(run), most: await readMaxArraySize() };
  } catch (error) {
    if (!tell || !(error instanceof ExplainedError)) throw error;
    tell("Slurm does not answer here: the scripts are for an empty queue, and arrays of at most 1001 tasks");
    return NONE;
  }
}

/**
 * Plans submissions: the places that are missing and not queued, in arrays that Slurm accepts. Where what is queued waits for one of
 * these places, Slurm would cancel it, as the process that was there before has failed: it is told to wait anew.
 */
function submissionsOf(
  jobs: readonly Job[],
  queue: readonly Queued[],
  maxArraySize: number,
  { expertsAtOnce }: SlurmOptions,
): { submissions: Submission[]; renewals: Renewal[] } {
  const submissions: Submission[] = [];
  const submissionsOf = (job: string) => submissions.filter((other) => other.job.name === job);
  const queuedOf = (job: string) => queue.filter((queued) => queued.job === job);
  /** Names what runs a place of a job: a submission, or a queued job; undefined where its work is done. */
  const runnerOf = (job: string, place: number) =>
    submissionsOf(job).find(({ places }) => places.includes(place))?.name ??
      queuedOf(job).find((queued) => queued.place === place)?.id;
  /**
   * Says what a place of a job waits for: of arrays in the queue single tasks, as others of them may have failed. Where all
   * processes of a job are in the queue none has, and arrays are named as a whole: a command takes only some thousand names.
   */
  const waitsFor = (job: Job, place: number): Dependency[] =>
    job.after.flatMap(({ job: name, each }): Dependency[] => {
      if (each) {
        const on = runnerOf(name, place);
        return on === undefined ? [] : [{ kind: "aftercorr", on }];
      }
      const isWhole = queuedOf(name).length === jobs.find((other) => other.name === name)!.done.length;
      const queued = queuedOf(name).map(({ id, task }) =>
        task === undefined || isWhole ? id : `${id}_${task}`
      );
      const all = new Set([...submissionsOf(name).map((other) => other.name), ...queued]);
      return [...all].map((on) => ({ kind: "afterok", on }));
    });
  for (const job of jobs) {
    const isQueued = new Set(queuedOf(job.name).map(({ place }) => place));
    const missing = missingOf(job).filter((place) => !isQueued.has(place));
    const each = job.after.find(({ each }) => each);
    // Processes that wait for processes of different arrays go into different arrays.
    const groups = Map.groupBy(missing, (place) => {
      const base = place - place % maxArraySize;
      return `${base} ${each ? runnerOf(each.job, place) ?? "" : ""}`;
    });
    let before: string | undefined;
    for (const places of groups.values()) {
      const [first] = places;
      const after = waitsFor(job, first);
      if (before !== undefined && expertsAtOnce && !job.together) {
        after.push({ kind: "afterany", on: before });
      }
      const number = submissionsOf(job.name).length;
      const name = number === 0 ? job.name : `${job.name}-${number + 1}`;
      submissions.push({ job, name, base: first - first % maxArraySize, places, after });
      before = name;
    }
  }
  const renewed = jobs.flatMap((job) =>
    queuedOf(job.name).filter(({ state, place }) =>
      state === "PENDING" &&
      job.after.some(({ job: name, each }) =>
        submissionsOf(name).some(({ places }) => !each || places.includes(place))
      )
    ).map(({ id, task, place }) => ({ id, task, after: waitsFor(job, place) }))
  );
  const alike = Map.groupBy(renewed, ({ id, after }) => JSON.stringify([id, after]));
  const renewals = [...alike.values()].map((some) => {
    const [{ id, after }] = some;
    const tasks = some.flatMap(({ task = [] }) => task).sort((a, b) => a - b);
    return { id: tasks.length === 0 ? id : `${id}_[${rangesOf(tasks)}]`, after };
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
  const logs = `${resolve(run)}/${JOBS}/logs`.replaceAll("%", "%%"); // a single one would be a number of Slurm's
  const limit = expertsAtOnce ? `%${expertsAtOnce}` : "";
  const settings = [
    `job-name=${job.name}`,
    `comment=${escaped(commentOf(run, submission))}`,
    ...isArray ? [`array=${rangesOf(places.map((place) => place - base))}${limit}`] : [],
    ...slurmPartition ? [`partition=${slurmPartition}`] : [],
    ...time ? [`time=${time}`] : [],
    ...gres && job.device ? [`gres=${gres}`] : [],
    `signal=B:USR1@${SIGNAL_SECONDS}`,
    "requeue",
    "kill-on-invalid-dep=yes",
    "open-mode=append",
    `output=${escaped(`${logs}/${job.name}+${base}-${isArray ? "%A_%a" : "%j"}.log`)}`,
  ];
  const shown = [...new Set([PROJECT, resolve(run), ...binds])].map(quoted).join(",");
  const enter = container ? `apptainer exec --nv --bind ${shown} ${quoted(container)} ` : "";
  const commands = job.tasks(UNIT).map((reference) =>
    `run ${enter}${words(withRun(reference, resolve(run)))}`.replaceAll(UNIT, "$unit")
  );
  const offset = job.units ? base : job.first + base;
  const whose = job.units ? `the name at place N + ${offset}` : `number N + ${offset}`;
  return `#!/bin/bash
${settings.map((line) => `#SBATCH --${line}`).join("\n")}

# ${job.about}${isArray ? ` Task N of the array does ${whose}.` : ""}
cd ${quoted(PROJECT)} || exit 1
unit=$((\${SLURM_ARRAY_TASK_ID:-0} + ${offset}))${
    job.units ? `\nunits=(${job.units.map(quoted).join(" ")})\nunit=\${units[unit]}` : ""
  }
own=$SLURM_JOB_ID
[ -z "\${SLURM_ARRAY_TASK_ID:-}" ] || own=\${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
${job.trains ? placesOf(run, submission) : ""}${gres && job.device ? CARDS : ""}
# Before the time is up this shell gets a signal and sends the task one; at preemption the task gets one itself. It saves its
# state, ends with 130, and is queued again, it alone, unless someone cancelled it.
stopping=
task=
stop() {
  stopping=yes
  [ -n "$task" ] || return
  scancel --signal=TERM "$own" # to the task: srun itself, when it gets TERM, kills the task at once
  (sleep ${SAVE_SECONDS}; kill -TERM "$task") >/dev/null 2>&1 &
}
trap stop USR1
trap : TERM
again() {
  # What Slurm queues by itself may run already, or is about to be queued: twice would be once too often.
  set -- $(squeue --noheader --jobs="$own" --Format=State,RestartCnt,TimeLimit,PreemptTime)
  [ "$1" = RUNNING ] && [ "$2" = "\${SLURM_RESTART_COUNT:-0}" ] || exit 130
  [ "$4" = N/A ] || ! scontrol show partition "$SLURM_JOB_PARTITION" | grep -q PreemptMode=REQUEUE || exit 130
  said="stopped by a signal: queued again"
${job.trains ? GAIN : ""}  echo "$said"
  scontrol requeue "$own"
  exit 130
}
run() {
  [ -z "$stopping" ] || again
  srun --ntasks=1 --quiet "$@" &
  task=$!
  [ -z "$stopping" ] || stop # the signal came just now
  wait "$task"
  code=$?
  while kill -0 "$task" 2>/dev/null; do # a signal ends the waiting, not the task
    wait "$task"
    code=$?
  done
  task=
  [ "$code" -eq 0 ] && return
  [ "$code" -ne 130 ] && [ -z "$stopping" ] || again
  exit "$code"
}
${commands.join("\n")}
`;
}

/**
 * Lines that refuse a process which sees cards that are not its own: no environment variable makes Vulkan use
 * one card.
 */
const CARDS = `dev=\${SMALLTALK_DEV:-/dev}
set -- "$dev"/nvidia[0-9]*
[ -e "$1" ] || set -- "$dev"/dri/renderD* # of other makers
cards=0
for card in "$@"; do
  (exec <"$card") 2>/dev/null && cards=$((cards + 1))
done
if [ "$cards" -gt 1 ]; then
  echo "error: Cannot use one card as a task must see its own alone: it sees $cards; set ConstrainDevices=yes in Slurm's cgroup.conf"
  exit 2
fi
`;

/** Lines that name a training's log and its folder. */
function placesOf(run: string, { job, base }: Submission): string {
  const model = job.name === "train-expert" ? `experts/expert-$(printf %02d "$unit")` : job.name.slice(6);
  return `folder=${
    quoted(resolve(run))
  }\nlog=$folder/${JOBS}/logs/${job.name}+${base}-$own.log\nmodel=${model}\n`;
}

/**
 * Lines that fail where the time was up and the latest checkpoint is that of the time before: it would be the same for ever. A
 * checkpoint lies in the training's own folder, or in its scratch folder.
 */
const GAIN = `  if [ -n "$stopping" ]; then
    last=$(ls -t "$folder/$model"/checkpoints/step-* "$folder/scratch/\${model//\\//"~"}~"*/step-* 2>/dev/null | head -n 1)
    said="time is up at \${last##*/}: queued again"
    if [ "$(grep "^time is up at " "$log" | tail -n 1)" = "$said" ]; then
      echo "error: Cannot go on as an attempt must gain a step: its time limit is $3, a step and its checkpoint take more than the" \\
        "$SECONDS s of this attempt; give --time more, or make checkpoints more often with --checkpoint-minutes"
      exit 1
    fi
  fi
`;

/** Names the run by its whole path: jobs do not start where they were submitted. */
const withRun = (reference: ReturnType<Job["tasks"]>[number], run: string) => ({
  ...reference,
  with: { ...reference.with, run },
});

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

/** Gives the arguments of `scontrol update` that let what is queued wait anew. */
const updateArguments = ({ id, after }: Renewal, idOf: IdOf): string[] => [
  `JobId=${id}`,
  `Dependency=${dependencyText(after, idOf)}`,
];

const variableOf = (name: string) => name.replaceAll("-", "_");

/** Removes the flag of the dry run from arguments. */
const withoutDryRun = (words: readonly string[]): string[] =>
  words.filter((word, i) =>
    !/^--dry-run(=|$)/.test(word) && !(words[i - 1] === "--dry-run" && /^(true|false)$/.test(word))
  );

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
    ["deno task submit", ...withoutDryRun(Deno.args).map(quoted), "--settle"].join(" "),
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
  const release = await lockRun(run, "submit", "submit", {
    ...{ patience: SUBMIT_MS, signal },
    onWait: ({ pid, host }) =>
      tell(`waits for process ${pid}${host && ` on ${host}`}, which submits this run`),
    refusal: `Cannot submit "${run}" as only one process may do so at a time`,
  });
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
      const what = "Cannot let queued jobs wait for what was submitted now as they must still wait";
      throw new RunError(`${what}: ${refused.join(", ")}`, { remedy: "submit the same again" });
    }
    return { queue, submitted };
  } finally {
    await release();
  }
}

/** Numbers of Slurm's are below this. The processes of this machine are numbered by their time in milliseconds. */
const NUMBERS_OF_SLURM = 2 ** 32;

/**
 * Finds processes that were started and are neither complete, queued nor at work here, with the last lines of their logs. Without a queue
 * those of Slurm are `unknown`: they may be at work.
 */
export async function endedJobs(
  run: string,
  jobs: readonly Job[],
  queue: readonly Queued[] | null,
): Promise<{ ended: Ended[]; unknown: Ended[] }> {
  const folder = `${JOBS}/logs`;
  const entries = await Array.fromAsync(Deno.readDir(`${run}/${folder}`)).catch(() => []);
  const latest = new Map<string, { time: number; id: number; log: string }>();
  for (const { name } of entries) {
    const [, job, base, id, index = "0"] = /^(.+)\+(\d+)-(\d+)(?:_(\d+))?\.log$/.exec(name) ?? [];
    if (job === undefined) continue;
    const key = `${job} ${Number(base) + Number(index)}`;
    const log = `${folder}/${name}`;
    // Numbers of Slurm's and of this machine's processes cannot be compared, so times come first.
    const info = await Deno.stat(`${run}/${log}`).catch(() => null); // it may have gone meanwhile
    const own = { time: Number(info?.mtime), id: Number(id), log };
    const known = latest.get(key);
    if (!known || (own.time - known.time || own.id - known.id) > 0) latest.set(key, own);
  }
  const [ended, unknown]: Ended[][] = [[], []];
  for (const job of jobs) {
    for (const place of missingOf(job)) {
      const found = latest.get(`${job.name} ${place}`);
      if (!found || queue?.some((queued) => queued.job === job.name && queued.place === place)) continue;
      if (await isLocked(`${run}/${found.log}`)) continue;
      const text = await Deno.readTextFile(`${run}/${found.log}`).catch(() => "");
      const isKnown = queue !== null || found.id >= NUMBERS_OF_SLURM;
      (isKnown ? ended : unknown).push({ job: job.name, place, log: found.log, line: lastLine(text) });
    }
  }
  return { ended, unknown };
}

/** Whether a process on this machine is still writing a log: it locks it. */
async function isLocked(log: string): Promise<boolean> {
  using file = await Deno.open(log).catch(() => null);
  return await file?.tryLock(false).catch(() => true) === false;
}

/** Gives the last line of a log that its task wrote; lines of `srun` after it say less. */
function lastLine(text: string): string {
  const lines = stripVTControlCharacters(text).trimEnd().split("\n");
  return lines.findLast((line) => !line.startsWith("srun: ")) ?? lines.at(-1)!;
}
