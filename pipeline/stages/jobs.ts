/**
 * Plans what is missing of a run as jobs for many processes. The plan of jobs is the graph's: a job for every stage, whose processes each
 * begin with a part of its nodes, then one for every model. This machine and a scheduler run the same plan.
 *
 * @module
 */

import { task, type TaskReference } from "../../kernels/errors.ts";
import {
  EVALUATION,
  givenNode,
  type Manifest,
  type Node,
  readManifest,
  TOKENIZER,
  ZERO_SHOT,
} from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { findKind } from "../partition/partitioners.ts";
import { exists } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { ASSIGN } from "./assign.ts";
import { modelsBefore } from "./before.ts";
import { EVALUATE, evaluateNodes, scoresNode } from "./evaluate.ts";
import type { JobOptions, JobPlan } from "./job_plan.ts";
import { LEARN } from "./learn.ts";
import { type GraphOptions, nodesToMake, partitionGraph, type Plan } from "./plan.ts";
import { chooseShare, refuseRevision } from "./run.ts";
import { SCORE } from "./score.ts";
import { resolveSettings } from "./settings.ts";
import { SPLIT } from "./split.ts";
import { STAGES } from "./stages.ts";
import { allTargets, type Match, type Target } from "./targets.ts";
import { CORPUS } from "./text.ts";
import { TOKENIZE } from "./tokenize.ts";
import { tokensNode } from "./token_rows.ts";
import { trainNodes } from "./train.ts";
import { zeroShotNodes } from "./zero_shot.ts";

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
  /** What each process gets instead of its number, where that is a name. */
  units?: readonly string[];
  /** The tasks of a process by its number or name, one after another. */
  tasks(unit: string | number): TaskReference[];
  /** The jobs of which all processes must have ended well before it. */
  after: readonly string[];
  /** Whether it opens a GPU. */
  device: boolean;
  /** Whether its processes are trainings, which may be many and long. */
  trains?: true;
}

/** A job, and the nodes that each of its processes makes. */
interface Draft extends Omit<Job, "done" | "first" | "device"> {
  shares: readonly (readonly string[])[];
  first?: number;
  device?: boolean;
}

const TOKENS = "tokens";

/** Stages of a partition that open a GPU. */
const OPENING: readonly string[] = [LEARN, SCORE];

/**
 * Plans the jobs that make a run from text to report. Reads the run folder and the text alone, and changes nothing. Throws what
 * `planRun` throws.
 */
export async function planJobs(
  { run, sources = {}, force = false, recorded, ...options }: JobOptions,
): Promise<Job[]> {
  const plan: JobPlan = { parts: 1, dense: ["batch"], ...options };
  const { configuration } = await resolveSettings(run, sources, force);
  const { graph, partition, targets } = await planAll(run, configuration, plan, { recorded });
  const walk = new Walk(run, graph);
  if (!force) await refuseRevision(walk, graph);
  const needed = await nodesToMake(walk, graph), known = new Set(graph.map(({ name }) => name));
  const isMade = (name: string) => (partition.complete || known.has(name)) && !needed.has(name);
  const stages = partitionJobs(run, configuration, plan, partition);
  const jobs = [...stages, ...modelJobs(run, plan, stages, targets)].map(
    ({ shares, first = 1, device = false, ...job }): Job => ({
      ...{ ...job, first, device },
      // Before text is unpacked, nothing is known of what comes of it.
      done: shares.map((names) => (partition.complete || names.length > 0) && names.every(isMade)),
    }),
  );
  const isReported = await exists(`${run}/report.html`) && jobs.every(({ done }) => done.every(Boolean));
  jobs.at(-1)!.done = [isReported];
  return plan.training?.requireGpu ? jobs.map(requiringGpu) : jobs;
}

const namesIn = (nodes: readonly Node[], stage: string) =>
  nodes.filter(({ maker }) => maker.stage === stage).map(({ name }) => name);

/** Plans the partition: one job, or with parts one for every stage. */
function partitionJobs(
  run: string,
  configuration: Configuration,
  { parts, routerGroups = 1 }: JobPlan,
  { nodes }: Plan,
): Draft[] {
  const { routers, experts, prices } = configuration;
  const learns = routers === "";
  const groups = learns && findKind(configuration).models ? Math.min(routerGroups, experts) : 1;
  const whole: Draft = {
    ...{ name: "partition", about: "Partitions the text.", device: true, after: [] },
    shares: [nodes.map(({ name }) => name)],
    tasks: () => [task("partition", { run })],
  };
  if (parts === 1 && groups === 1) return [whole];
  const processes: Record<string, number> = {
    ...{ [CORPUS]: namesIn(nodes, CORPUS).length > 0 ? parts : 0, [TOKENIZER]: 1 },
    ...{ [LEARN]: learns ? groups : 0, [ASSIGN]: prices === "" ? 1 : parts },
    derive: 0, // what trainings go on from is made with the rest
  };
  const jobs: Draft[] = [];
  for (const [name, { about, onRequest }] of STAGES) {
    const of = onRequest ? 0 : processes[name] ?? parts;
    if (of === 0) continue;
    const own = namesIn(nodes, name);
    const share = (index: number) => namesIn(nodes.filter(chooseShare({ index, of }, nodes)), name);
    jobs.push({
      ...{ name, about, device: OPENING.includes(name), after: jobs.slice(-1).map(({ name }) => name) },
      shares: of === 1 ? [own] : Array.from({ length: of }, (_, i) => share(i + 1)),
      tasks: (unit) => [task(name, { run, part: of > 1 ? `${unit}/${of}` : undefined })],
    });
    if (name !== TOKENIZE || of === 1) continue;
    // Models of all text need what puts the parts together, and not the routers.
    const together = { name: TOKENS, about: "Puts the parts of the tokens together.", after: [TOKENIZE] };
    jobs.push({ ...together, shares: [own], tasks: () => [task(TOKENIZE, { run })] });
  }
  const rest = { about: "Makes what is left of the partition.", device: false, after: [SPLIT] };
  return [...jobs, { ...whole, ...rest }];
}

