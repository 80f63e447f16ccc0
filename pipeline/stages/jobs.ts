/**
 * Plans what is missing in a run as jobs for many processes: which jobs there are, what each runs, and which
 * must wait for which. This machine and a scheduler run the same plan.
 *
 * @module
 */

import * as v from "valibot";
import { task, type TaskReference } from "../../kernels/errors.ts";
import { exists, jsonText, refuseLink, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { LEARN } from "./learn.ts";
import { resolveRun } from "./resolution.ts";
import { inRun, type RunOptions, type RunWatch } from "./session.ts";
import { type States, statesOf } from "./state.ts";
import { hasFiles } from "./tokenize_parts.ts";
import { baselineTargets } from "./baselines.ts";
import { denseTarget, type Match } from "./train_dense.ts";

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
  /** The tasks of a process, by its number, one after another. */
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
}

/** The options of a plan of jobs. */
export interface JobOptions {
  /** Run folder. */
  run: string;
  /** Where the settings come from. */
  sources?: Sources;
  /** Accepts values that differ from the run's. */
  force?: boolean;
  /** Number of processes that make a stage together, if the stage has parts. Default: 1. */
  parts?: number;
  /** Dense models to compare with. Default: the one that matches the steps of the experts. */
  dense?: readonly Match[];
}

/** Plans the jobs that make a run from text to report. Only reads the run folder, and changes nothing. */
export async function planJobs(
  { run, sources = {}, force = false, parts = 1, dense = ["batch"] }: JobOptions,
): Promise<Job[]> {
  const { configuration } = await resolveRun(run, sources, force);
  const states = statesOf({ run, configuration });
  const jobs = [
    ...await partitionJobs(run, states, parts, hasFiles(configuration)),
    ...await modelJobs(run, states, configuration, dense, parts === 1 ? "partition" : "tokens"),
  ];
  // A job that depends on one that must still run must still run too.
  const named = new Map(jobs.map((job) => [job.name, job]));
  for (const job of jobs) {
    for (const { job: name, each } of job.after) {
      const { done } = named.get(name)!;
      job.done = job.done.map((is, i) => is && (each ? done[i] : done.every(Boolean)));
    }
  }
  return jobs;
}

const isMade = async ({ graph, of }: States, name: string): Promise<boolean> => {
  const stage = graph.get(name);
  return stage === undefined || (await of(stage)).state === "up to date";
};

/** Plans the partition: one job, or with parts about one job per stage. */
async function partitionJobs(run: string, states: States, parts: number, byFiles: boolean): Promise<Job[]> {
  const made = (...names: string[]) => Promise.all(names.map((name) => isMade(states, name)));
  const all = async (...names: string[]) => [(await made(...names)).every(Boolean)];
  const one = (name: string) => task(name, { run });
  const part = (name: string) => (unit: string | number) => [task(name, { run, part: `${unit}/${parts}` })];
  if (parts === 1) {
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
  const inParts = async (stage: string): Promise<boolean[]> => {
    const [closed] = await made(stage);
    return Array<boolean>(parts).fill(closed);
  };
  const after = (job: string) => [{ job, each: false }];
  const learns = states.graph.get(LEARN) !== undefined;
  return [
    ...byFiles
      ? [{
        name: "text",
        about: "Fixes the text, and trains the tokenizer.",
        first: 1,
        done: await all("corpus", "tokenizer"),
        tasks: () => ["corpus", "tokenizer"].map(one),
        after: [],
        device: false,
      }, {
        name: "tokenize",
        about: "Turns a part of the text's files into tokens.",
        first: 1,
        done: await inParts("tokenize"),
        tasks: part("tokenize"),
        after: after("text"),
        device: false,
      }]
      : [],
    {
      name: "tokens",
      about: byFiles ? "Puts the tokens together." : "Turns the text into tokens.",
      first: 1,
      done: await all("corpus", "tokenizer", "tokenize"),
      tasks: () => (byFiles ? ["tokenize"] : ["corpus", "tokenizer", "tokenize"]).map(one),
      after: byFiles ? after("tokenize") : [],
      device: false,
    },
    ...learns
      ? [{
        name: "routers",
        about: "Learns how to split the text.",
        first: 1,
        done: await all(LEARN),
        tasks: () => [one(LEARN)],
        after: after("tokens"),
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
  { experts }: Configuration,
  dense: readonly Match[],
  tokens: string,
): Promise<Job[]> {
  const models = experts + baselineTargets().length; // as many parts as an evaluation has models
  const evaluated = await isMade(states, "evaluate");
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
      tasks: (unit) => [task("train-expert", { run, expert: unit })],
      after: [{ job: "partition", each: false }],
      device: true,
      trains: true,
    },
    {
      name: "evaluate-expert",
      about: "Scores the held-out sequences with one expert.",
      first: 1,
      done: Array<boolean>(experts).fill(evaluated),
      tasks: evaluates,
      after: [{ job: "train-expert", each: true }],
      device: true,
    },
  ];
  for (const match of dense) {
    const { name, command } = denseTarget(match);
    jobs.push({
      name: `train-${name}`,
      about: "Trains a dense model on all of the text.",
      first: 1,
      done: [await isMade(states, `train-${name}`)],
      tasks: () => [task(command.task, { run, ...command.with })],
      after: [{ job: tokens, each: false }],
      device: true,
      trains: true,
    }, {
      name: `evaluate-${name}`,
      about: "Scores the held-out sequences with a dense model.",
      first: experts + 1 + baselineTargets().findIndex((target) => target.name === name),
      done: [evaluated],
      tasks: evaluates,
      after: [{ job: `train-${name}`, each: false }, { job: "partition", each: false }],
      device: true,
    });
  }
  jobs.push({
    name: "evaluate",
    about: "Puts the evaluations together and writes the report.",
    first: 1,
    done: [evaluated && await exists(`${run}/report.html`)],
    tasks: () => ["evaluate", "report"].map((name) => task(name, { run })),
    after: jobs.filter(({ name }) => name.startsWith("evaluate-")).map(({ name }) => ({
      job: name,
      each: false,
    })),
    device: true,
  });
  return jobs;
}

/** Lists the places of the processes of a job that must still run. */
export function missingOf({ done }: Job): number[] {
  return done.flatMap((is, place) => is ? [] : [place]);
}

const PLAN = v.object({
  parts: v.pipe(count, v.minValue(1)),
  dense: v.array(v.picklist(["batch", "steps"])),
});

/**
 * How the jobs of a run were planned when they were last submitted: the number of parts of stages, and the
 * dense models.
 *
 * @ignore
 */
export type JobPlan = v.InferOutput<typeof PLAN>;

/**
 * Folder, in the run folder, of files that belong to jobs and not to the run: their plan, scripts and logs.
 */
export const JOBS = "jobs";

/** Reads how the jobs of a run were planned; null where none were submitted. Throws an `InputError` where that is damaged. */
export async function readJobPlan(run: string): Promise<JobPlan | null> {
  return await readJsonIfThere(`${run}/${JOBS}/plan.json`, PLAN, "the plan of a run's jobs");
}

/**
 * Notes how the jobs of a run are planned, and writes its settings into its `config.json`: jobs are told only
 * the run.
 */
export async function settleJobs(options: RunOptions, plan: JobPlan, watch: RunWatch = {}): Promise<void> {
  await inRun(options, watch, { task: "submit" }, async ({ work: { run } }) => {
    await refuseLink(`${run}/${JOBS}`);
    await writeAtomic(`${run}/${JOBS}/plan.json`, jsonText(plan));
  });
}
