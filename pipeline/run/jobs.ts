/**
 * Plans what is missing of a run as jobs for many processes. The plan of jobs is the graph's: a job
 * for every stage, whose processes each begin with a part of its nodes, then one for every model.
 * This machine and a scheduler run the same plan.
 *
 *     jobs/    plan.json as `submit` notes it in the run, scripts/, logs/
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { RunError, say, task, type TaskReference } from "../../kernels/errors.ts";
import { describeNodes } from "../graph/describe.ts";
import { type Lock, processText, takeLock } from "../graph/lock.ts";
import {
  ASSIGN,
  CORPUS,
  EVALUATION,
  LEARN,
  type Node,
  readManifest,
  SCORE,
  SPLIT,
  TOKENIZE,
  TOKENIZER,
  writeManifest,
  ZERO_SHOT,
} from "../graph/node.ts";
import { replacements } from "../graph/replace.ts";
import { Walk } from "../graph/walk.ts";
import { findKind } from "../partition/partitioners.ts";
import { writeRunConfiguration } from "../graph/configuration.ts";
import { exists, jsonText, refuseLink, withRemedy, writeAtomic } from "../graph/files.ts";
import { refuseLinks } from "../graph/folder.ts";
import { count, readJsonIfThere } from "../graph/schema.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { WORD } from "../settings/field.ts";
import { ADOPT, adoptRequests } from "../stages/adopt.ts";
import {
  askedChoices,
  EVALUATE,
  type EvaluateRequest,
  modelScoresNode,
} from "../stages/evaluate.ts";
import {
  type GraphOptions,
  partitionGraph,
  type Plan,
  type Requested,
  requestGraph,
  runGraph,
} from "./plan.ts";
import { refuseRevision } from "./refusal.ts";
import { chooseShare, type RunOptions } from "./run.ts";
import { checkAlone, resolveSettings } from "./settings.ts";
import { STAGES } from "../stages/stages.ts";
import { allTargets, denseTarget, type Target } from "../stages/targets.ts";
import { listTrained, type TrainRequest } from "../stages/train.ts";

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
 * How the jobs of a run were planned when they were last submitted: the parts of stages, and the
 * models to compare with. Also the processes that train the routers together, and what trainings
 * get apart from the run. Also the zero-shot tasks that are asked, and what Slurm is asked for.
 *
 * @ignore
 */
export type JobPlan = v.InferOutput<typeof PLAN>;

/**
 * The options of a plan of jobs: how it is planned, and where. Default: one process for a stage,
 * one dense model.
 */
export interface JobOptions
  extends
    Partial<JobPlan>,
    Pick<RunOptions, "run" | "sources" | "force">,
    Pick<GraphOptions, "recorded"> {}

/** Names the models to compare with that a plan asks for. */
export const nameCompared = (dense: JobPlan["dense"]): string[] =>
  dense.map((match) => match === "switch" ? match : denseTarget(match).name);

/**
 * Folder, in the run folder, of files that belong to jobs and not to the run: their plan, scripts
 * and logs.
 */
export const JOBS = "jobs";

/**
 * Reads how the jobs of a run were planned; null where none were submitted. Throws an `InputError`
 * where that is damaged.
 */
export async function readJobPlan(run: string): Promise<JobPlan | null> {
  return await readJsonIfThere(`${run}/${JOBS}/plan.json`, PLAN, "the plan of a run's jobs").catch(
    withRemedy(say`remove it, and run ${task("submit", { run })} with all its options again`),
  );
}

/**
 * Notes how the jobs of a run are planned, and writes its settings into its `config.json`: jobs get
 * only the run. With `force` these may be others than before, and what another version made is made
 * again, as jobs would refuse it.
 */
