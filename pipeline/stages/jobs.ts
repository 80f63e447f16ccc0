/**
 * Plans what is missing in a run as jobs for many processes: which jobs there are, what each runs, and which
 * must wait for which. This machine and a scheduler run the same plan.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { InputError, say, setting, task, type TaskReference } from "../../kernels/errors.ts";
import { exists, jsonText, refuseLink, withRemedy, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { WORD } from "../settings/field.ts";
import type { Sources } from "../settings/resolution.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { scoredModels } from "./evaluate.ts";
import { LEARN } from "./learn.ts";
import { resolveRun } from "./resolution.ts";
import { inRun, type RunOptions, type RunWatch } from "./session.ts";
import { manifestOf, type States, statesOf } from "./state.ts";
import { hasFiles } from "./tokenize_parts.ts";
import { baselineTargets } from "./baselines.ts";
import { denseTarget } from "./train_dense.ts";
import { switchTarget } from "./train_switch.ts";

/** A job of a run: one or several processes that do the same work for different numbers. */
export interface Job {
  /** Its name. */
  name: string;
  /** What one process of it does, in one sentence. */
  about: string;
  /** Number of its first process; the others count up from it. */
  first: number;
  /** For each process, whether its work is done. */
  done: boolean[];
  /** What each process is told instead of its number, where that is a name. */
  units?: readonly string[];
  /** The tasks of a process by its number or name, one after another. */
  tasks(unit: string | number): TaskReference[];
  /**
   * The jobs that must have ended well before it: all processes of a job, or with `each` only the process at
   * the same place in it.
   */
  after: { job: string; each: boolean }[];
  /** Whether it opens a GPU. */
  device: boolean;
  /** Whether its processes are trainings, which may be many and long. */
  trains?: true;
  /** Whether its processes wait for one another: all of them run at once. */
  together?: true;
}

/** The options of a plan of jobs: how it is planned, and where. Default: one process for a stage, one dense model. */
export interface JobOptions extends Partial<JobPlan> {
  /** Run folder. */
  run: string;
  /** Where the settings come from. */
  sources?: Sources;
  /** Accepts values that differ from the run's. */
  force?: boolean;
  /** How many processes of a job run at once; without it as many as there are. */
  limit?: ProcessLimit;
}

/** How many processes of a job run at once, and the option that says so. */
export interface ProcessLimit {
  /** Name of the option. */
  option: string;
  /** Processes. */
  processes: number;
}

/**
 * Plans the jobs that make a run from text to report. Reads the run folder alone, and changes nothing. Throws an `InputError` where
 * processes that are missing and wait for one another could not run at once.
 */
export async function planJobs(
  { run, sources = {}, force = false, limit, ...options }: JobOptions,
): Promise<Job[]> {
  const plan: JobPlan = { parts: 1, dense: ["batch"], ...options };
  const { configuration } = await resolveRun(run, sources, force);
  const states = statesOf({ run, configuration });
  const isOne = plan.parts === 1 && groupOf(plan, configuration) === 1;
  const jobs = [
    ...await partitionJobs(run, states, plan, configuration, isOne),
    ...await modelJobs(run, states, configuration, plan, isOne ? "partition" : "tokens"),
  ];
  // A job that depends on one that must still run must still run too.
  const named = new Map(jobs.map((job) => [job.name, job]));
  for (const job of jobs) {
    for (const { job: name, each } of job.after) {
      const { done } = named.get(name)!;
      job.done = job.done.map((is, i) => is && (each ? done[i] : done.every(Boolean)));
    }
    if (job.device && plan.training?.requireGpu) job.tasks = requiringGpu(job.tasks);
  }
  const most = Math.max(...jobs.filter(({ together }) => together).map((job) => missingOf(job).length));
  if (limit && most > limit.processes) {
    throw new InputError(
      say`Cannot train routers in a group as all of its ${most} processes must run at once: ${
        setting("routerGroups")
      } is ${plan.routerGroups!}, ${setting(limit.option)} is ${limit.processes}`,
    );
  }
  return jobs;
}