/** Plans the models, their evaluation, and the report. */
function modelJobs(
  run: string,
  { training = {}, zeroShot }: JobPlan,
  stages: readonly Draft[],
  targets: readonly Target[],
): Draft[] {
  const experts = targets.filter(({ expert }) => expert !== undefined);
  const tokens = stages.findLast(({ name }) => name === TOKENS || name === TOKENIZE) ?? stages[0];
  const trains = { device: true, trains: true } as const;
  const expertsJob: Draft = {
    ...{ name: "train-expert", about: "Trains one expert on its own part.", after: ["partition"], ...trains },
    ...{ first: 0, shares: experts.map(({ node }) => [node]) },
    tasks: (unit) => [task("train-expert", { run, expert: unit, ...training })],
  };
  const others = targets.slice(experts.length).map(({ name, node, command }): Draft => ({
    ...{ name: `train-${name}`, after: [tokens.name], ...trains, shares: [[node]] },
    about: `Trains a ${name === "switch" ? "Switch Transformer" : "dense model"} on all of the text.`,
    tasks: () => [task(command.task, { run, ...command.with, ...training })],
  }));
  const trained = [expertsJob, ...others].map(({ name }) => name);
  const places = allTargets({ experts: experts.length }).map(scoresNode), scores = "evaluate-models";
  const asked: Draft[] = zeroShot
    ? [{
      about: "Asks one zero-shot task of the mixture and the dense models.",
      ...{ name: ZERO_SHOT, after: trained, device: true, first: 0, units: zeroShot.tasks },
      shares: zeroShot.tasks.map((name) => [`${ZERO_SHOT}/${name}`]),
      tasks: (name) => [task(ZERO_SHOT, { run, task: name, data: zeroShot.data })],
    }]
    : [];
  return [
    expertsJob,
    ...others,
    {
      ...{
        name: scores,
        about: "Scores the held-out sequences with one model.",
        after: trained,
        device: true,
      },
      shares: places.map((name) => [name]),
      tasks: (unit) => [task(EVALUATE, { run, part: `${unit}/${places.length}` })],
    },
    {
      ...{ name: EVALUATE, about: "Puts the evaluations together.", after: [scores], device: true },
      ...{ shares: [[EVALUATION]], tasks: () => [task(EVALUATE, { run })] },
    },
    ...asked,
    {
      ...{ name: "report", about: "Writes the report.", after: [EVALUATE, ...asked.map(({ name }) => name)] },
      ...{ shares: [[]], tasks: () => [task("report", { run })] },
    },
  ];
}

/** Tells the tasks of a job that opens a GPU to stop without one. */
const requiringGpu = (job: Job): Job => ({
  ...job,
  tasks: (unit) =>
    job.tasks(unit).map((one) => job.device ? task(one.task, { ...one.with, requireGpu: true }) : one),
});

/** Lists the places of the processes of a job that must still run. */
export const listMissing = ({ done }: Job): number[] => done.flatMap((is, place) => is ? [] : [place]);

/** Gives what the process at a place of a job gets: its number, or its name. */
export const nameUnit = ({ units, first }: Job, place: number): string | number =>
  units?.[place] ?? first + place;

/** Which models and tasks a run is to have apart from its experts. */
export interface WholeChoices {
  /** Models of all text. */
  dense: readonly (Match | "switch")[];
  /** Zero-shot tasks, and the folder of their data. */
  zeroShot?: { tasks: readonly string[]; data?: string };
}

/** Plans all nodes of a run; before its text is unpacked, those that unpack it. */
export async function planAll(
  run: string,
  configuration: Configuration,
  { dense, zeroShot }: WholeChoices,
  look: GraphOptions = {},
): Promise<{ partition: Plan; targets: Target[]; graph: Node[] }> {
  const partition = await partitionGraph(run, configuration, look);
  const chosen = new Set(
    dense.map((match) => match === "batch" ? "dense" : match === "switch" ? match : `dense-${match}`),
  );
  const all = allTargets(configuration);
  const targets = all.filter(({ name, expert }) => expert !== undefined || chosen.has(name));
  if (!partition.complete) return { partition, targets, graph: partition.nodes };
  const tokens = partition.text.blocks!.map(tokensNode);
  const made = new Map<Target, Manifest | null>();
  for (const target of all) made.set(target, await readManifest(`${run}/${target.node}`));
  const models = all.filter((target) => made.get(target) || targets.includes(target)); // an evaluation is of all that are there
  const trainings =
    (await trainNodes(configuration, targets, tokens, await modelsBefore(run, configuration.experts)))
      .map((node, i) => made.get(targets[i])?.result.adopted === undefined ? node : givenNode(node.name) // it stays as it is
      );
  const of = { configuration, tokens, models };
  const later = await evaluateNodes(of);
  for (const name of zeroShot?.tasks ?? []) {
    later.push(...await zeroShotNodes(of, name, { data: zeroShot?.data }));
  }
  const graph = new Map([...partition.nodes, ...trainings].map((node) => [node.name, node]));
  for (const node of later) if (!graph.has(node.name)) graph.set(node.name, node); // given there, made here
  return { partition, targets, graph: [...graph.values()] };
}