export async function writeJobSettings(
  { run, sources = {}, force = false }: Pick<JobOptions, "run" | "sources" | "force">,
  plan: JobPlan,
): Promise<void> {
  const { configuration, changed, existing, adapter } = await resolveSettings(run, sources, force);
  await refuseLink(`${run}/${JOBS}`);
  if (force || !existing || changed.length > 0) {
    await writeRunConfiguration(run, configuration, adapter);
  }
  if (force) await giveUpRevisions(run, configuration, plan);
  await writeAtomic(`${run}/${JOBS}/plan.json`, jsonText(plan));
}

/**
 * Marks what another version made, by a manifest without a key: jobs make it again, and the user's
 * files in it stay. Throws a `RunError` where another process works in the run.
 */
async function giveUpRevisions(
  run: string,
  configuration: Configuration,
  plan: JobPlan,
): Promise<void> {
  const { graph } = await planAll(run, configuration, plan);
  for (const { node: { name, revision }, because } of await replacements(new Walk(run, graph))) {
    if (because !== "revision") continue;
    await checkAlone(run);
    await refuseLinks(run, name);
    const { made: origin, ...identity } = (await readManifest(`${run}/${name}`))!;
    await writeManifest(`${run}/${name}`, { ...identity, revision, key: "" }, origin);
  }
}

/**
 * Waits until no other process submits or runs the jobs of a run. Thus as many run at once as one
 * of them was asked for. Throws a `RunError` where that takes longer than `patience` milliseconds,
 * and the reason of `signal` where that ends the waiting.
 */
export async function lockJobs(
  run: string,
  { patience = Infinity, signal, tell }: {
    patience?: number;
    signal: AbortSignal;
    tell(text: string): void;
  },
): Promise<Lock & Disposable> {
  for (let waited = 0;; waited += 200) {
    const taken = await takeLock(`${run}/${JOBS}`, "submit", "submit");
    if ("release" in taken) return { ...taken, [Symbol.dispose]: taken.release };
    const worker = processText(taken);
    if (waited === 0) tell(`waits for ${worker}, which submits this run`);
    if (waited >= patience) {
      throw new RunError(
        `Cannot submit "${run}" as only one process may do so at a time: ${worker} does`,
        { where: run, remedy: "wait for it, and submit the same again" },
      );
    }
    await new Promise((done) => setTimeout(done, 200));
    signal.throwIfAborted();
  }
}

/**
 * Lists the folders next to the run's that its settings and its jobs name: what a container must
 * show them.
 */