/** Tasks beside trainings that open a GPU and can be told to stop without one. */
const OPENING_GPU = ["partition", LEARN, "score", "evaluate", "zero-shot"];

/** Gives the tasks of a job, each told to stop without a GPU where it would open one. */
const requiringGpu = (tasks: Job["tasks"]): Job["tasks"] => (unit) =>
  tasks(unit).map((one) =>
    OPENING_GPU.includes(one.task) ? task(one.task, { ...one.with, requireGpu: true }) : one
  );

const isMade = async ({ graph, of }: States, name: string): Promise<boolean> => {
  const stage = graph.get(name);
  return stage === undefined || (await of(stage)).state === "up to date";
};

/** The passes in which parts make the text's tokens, one after another. */
const PASSES = [
  { name: "tokenize", about: "Turns a part of the text's files into tokens." },
  { name: "exchange", about: "Sorts a part of the tokens by hash, so that all are shuffled together." },
  { name: "shuffle", about: "Writes a part of the shards of tokens." },
] as const;

/** Gives the processes that train the routers together: no more than there are routers, and one where another partitioner is learned. */
function groupOf({ routerGroups = 1 }: JobPlan, { experts, partitioner }: Configuration): number {
  return PARTITIONERS.get(partitioner)?.models ? Math.min(routerGroups, experts) : 1;
}

/** Plans the partition: one job, or with parts one per stage or so. */
async function partitionJobs(
  run: string,
  states: States,
  plan: JobPlan,
  configuration: Configuration,
  isOne: boolean,
): Promise<Job[]> {
  const { parts } = plan;
  const byFiles = hasFiles(configuration);
  const group = groupOf(plan, configuration);
  const made = (...names: string[]) => Promise.all(names.map((name) => isMade(states, name)));
  const all = async (...names: string[]) => [(await made(...names)).every(Boolean)];
  const one = (name: string) => task(name, { run });
  const part = (name: string) => (unit: string | number) => [task(name, { run, part: `${unit}/${parts}` })];
  if (isOne) {
    return [{
      name: "partition",
      about: "Partitions the text.",
      first: 1,
      done: await all(...states.graph.partition.map(({ name }) => name)),
      tasks: () => [one("partition")],
      after: [],
      device: true,
    }];
  }
  const inParts = async (stage: string, of = parts): Promise<boolean[]> => {
    const [closed] = await made(stage);
    return Array<boolean>(of).fill(closed);
  };
  const after = (job: string) => [{ job, each: false }];
  const tokenized = await inParts("tokenize");
  const learns = states.graph.get(LEARN) !== undefined;
  return [
    ...byFiles
      ? [
        {
          name: "text",
          about: "Fixes the text, and trains the tokenizer.",
          first: 1,
          done: await all("corpus", "tokenizer"),
          tasks: () => ["corpus", "tokenizer"].map(one),
          after: [],
          device: false,
        },
        ...PASSES.map(({ name, about }, i) => ({
          name,
          about,
          first: 1,
          done: tokenized,
          tasks: part("tokenize"), // which does what comes next
          after: after(i === 0 ? "text" : PASSES[i - 1].name),
          device: false,
        })),
      ]
      : [],
    {
      name: "tokens",
      about: byFiles ? "Puts the shards of tokens together." : "Turns the text into tokens.",
      first: 1,
      done: await all("corpus", "tokenizer", "tokenize"),
      tasks: () => (byFiles ? ["tokenize"] : ["corpus", "tokenizer", "tokenize"]).map(one),
      after: byFiles ? after(PASSES.at(-1)!.name) : [],
      device: false,
    },
    ...learns && group > 1
      ? [{
        name: "router-group",
        about: "Trains a share of the routers, beside the processes that train the others.",
        first: 0,
        done: await inParts(LEARN, group),
        tasks: (unit: string | number) => [task(LEARN, { run, group: `${unit}/${group}` })],
        after: after("tokens"),
        device: true,
        together: true as const,
      }]
      : [],
    ...learns
      ? [{
        name: "routers",
        about: group > 1 ? "Puts the routers together." : "Learns how to split the text.",
        first: 1,
        done: await all(LEARN),
        tasks: () => [one(LEARN)],
        after: after(group > 1 ? "router-group" : "tokens"),
        device: true,
      }]
      : [],
    {
      name: "score",
      about: "Scores a part of the shards.",
      first: 1,
      done: await inParts("score"),
      tasks: part("score"),
      after: after(learns ? "routers" : "tokens"),
      device: true,
    },
    {
      name: "assign",
      about: "Puts the scores together and assigns sequences to experts.",
      first: 1,
      done: await all("score", "assign"),
      tasks: () => ["score", "assign"].map(one),
      after: after("score"),
      device: false,
    },
    {
      name: "split",
      about: "Writes a part of the experts' shards.",
      first: 1,
      done: await inParts("split"),
      tasks: part("split"),
      after: after("assign"),
      device: false,
    },
    {
      name: "partition",
      about: "Puts the experts' shards together.",
      first: 1,
      done: await all(...states.graph.partition.map(({ name }) => name)),
      tasks: () => [one("partition")],
      after: after("split"),
      device: false,
    },
  ];
}

