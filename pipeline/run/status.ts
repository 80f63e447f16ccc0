/**
 * Finds the state of a run: what is made and with which settings, what is missing or out of date,
 * and who works on what.
 *
 * @module
 */

import { InputError, task, type TaskReference, type Text } from "../../kernels/errors.ts";
import { listOwners, type Owner } from "../graph/lock.ts";
import type { Asked, Manifest } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { type Configuration, FIELD_NAMES, FIELDS, isDefault } from "../settings/configuration.ts";
import { describeAdoption } from "../training/adoption.ts";
import { changesOfText, type TextChanges } from "../stages/documents.ts";
import { needConfiguration, partsAlone } from "../stages/parts.ts";
import {
  listRequests,
  partitionGraph,
  type Plan,
  requestGraph,
  runGraph,
  type StageState,
  stageStates,
} from "./plan.ts";
import { refusalOf } from "./refusal.ts";
import { partitionStates } from "./run.ts";
import { STAGES } from "../stages/stages.ts";

/** The state of one stage. */
export interface StageStatus
  extends
    Omit<StageState, "state" | "because" | "outputs" | "manifests" | "records">,
    Pick<Asked, "path"> {
  /** What it makes. */
  about: string;
  /** Its state; `being made` where a process makes a node of it. */
  state: StageState["state"] | "being made";
  /**
   * Why it is damaged or out of date, how far it has come, or, for an adopted model, where it came
   * from.
   */
  because?: Text;
  /** The settings that it was made with. */
  settings?: Record<string, unknown>;
  /** Files that it made, and their bytes. */
  outputs?: StageState["outputs"];
  /** Who works on it. */
  holders: Owner[];
  /** Whether a partition makes it; others are made on request. */
  partition: boolean;
  /** Whether a run is complete without it. */
  optional: boolean;
  /** The task that runs it, with what it takes to replace what it refuses to replace. */
  command: TaskReference;
}

/** Stages that a run lacks for the same reason, such as the trainings of several experts. */
export interface Lack extends Pick<StageStatus, "state" | "because" | "command"> {
  /** Names of the stages. */
  stages: string[];
}

/** The state of a run. */
export interface RunStatus {
  /** Run folder. */
  run: string;
  /** Who works in it. */
  holders: Owner[];
  /** Experts whose parts lie here without the run that they come from. */
  parts: number[];
  /**
   * Files of the text that are not as they were; null where nothing is made of them yet, or they
   * are not here.
   */
  text: TextChanges | null;
  /** Why nobody looked at the text: it, or what settings name, is not here. */
  unseen?: Text;
  /** Settings that were given, with their values: those that are no defaults. */
  settings: Partial<Configuration>;
  /**
   * Its stages, in the order in which they are made; where parts lie alone, the trainings of their
   * experts.
   */
  stages: StageStatus[];
}

/**
 * Reads the state of a run. Only reads and changes nothing. Where the text is not here, it is taken
 * to be what the run was made of. Throws an `InputError` where the folder is no run.
 */
export async function readStatus(run: string): Promise<RunStatus> {
  const configuration = await needConfiguration(run);
  const owners = await listOwners(run);
  const parts = await partsAlone(run);
  const { plan, unseen } = parts.length > 0 ? {} : await planStatus(run, configuration);
  const graph = requestGraph(run, configuration, true);
  const nodes = await runGraph(plan?.nodes ?? [], graph, await listRequests(graph));
  const walk = new Walk(run, nodes);
  const states = plan
    ? await partitionStates(configuration, plan.text, walk, owners)
    : await stageStates(walk, owners);
  const stages = states.map((state) => describeStage(run, state));
  return {
    run,
    holders: distinct(owners),
    parts,
    stages,
    text: plan?.text.blocks && !unseen ? await changesOfText(run, plan.text.blocks) : null,
    settings: findGiven(configuration),
    ...unseen ? { unseen } : {},
  };
}

/** Settings that routers of another run bring with them. */
const OF_ROUTERS: readonly (keyof Configuration)[] = ["experts", "levels", "tokenizer"];

/** Gives the settings of a run that are no defaults, and follow from no other. */
function findGiven(configuration: Configuration): Partial<Configuration> {
  const { partitioner, routers, method } = configuration;
  const usual = PARTITIONERS.get(partitioner)?.method ?? FIELDS.method.default;
  const isGiven = (name: keyof Configuration) => {
    if (name === "method") return method !== usual;
    if (routers !== "" && OF_ROUTERS.includes(name)) return false;
    return !isDefault(name, configuration[name]);
  };
  return Object.fromEntries(
    FIELD_NAMES.filter(isGiven).map((name) => [name, configuration[name]]),
  );
}

/** Gives the graph of a run: of its text, or where that is not here of what it was made of. */
async function planStatus(
  run: string,
  configuration: Configuration,
): Promise<{ plan: Plan; unseen?: Text }> {
  try {
    return { plan: await partitionGraph(run, configuration) };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return {
      plan: await partitionGraph(run, configuration, { recorded: true }),
      unseen: error.what,
    };
  }
}

