/**
 * Submits what is missing of a run to Slurm, or runs it on this machine, as many processes.
 *
 *   deno task submit --run runs/a --slurm-partition gpu --experts-at-once 8 --time 04:00:00 --gres gpu:1
 *   deno task submit --run runs/a --executor local --jobs 2
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { InputError, say, setting } from "../kernels/mod.ts";
import { MADE_ZERO_SHOT, zeroShotTasks } from "../pipeline/evaluation/mod.ts";
import type { Fields, Values } from "../pipeline/settings/mod.ts";
import {
  foldersNamed,
  type JobPlan,
  lockJobs,
  planJobs,
  readJobPlan,
  writeJobSettings,
} from "../pipeline/stages/mod.ts";
import { fromHere } from "./arguments.ts";
import { type Call, defineTask } from "./command.ts";
import { checkFinished, runJobs } from "./local_jobs.ts";
import { CHECKPOINTS, JOB_OPTIONS, take } from "./options.ts";
import { NONE, readSlurm, submitJobs, submitScript } from "./slurm.ts";
import { plannedText, submittedText } from "./submit_text.ts";

/** The options that a plan depends on. */
export const PLANNING = { ...JOB_OPTIONS, ...CHECKPOINTS, ...take("recompute", "requireGpu") };
type PlanOptions = Values<typeof PLANNING>;

const DENSE: JobPlan["dense"] = ["batch", "steps", "compute", "switch"];
/** What trainings get where it was said. */
const TRAINING = ["checkpointEvery", "checkpointMinutes", "keep", "recompute", "requireGpu"] as const;
/** What Slurm is asked for where it was said. */
const SLURM = ["slurmPartition", "expertsAtOnce", "time", "gres", "container"] as const;

/**
 * Gives the plan that options say, those of them that were `given`, without what was `denied`, and otherwise the one of `before`. Throws
 * an `InputError` where a name is unknown or a folder is missing, and where settings are to be written by a dry run.
 */
export function readPlan(
  options: PlanOptions,
  { given, denied }: Pick<Call<Fields>, "given" | "denied">,
  before: JobPlan | null,
): JobPlan {
  const { parts, routerGroups, dense, settle, dryRun } = options;
  if (settle && dryRun) {
    throw new InputError(
      say`Cannot write the settings of a run as ${setting("settle")} must be given without ${
        setting("dryRun")
      }, which writes nothing: both are given`,
    );
  }
  const reported = TRAINING.filter((name) => given.has(name)).map((name) => [name, options[name]]);
  const training: NonNullable<JobPlan["training"]> = { ...before?.training, ...Object.fromEntries(reported) };
  for (const name of denied) delete training[name];
  return {
    parts: parts ?? before?.parts ?? 1,
    dense: dense === undefined ? before?.dense ?? ["batch"] : readDense(dense),
    routerGroups: routerGroups ?? before?.routerGroups,
    training: Object.keys(training).length > 0 ? training : undefined,
    zeroShot: readZeroShot(options, before),
    slurm: slurmOptions(options, given, before),
  };
}

/** Gives what Slurm is asked for; "none", or 0 processes, takes back what was said before. */
function slurmOptions(
  options: PlanOptions,
  given: ReadonlySet<string>,
  before: JobPlan | null,
): JobPlan["slurm"] {
  const said = { ...before?.slurm };
  for (const name of SLURM.filter((name) => given.has(name))) {
    const value = options[name];
    if (!value || value === "none") delete said[name];
    else Object.assign(said, { [name]: name === "container" ? wholeImage(String(value)) : value });
  }
  return Object.keys(said).length > 0 ? said : undefined;
}

/** Gives the image of a container by its whole path, as jobs start elsewhere; "docker://…" and the like stay as they are. */
function wholeImage(container: string): string {
  return /^[\w.+-]+:\/\//.test(container) ? container : resolve(fromHere(container));
}

/** Reads names that a flag lists, each of them one of `known`; `short` gives what a word stands for. Throws an `InputError` for others. */
function readNames<Name extends string>(
  what: string,
  [flag, text]: [flag: string, text: string],
  known: readonly Name[],
  short: Record<string, readonly Name[]>,
): Name[] {
  if (text === "none") return [];
  const words = text.split(",").filter((word) => word !== "");
  const named = new Set(words.flatMap((word) => short[word] ?? [word as Name]));
  if (named.size > 0 && [...named].every((name) => known.includes(name))) return [...named];
  const all = [...known, ...Object.keys(short)].join(", ");
  throw new InputError(
    say`Cannot plan ${what} as ${setting(flag)} must name some of ${all} or none: it is "${text}"`,
  );
}