export async function foldersNamed(
  { run, sources = {}, force = false, zeroShot }: JobOptions,
): Promise<string[]> {
  const { configuration } = await resolveSettings(run, sources, force);
  const named = FIELD_NAMES.filter((name) => FIELDS[name].isPath).flatMap((name) =>
    configuration[name]
  );
  const paths = named.filter((path): path is string =>
    typeof path === "string" && path !== "" && path !== "-"
  );
  const folders = paths.map((path) => dirname(resolve(path.replace(/[*?[{].*$/s, "any"))));
  return [...new Set([...folders, ...zeroShot?.data ? [resolve(zeroShot.data)] : []])].sort();
}

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
  /** The task of a process by its number or name. */
  task(unit: string | number): TaskReference;
  /** The jobs of which all processes must have ended well before it. */
  after: readonly string[];
  /** Whether it opens a GPU. */
  device: boolean;
  /** The models that its processes train, where they do: trainings may be many and long. */
  trains?: readonly string[];
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
 * Plans the jobs that make a run from text to report. Reads the run folder and the text alone, and
 * changes nothing. Throws what `planRun` throws.
 */
export async function planJobs(
  { run, sources = {}, force = false, recorded, ...options }: JobOptions,
): Promise<Job[]> {
  const plan: JobPlan = { parts: 1, dense: ["batch"], ...options };
  const { configuration } = await resolveSettings(run, sources, force);
  const { graph, partition, ...asked } = await planAll(run, configuration, plan, { recorded });
  const walk = new Walk(run, graph);
  if (!force) await refuseRevision(walk);
  const needed = new Set(
    (await describeNodes(walk)).filter(({ toMake }) => toMake).map(({ node }) => node.name),
  );
  const names = new Set(graph.map(({ name }) => name));
  const isKnown = partition.text.blocks !== undefined;
  const isMade = (name: string) => (isKnown || names.has(name)) && !needed.has(name);
  const stages = partitionJobs(run, configuration, plan, partition);
  const jobs = [...stages, ...modelJobs(run, plan, stages, asked)].map(
    ({ shares, first = 1, device = false, ...job }): Job => ({
      ...job,
      first,
      device,
      // Before text is unpacked, nothing is known of what comes of it.
      done: shares.map((names) => (isKnown || names.length > 0) && names.every(isMade)),
      task(unit) {
        const { task: name, with: options } = job.task(unit);
        return task(
          name,
          device && plan.training?.requireGpu ? { ...options, requireGpu: true } : options,
        );
      },
    }),
  );
  const isReported = await exists(`${run}/report.html`) &&
    jobs.every(({ done }) => done.every(Boolean));
  jobs.at(-1)!.done = [isReported];
  return jobs;
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
    name: "partition",
    about: "Partitions the text.",
    device: true,
    after: [],
    shares: [nodes.map(({ name }) => name)],
    task: () => task("partition", { run }),
  };
  if (parts === 1 && groups === 1) return [whole];
  const processes: Record<string, number> = {
    [CORPUS]: namesIn(nodes, CORPUS).length > 0 ? parts : 0,
    [TOKENIZER]: 1,
    [LEARN]: learns ? groups : 0,
    [ASSIGN]: prices === "" ? 1 : parts,
    derive: 0, // what trainings go on from is made with the rest
  };
  const jobs: Draft[] = [];
  for (const [name, { about, onRequest }] of STAGES) {
    const processCount = onRequest ? 0 : processes[name] ?? parts;
    if (processCount === 0) continue;
    const ownNames = namesIn(nodes, name);
    const share = (index: number) =>
      namesIn(nodes.filter(chooseShare({ index, of: processCount }, nodes)), name);
    jobs.push({
      name,
      about,
      device: OPENING.includes(name),
      after: jobs.slice(-1).map(({ name }) => name),
      shares: processCount === 1
        ? [ownNames]
        : Array.from({ length: processCount }, (_, i) => share(i + 1)),
      task: (unit) =>
        task(name, { run, part: processCount > 1 ? `${unit}/${processCount}` : undefined }),
    });
    if (name !== TOKENIZE || processCount === 1) continue;
    // Models of all text need what puts the parts together, and not the routers.
    const together = {
      name: TOKENS,
      about: "Puts the parts of the tokens together.",
      after: [TOKENIZE],
    };
    jobs.push({ ...together, shares: [ownNames], task: () => task(TOKENIZE, { run }) });
  }
  const remainder = {
    about: "Makes what is left of the partition.",
    device: false,
    after: [SPLIT],
  };
  return [...jobs, { ...whole, ...remainder }];
}

/** Plans the models, their evaluation, and the report. */
function modelJobs(
  run: string,
  { training = {}, zeroShot }: JobPlan,
  stages: readonly Draft[],
  { targets, choices }: { targets: readonly Target[]; choices: TaskReference["with"] },
): Draft[] {
  const experts = targets.filter(({ expert }) => expert !== undefined);
  const tokens = stages.findLast(({ name }) => name === TOKENS || name === TOKENIZE) ?? stages[0];
  const expertsJob: Draft = {
    name: "train-expert",
    about: "Trains one expert on its own part.",
    after: ["partition"],
    device: true,
    trains: experts.map(({ node }) => node),
    first: 0,
    shares: experts.map(({ node }) => [node]),
    task: (unit) => task("train-expert", { run, expert: unit, ...training }),
  };
  const denseJobs = targets.slice(experts.length).map(({ name, node, command }): Draft => ({
    name: `train-${name}`,
    after: [tokens.name],
    device: true,
    trains: [node],
    shares: [[node]],
    about: `Trains a ${
      name === "switch" ? "Switch Transformer" : "dense model"
    } on all of the text.`,
    task: () => task(command.task, { run, ...command.with, ...training }),
  }));
  const trained = [expertsJob, ...denseJobs].map(({ name }) => name);
  const places = allTargets({ experts: experts.length }).map(modelScoresNode);
  const scores = "evaluate-models";
  const asked: Draft[] = zeroShot
    ? [{
      about: "Asks one zero-shot task of the mixture and the dense models.",
      name: ZERO_SHOT,
      after: trained,
      device: true,
      first: 0,
      units: zeroShot.tasks,
      shares: zeroShot.tasks.map((name) => [`${ZERO_SHOT}/${name}`]),
      task: (name) => task(ZERO_SHOT, { run, task: name, data: zeroShot.data }),
    }]
    : [];
  return [
    expertsJob,
    ...denseJobs,
    {
      name: scores,
      about: "Scores the held-out sequences with one model.",
      after: trained,
      device: true,
      shares: places.map((name) => [name]),
      task: (unit) => task(EVALUATE, { run, part: `${unit}/${places.length}` }),
    },
    {
      name: EVALUATE,
      about: "Puts the evaluations together.",
      after: [scores],
      device: true,
      shares: [[EVALUATION]],
      task: () => task(EVALUATE, { run, ...choices }),
    },
    ...asked,
    {
      name: "report",
      about: "Writes the report.",
      after: [EVALUATE, ...asked.map(({ name }) => name)],
      shares: [[]],
      task: () => task("report", { run }),
    },
  ];
}

/** Lists the places of the processes of a job that must still run. */
export const listMissing = ({ done }: Job): number[] =>
  done.flatMap((isDone, place) => isDone ? [] : [place]);

/** Gives what the process at a place of a job gets: its number, or its name. */
export const nameUnit = ({ units, first }: Job, place: number): string | number =>
  units?.[place] ?? first + place;

/** Plans all nodes of a run; before its text is unpacked, those that unpack it. */
async function planAll(
  run: string,
  configuration: Configuration,
  { dense, zeroShot }: JobPlan,
  look: GraphOptions = {},
): Promise<{ partition: Plan; targets: Target[]; choices: TaskReference["with"]; graph: Node[] }> {
  const partition = await partitionGraph(run, configuration, look);
  const { trained: _, ...asked } = await askedChoices(run); // all experts are trained then
  const choices = Object.fromEntries(
    Object.entries(asked).map(([name, value]) => [name, String(value)]),
  );
  const chosen = nameCompared(dense);
  const all = allTargets(configuration);
  const trained = await listTrained(run, all);
  const targets = all.filter(({ name, expert }) => expert !== undefined || chosen.includes(name));
  if (!partition.text.blocks) return { partition, targets, choices, graph: partition.nodes };
  // An evaluation is of all that are there.
  const models = all.filter((target) => trained.includes(target) || targets.includes(target));
  const graph = requestGraph(run, configuration, look.recorded);
  const training: TrainRequest = { targets };
  const evaluation: EvaluateRequest = { models, choices: asked };
  const requests: Requested[] = [
    { stage: "train-expert", request: training },
    ...(await adoptRequests(graph)).map((request) => ({ stage: ADOPT, request })),
    { stage: EVALUATE, request: evaluation },
  ];
  for (const name of zeroShot?.tasks ?? []) {
    const { askedOf } = await import("../stages/ask.ts");
    const request = { name, models, ...await askedOf(name, { data: zeroShot?.data }) };
    requests.push({ stage: ZERO_SHOT, request });
  }
  return { partition, targets, choices, graph: await runGraph(partition.nodes, graph, requests) };
}