/** Plans the models: their training, the evaluation of each after it, and what puts the evaluations together. */
async function modelJobs(
  run: string,
  states: States,
  configuration: Configuration,
  { dense, training = {}, zeroShot }: JobPlan,
  tokens: string,
): Promise<Job[]> {
  const { experts } = configuration;
  const models = experts + baselineTargets().length; // as many parts as an evaluation has models
  const evaluated = await isMade(states, "evaluate");
  const scored = evaluated
    ? Array<boolean>(models).fill(true)
    : await scoredModels({ run, configuration }, (name) => manifestOf(states, name));
  const evaluates = (unit: string | number) => [task("evaluate", { run, part: `${unit}/${models}` })];
  const jobs: Job[] = [
    {
      name: "train-expert",
      about: "Trains one expert on its own part.",
      first: 0,
      done: await Promise.all(
        states.graph.stages.filter(({ command }) => command?.task === "train-expert")
          .map(({ name }) => isMade(states, name)),
      ),
      tasks: (unit) => [task("train-expert", { run, expert: unit, ...training })],
      after: [{ job: "partition", each: false }],
      device: true,
      trains: true,
    },
    {
      name: "evaluate-expert",
      about: "Scores the held-out sequences with one expert.",
      first: 1,
      done: scored.slice(0, experts),
      tasks: evaluates,
      after: [{ job: "train-expert", each: true }],
      device: true,
    },
  ];
  for (const match of dense) {
    const { name, command } = match === "switch" ? switchTarget() : denseTarget(match);
    const place = experts + baselineTargets().findIndex((target) => target.name === name);
    jobs.push({
      name: `train-${name}`,
      about: `Trains a ${match === "switch" ? "Switch Transformer" : "dense model"} on all of the text.`,
      first: 1,
      done: [await isMade(states, `train-${name}`)],
      tasks: () => [task(command.task, { run, ...command.with, ...training })],
      after: [{ job: tokens, each: false }],
      device: true,
      trains: true,
    }, {
      name: `evaluate-${name}`,
      about: "Scores the held-out sequences with this model.",
      first: place + 1,
      done: [scored[place]],
      tasks: evaluates,
      after: [{ job: `train-${name}`, each: false }, { job: "partition", each: false }],
      device: true,
    });
  }
  if (zeroShot) {
    const { tasks: names, data } = zeroShot;
    jobs.push({
      name: "zero-shot",
      about: "Asks one zero-shot task of the mixture and the dense models.",
      first: 0,
      done: await Promise.all(names.map((name) => isMade(states, `zero-shot-${name}`))),
      units: names,
      tasks: (name) => [task("zero-shot", { run, task: name, data })],
      after: jobs.filter(({ trains }) => trains).map(({ name }) => ({ job: name, each: false })),
      device: true,
    });
  }
  jobs.push({
    name: "evaluate",
    about: "Puts the evaluations together and writes the report.",
    first: 1,
    done: [evaluated && await exists(`${run}/report.html`)],
    tasks: () => ["evaluate", "report"].map((name) => task(name, { run })),
    after: jobs.filter(({ name }) => /^(evaluate-|zero-shot$)/.test(name)).map(({ name }) => ({
      job: name,
      each: false,
    })),
    device: true,
  });
  return jobs;
}

