/**
 * Plans studies without running them: lists the jobs that a run of the studies would do, estimates
 * what each takes of one device, and sums them.
 *
 * @module
 */

import type { Variants } from "../../kernels/device/variants.ts";
import {
  adapterKind,
  ASSUMED_GPU,
  computeCost,
  type CostDevice,
  type CostTimes,
  PLAIN_DEVICE,
} from "../cost/cost.ts";
import { narrowNotes } from "../cost/flops.ts";
import { trainingMemory } from "../cost/memory.ts";
import { NAMES, readManifest } from "../graph/node.ts";
import { percent } from "../graph/numbers.ts";
import { modelShapes } from "../model/shape.ts";
import type { Searched } from "../report/reproduction.ts";
import type { Sources } from "../settings/resolution.ts";
import type { Grid, StudyJob } from "./grid.ts";
import { Notes, openStudies, type StudyChoice } from "./folder.ts";
import { searchedTargets } from "./outcome.ts";
import { TRIAL_SHARE } from "./search.ts";
import type { Setup } from "./study.ts";

/** Trials of a search for a learning rate, on average. */
const TRIALS = 4;

/** Values that a search for one setting of the routers tries where that of the preset stays. */
const ROUTER_TRIALS = 3;

/** What is planned. */
export interface PlanStudiesOptions extends StudyChoice {
  /** The device. Default: {@linkcode PLAIN_DEVICE}. */
  device?: Partial<CostDevice>;
  /** Whether trainings compute activations again. Default: no. */
  recompute?: boolean;
  /** Variants of kernels: memory depends on that of the loss. Default: those of the device. */
  variants?: Partial<Variants>;
}

/** @ignore A job of a study, and what it takes of one device. */
export interface PlannedJob {
  run: string;
  /** What is made or searched for there. */
  job: string;
  /** Whether it is done. */
  done: boolean;
  flops: number;
  seconds: number;
  memoryBytes: number;
}

/** @ignore What jobs that are not done take together. */
interface JobsTotal {
  jobs: number;
  flops: number;
  seconds: number;
}