/** Gives the models to compare with that a flag names. */
function readDense(text: string): JobPlan["dense"] {
  const named = readNames("dense models", ["dense", text], DENSE, { both: ["batch", "steps"], all: DENSE });
  return DENSE.filter((name) => named.includes(name));
}

/** Gives the zero-shot tasks that flags name. */
function readZeroShot(
  { zeroShot, zeroShotData }: Pick<PlanOptions, "zeroShot" | "zeroShotData">,
  before: JobPlan | null,
): JobPlan["zeroShot"] {
  const data = zeroShotData === undefined ? before?.zeroShot?.data : resolve(zeroShotData);
  const tasks = zeroShot === undefined
    ? before?.zeroShot?.tasks ?? []
    : readNames("zero-shot tasks", ["zeroShot", zeroShot], zeroShotTasks(), { own: MADE_ZERO_SHOT });
  if (zeroShotData !== undefined && tasks.length === 0) {
    const must = say`${setting("zeroShot")} must name tasks that read it`;
    throw new InputError(say`Cannot use the data "${zeroShotData}" as ${must}: it names none`);
  }
  if (zeroShotData !== undefined && !statSync(zeroShotData, { throwIfNoEntry: false })?.isDirectory()) {
    const must = say`${setting("zeroShotData")} must be a folder`;
    throw new InputError(say`Cannot plan zero-shot tasks as ${must}: "${zeroShotData}" is none`, {
      where: zeroShotData,
    });
  }
  const published = tasks.find((name) => !MADE_ZERO_SHOT.includes(name));
  if (published !== undefined && data === undefined) {
    const must = say`its data must be there: ${setting("zeroShotData")} names no folder`;
    throw new InputError(say`Cannot plan zero-shot task "${published}" as ${must}`);
  }
  return tasks.length > 0 ? { tasks, data } : undefined;
}

export const TASK = await defineTask({
  name: "submit",
  drains: true,
  options: { ...take("run", "preset", "config", "force"), ...PLANNING },
  run: async ({ sources, options, given, denied, signal, tell, print }) => {
    const { run, executor, jobs: atOnce, force, dryRun, settle } = options;
    const plan = readPlan(options, { given, denied }, await readJobPlan(run));
    const reported = { run, sources, force };
    // What is accepted here is accepted by the trainings; they keep what was trained with these settings.
    const asked = force ? { ...plan, training: { ...plan.training, replace: true } } : plan;
    const asks = executor === "slurm" && !settle;
    const { queue, most } = asks ? await readSlurm(run, dryRun ? tell : undefined) : NONE;
    const first = await planJobs({ ...reported, ...asked }); // what cannot be planned writes nothing
    const how = {
      ...plan.slurm,
      binds: plan.slurm?.container ? await foldersNamed({ ...reported, ...plan }) : [],
    };
    if (dryRun && executor === "slurm") {
      const script = submitScript(run, first, queue, most, how);
      return print({ run, script }, script);
    }
    if (dryRun) {
      const jobs = first.map((job) => ({ ...job, after: job.after.map((job) => ({ job, each: false })) }));
      return print({ run, jobs }, plannedText(run, first, atOnce));
    }
    await writeJobSettings(reported, plan);
    if (settle) return print({ run, plan }, `${run}: its settings are written`);
    const planned = () => planJobs({ run, ...asked }); // by the settings that its jobs find
    if (executor === "slurm") {
      const { submitted, queue } = await submitJobs(run, planned, most, how, { signal, tell });
      return print({ run, submitted, queued: queue }, submittedText(run, submitted, queue));
    }
    const lock = await lockJobs(run, { signal, tell });
    try {
      const finished = await runJobs(run, await planned(), { atOnce, tell, signal });
      checkFinished(run, finished);
      print({ run, finished }, `${run}: ${finished.length} processes have run, nothing is missing`);
    } finally {
      lock.release();
    }
  },
}, import.meta);