/** Lists the folders beside the run's that its settings and its jobs name: what a container must show them. */
export async function foldersNamed(
  { run, sources = {}, force = false, zeroShot }: JobOptions,
): Promise<string[]> {
  const { configuration } = await resolveRun(run, sources, force);
  const named = FIELD_NAMES.filter((name) => FIELDS[name].isPath).flatMap((name) => configuration[name]);
  const paths = named.filter((path): path is string =>
    typeof path === "string" && path !== "" && path !== "-"
  );
  const folders = paths.map((path) => dirname(resolve(path.replace(/[*?[{].*$/s, "any"))));
  return [...new Set([...folders, ...zeroShot?.data ? [resolve(zeroShot.data)] : []])].sort();
}

/** Lists the places of the processes of a job that must still run. */
export function missingOf({ done }: Job): number[] {
  return done.flatMap((is, place) => is ? [] : [place]);
}

/** Gives what the process at a place of a job is told: its number, or its name. */
export function unitOf({ units, first }: Job, place: number): string | number {
  return units?.[place] ?? first + place;
}

const PLAN = v.object({
  parts: v.pipe(count, v.minValue(1)),
  dense: v.array(v.picklist(["batch", "steps", "compute", "switch"])),
  routerGroups: v.optional(v.pipe(count, v.minValue(1))),
  training: v.optional(v.record(v.string(), v.union([v.number(), v.boolean(), v.string()]))),
  zeroShot: v.optional(v.object({ tasks: v.array(v.string()), data: v.optional(v.string()) })),
  slurm: v.optional(v.object({
    slurmPartition: v.optional(WORD),
    expertsAtOnce: v.optional(count),
    time: v.optional(WORD),
    gres: v.optional(WORD),
    container: v.optional(v.string()),
  })),
});

/**
 * How the jobs of a run were planned when they were last submitted: the parts of stages, the models to compare with, the processes that
 * train the routers together, what trainings are told besides the run, the zero-shot tasks that are asked, and what Slurm is asked for.
 *
 * @ignore
 */
export type JobPlan = v.InferOutput<typeof PLAN>;

/**
 * Folder, in the run folder, of files that belong to jobs and not to the run: their plan, scripts and logs.
 */
export const JOBS = "jobs";
/** Their plan, in the run folder. */
export const JOB_PLAN = `${JOBS}/plan.json`;

/** Reads how the jobs of a run were planned; null where none were submitted. Throws an `InputError` where that is damaged. */
export async function readJobPlan(run: string): Promise<JobPlan | null> {
  return await readJsonIfThere(`${run}/${JOB_PLAN}`, PLAN, "the plan of a run's jobs").catch(
    withRemedy(say`remove it, and run ${task("submit", { run })} with all its options again`),
  );
}

/**
 * Notes how the jobs of a run are planned, and writes its settings into its `config.json`: jobs are told only
 * the run.
 */
export async function settleJobs(options: RunOptions, plan: JobPlan, watch: RunWatch = {}): Promise<void> {
  await inRun(options, watch, { task: "submit" }, async ({ work: { run } }) => {
    await refuseLink(`${run}/${JOBS}`);
    await writeAtomic(`${run}/${JOB_PLAN}`, jsonText(plan));
  });
}