/** Tells what a stage makes, how it stands and which task runs it. */
function describeStage(run: string, state: StageState): StageStatus {
  const { manifests, outputs, records, because, ...figures } = state;
  const { asked } = records[0]?.node ?? {};
  const { command = task(state.stage, { run }), optional = false, path } = asked ?? {};
  const { about } = STAGES.get(command.task)!;
  const holders = distinct(records.flatMap(({ owners }) => owners));
  const adopted = describeAdoption(manifests.at(-1));
  const why = adopted && state.state === "up to date" ? `adopted from "${adopted.from}"` : because;
  const force = records.some(refusalOf) ? { force: true } : {};
  return {
    ...figures,
    ...why ? { because: why } : {},
    ...manifests.length > 0 ? { settings: settingsOf(manifests), outputs } : {},
    path,
    about,
    partition: asked === undefined,
    optional,
    command: { ...command, with: { ...command.with, ...force } },
    holders,
    state: holders.length > 0 ? "being made" : state.state,
  };
}

/** Gives the settings of a run with which nodes were made. */
const settingsOf = (manifests: readonly Manifest[]): Record<string, unknown> =>
  Object.fromEntries(
    manifests.flatMap(({ settings }) => Object.entries(settings))
      .filter(([name]) => name in FIELDS || name === "rate"),
  );

/** Lists processes once each, whatever they hold. */
const distinct = (owners: readonly Owner[]): Owner[] => [
  ...new Map(owners.map((owner) => [`${owner.host} ${owner.pid}`, owner])).values(),
];

/** Whether a task would make something of a stage that is there, or that every run is to have. */
export const isToRun = ({ state, partition }: StageStatus): boolean =>
  state !== "up to date" && (partition || state !== "missing");

/** Whether a stage is not up to date, though somebody asked for it. */
function isLacking({ state, optional }: StageStatus): boolean {
  return state !== "up to date" && !(optional && state === "missing");
}

/** Names the call of a task that makes a stage, whichever expert it is of. */
const nameCall = (
  { command: { task, with: { expert: _, force: __, ...flags } } }: StageStatus,
): string => JSON.stringify([task, flags]);

/**
 * Lists the stages that are not up to date, except those that nobody asked for. Stages in the same
 * state that one call of a task makes, and nothing else, are listed together.
 */
export function listLacks(stages: readonly StageStatus[]): Lack[] {
  const alikes = Map.groupBy(
    stages.filter(isLacking),
    (stage) =>
      JSON.stringify([nameCall(stage), stage.command.with.force, stage.state, stage.because]),
  );
  return [...alikes.values()].flatMap((alike): Lack[] => {
    const [first] = alike;
    const { state, because, command } = first;
    const ofCall = stages.filter((stage) => nameCall(stage) === nameCall(first));
    // A call for all experts replaces also what is up to date where it is forced, and stops at one
    // that is refused where it is not.
    const isForAll = command.with.force
      ? ofCall.length === alike.length
      : !ofCall.some(({ command }) => command.with.force);
    if (alike.length === 1 || !isForAll) {
      return alike.map(({ stage, command }) => ({ stages: [stage], state, because, command }));
    }
    const all = { ...command, with: { ...command.with, expert: "all" } };
    return [{ stages: alike.map(({ stage }) => stage), state, because, command: all }];
  });
}

/**
 * Lists the commands to run next, in their order: one for a whole partition, and one for all models
 * of a task that nothing forbids to train together. None where nothing is lacking, or somebody
 * makes it.
 */
export function nextTasks(run: string, stages: readonly StageStatus[]): TaskReference[] {
  const isToMake = (stage: StageStatus) => isLacking(stage) && stage.state !== "being made";
  const lacks = listLacks(stages);
  const commandOf = (stage: StageStatus): TaskReference => {
    const { command } = stage;
    if (stage.partition) return command.with.force ? command : task("partition", { run });
    const alike = stages.filter((candidate) => nameCall(candidate) === nameCall(stage));
    const isForAll = command.with.expert !== undefined && alike.filter(isToMake).length > 1 &&
      !alike.some(({ command }) => command.with.force);
    if (isForAll) return { ...command, with: { ...command.with, expert: "all" } };
    return lacks.find(({ stages }) => stages.includes(stage.stage))!.command;
  };
  const ordered = [
    ...stages.filter(({ partition }) => partition),
    ...stages.filter(({ partition }) => !partition),
  ];
  const commands = ordered.filter(isToMake).map(commandOf);
  return [...new Map(commands.map((command) => [JSON.stringify(command), command])).values()];
}

/** Tasks whose work the jobs of a run do as well. */
const OF_JOBS = ["partition", "train-expert", "train-dense", "evaluate"];

/**
 * Names the one command that makes all that is lacking; undefined where there is none, because
 * something must be replaced or is made by no job.
 */
export function taskForAll(
  run: string,
  commands: readonly TaskReference[],
): TaskReference | undefined {
  const areOfJobs = commands.every((command) =>
    OF_JOBS.includes(command.task) && !command.with.force
  );
  if (commands.length < 2) return commands[0];
  return areOfJobs ? task("submit", { run, executor: "local" }) : undefined;
}

/** Names the stages of a lack in a few words. */
export function stagesText({ stages }: Lack): string {
  return stages.length === 1 ? stages[0] : `${stages[0]} and ${stages.length - 1} more`;
}