/** @ignore What studies would take. */
export interface StudiesPlan extends Omit<JobsTotal, "jobs"> {
  /** Every job, in order. */
  jobs: PlannedJob[];
  /** What each study takes by itself, with the runs that it shares. */
  studies: (JobsTotal & { study: string })[];
  /** The job that takes most memory; null where all are done. */
  largest: PlannedJob | null;
  /** The device of these estimates. */
  device: CostDevice;
  /** What the estimates rest on, a line each. */
  assumptions: string[];
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for
 * unknown names and impossible settings.
 */
export async function planStudies(options: PlanStudiesOptions): Promise<StudiesPlan> {
  const reported: CostDevice = { ...PLAIN_DEVICE, ...options.device };
  // A GPU of which no memory is known is taken to have that of the assumed one.
  const { memoryBytes } = adapterKind(reported) === "gpu"
    ? { ...ASSUMED_GPU, ...reported }
    : reported;
  const device = { ...reported, ...memoryBytes !== undefined && { memoryBytes } };
  const grid = await openStudies(options);
  const jobs = await listJobs(grid, device, options);
  const studies: StudiesPlan["studies"] = [];
  for (const study of grid.studies) {
    const alone = await listJobs(grid.with([study]), device, options);
    studies.push({ study: study.name, ...sumJobs(alone) });
  }
  const { flops, seconds } = sumJobs(jobs);
  const [largest = null] = jobs.filter(({ done }) => !done)
    .toSorted((a, b) => b.memoryBytes - a.memoryBytes || b.seconds - a.seconds);
  const assumptions = listAssumptions(options, grid, device, jobs);
  return { jobs, flops, seconds, studies, largest, device, assumptions };
}

function sumJobs(jobs: readonly PlannedJob[]): JobsTotal {
  const left = jobs.filter(({ done }) => !done);
  return {
    jobs: jobs.length,
    flops: left.reduce((sum, { flops }) => sum + flops, 0),
    seconds: left.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/**
 * Whether settings are those of a preset of the paper, at sizes of which no processor trains a
 * model.
 */
export const areOfPaper = ({ preset = "" }: Sources): boolean => preset.startsWith("paper-");

/**
 * Whether settings are those of a preset of the paper and name no text: no embedded text is enough
 * for its tokenizer.
 */
export function lackText({ preset, file, flags }: Sources): boolean {
  return areOfPaper({ preset }) && (flags?.input ?? file?.input ?? []).length === 0;
}

/** Reports what estimates rest on. */
function listAssumptions(
  { device: reported, trialShare = TRIAL_SHARE }: PlanStudiesOptions,
  grid: Grid,
  device: CostDevice,
  jobs: readonly PlannedJob[],
): string[] {
  const { flops, utilisation, name, memoryBytes = 0 } = device;
  const kind = adapterKind(device);
  const assumed = ASSUMED_GPU.name;
  const deviceName = name === assumed
    ? `an ${name}, on which no training was timed`
    : `"${name}", as measured here`;
  const share = `, ${+(100 * utilisation).toFixed(2)}% of the ${
    flops.toPrecision(3)
  } of ${deviceName}`;
  const size = `${memoryBytes / 1e9} GB (${(memoryBytes / 2 ** 30).toFixed(1)} GiB)`;
  const shapes = grid.all.flatMap((setup) => Object.values(modelShapes(grid.configuration(setup))));
  const trial = percent(trialShare);
  const once = grid.onceMade.join(", ");
  const lines = [
    `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device${name ? share : ""}`,
    memoryBytes > 0 &&
    `${size} of memory on one device${
      reported?.memoryBytes === undefined ? `, as an ${assumed} has` : ""
    }`,
    ...narrowNotes(shapes, kind),
    "experts that are trained side by side count one after another",
    `a search for a learning rate takes ${TRIALS} trials of ${trial} of a training`,
    jobs.some(({ job }) => job.endsWith("of routers")) &&
    (`a search for a setting of routers takes ${ROUTER_TRIALS} trials, each with a ` +
      `partition and ${trial} of the training of the experts`),
    "reading text and evaluation are not counted: minutes",
    once !== "" && `one seed alone, however many are asked for: ${once}`,
  ];
  return lines.filter((line) => line !== false);
}

/** Picks what one training takes. */
function pickTraining(model: Searched, times: CostTimes): number {
  if (model === "experts") return times.oneExpert;
  if (model === "dense-compute") return times.equalCompute;
  return model === "switch" ? times.switch : times.dense;
}

/** A part of a job that is listed by itself. */
interface Part {
  job: string;
  /** Picks what it takes from what the settings of the run take. */
  takes(times: CostTimes): number;
  /** The model that trains. */
  model?: Searched;
  /** Whether all routers train. */
  routers?: boolean;
  /** The node that is made, unless something is searched for. */
  node?: string;
}

/**
 * Goes through the jobs of studies as a run does, and estimates each. A search that is not made
 * comes to the values of the preset.
 */
async function listJobs(
  studies: Grid,
  device: CostDevice,
  options: PlanStudiesOptions,
): Promise<PlannedJob[]> {
  const grid = studies.with(studies.studies, { searched: structuredClone(studies.searched) });
  const { searched, preset: { routerRate, rounds } } = grid;
  const notes = new Notes(studies, options.run, options.from);
  const jobs: PlannedJob[] = [];
  const scored = new Set<string>(); // whose routers and scores other runs take
  const add = async (job: StudyJob, isNoted: boolean) => {
    const isFound = "recipe" in job && job.recipe in { ...searched.rates, ...searched.routers };
    const isDone = "recipe" in job ? isFound : isNoted;
    for (const part of listParts(job, grid, scored, options)) {
      jobs.push(await estimatePart(part, job.setup, grid, device, isDone, options));
    }
    if (job.work === "split" && !isDone) scored.add(grid.routedAs(job.setup));
    if (job.work === "search routers") {
      searched.routers[job.recipe] ??= { routerRate, rounds, trials: [] };
    }
    if (job.work === "search rate") searched.rates[job.recipe] ??= { rate: 1, trials: [] };
  };
  const seen = new Set<string>();
  for (const job of grid.searches(seen)) await add(job, false);
  for (const setup of grid.runs()) {
    const isNoted = await notes.find(setup) !== undefined;
    for (const job of grid.jobs(setup, seen)) await add(job, isNoted);
  }
  return jobs;
}

/** Lists the parts of a job: a model that trains, or one setting that is searched for. */
function listParts(
  job: StudyJob,
  grid: Grid,
  scored: ReadonlySet<string>,
  { trialShare: share = TRIAL_SHARE }: PlanStudiesOptions,
): Part[] {
  const { setup } = job;
  const targets = (model: Searched) => searchedTargets(model, grid.configuration(setup));
  if (job.work === "search routers") {
    // The first trial of the rate splits the text as a run of the study does; every other one
    // splits it anew.
    const search = (name: string, rounds: number, trials: number): Part => ({
      job: name,
      takes: ({ routers, sharding, allExperts }) =>
        (ROUTER_TRIALS - 1) * (rounds * routers + sharding) + trials * share * allExperts,
      model: "experts",
      routers: true,
    });
    const { routerRate, rounds } = grid.givenRouters;
    return [
      ...routerRate === undefined ? [search("rate of routers", 1, ROUTER_TRIALS)] : [],
      ...rounds === undefined ? [search("rounds of routers", 5 / 4, ROUTER_TRIALS - 1)] : [],
    ];
  }
  if (job.work === "search rate") {
    const { model } = job;
    const trials = TRIALS * share * targets(model).length;
    return [{
      job: `learning rate of ${model}`,
      takes: (times) => trials * pickTraining(model, times),
      model,
    }];
  }
  if (job.work === "split") {
    const isScored = scored.has(grid.routedAs(setup));
    return [{
      job: "partition",
      takes: ({ routers, sharding }) => isScored ? 0 : routers + sharding,
      routers: !isScored,
      node: NAMES,
    }];
  }
  return setup.models.flatMap((model) =>
    targets(model).map(({ name, node }): Part => ({
      job: name,
      takes: (times) => pickTraining(model, times),
      model,
      node,
    }))
  );
}

/** Estimates what a part of a job takes, and tells whether it is done. */
async function estimatePart(
  { job, takes, model, routers, node }: Part,
  setup: Setup,
  grid: Grid,
  device: CostDevice,
  isDone: boolean,
  { run, recompute, variants }: PlanStudiesOptions,
): Promise<PlannedJob> {
  const configuration = grid.configuration(setup);
  const loss = variants?.loss;
  const cost = computeCost(configuration, { ...device, recompute, loss });
  const isMade = node !== undefined && await readManifest(`${run}/${setup.name}/${node}`) !== null;
  let memoryBytes = routers ? cost.memory.routers.total : 0;
  if (model) {
    const [target] = searchedTargets(model, configuration);
    const { sequenceLength: length, microBatch, dtype } = configuration;
    const { total } = trainingMemory(await target.model(configuration), {
      batch: target.batch(configuration),
      microBatch: microBatch || configuration.expertBatch,
      length,
      dtype,
      kind: adapterKind(device),
      recompute,
      loss,
    });
    memoryBytes = Math.max(memoryBytes, total);
  }
  return {
    run: setup.name,
    job,
    done: isDone || isMade,
    flops: takes(cost.work),
    seconds: takes(cost.seconds),
    memoryBytes,
  };
}
