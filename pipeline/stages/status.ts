/**
 * Finds the state of a run: what is made and with which settings, what is missing or out of date, and who
 * works on what.
 *
 * @module
 */

import { InputError, type TaskReference, type Text } from "../../kernels/errors.ts";
import { checkRunFolder } from "../run/files.ts";
import { adoptionOf } from "../training/adoption.ts";
import { heldIn } from "../run/lock.ts";
import type { Owner } from "../run/claims.ts";
import { type Manifest, manifestNames } from "../run/manifest.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { baselineTargets } from "./baselines.ts";
import { partitionRemedy, partsAlone } from "./parts_alone.ts";
import { againCommandOf, commandOf } from "./command.ts";
import type { Stage } from "./stage.ts";
import { type StageState, statesOf } from "./state.ts";

/** The state of one stage. */
export interface StageStatus {
  /** Name of the stage. */
  stage: string;
  /** What it makes. */
  about: string;
  /** Its state; `being made` where a process holds its outputs. */
  state: StageState["state"] | "being made";
  /** Why it is damaged or out of date, how far it has come, or, for an adopted model, where it came from. */
  because?: Text;
  /** Revision that made it, and the one that would make it now. */
  revision: { made: number | null; now: number };
  /** The settings that it was made with. */
  settings?: Record<string, unknown>;
  /** Files that it made, and their bytes. */
  outputs?: { files: number; bytes: number };
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
export interface Lack {
  /** Names of the stages. */
  stages: string[];
  /** Their state. */
  state: StageStatus["state"];
  /** Why they are damaged or out of date, or how far they have come. */
  because?: Text;
  /** The task that makes them. */
  command: TaskReference;
}

/** The state of a run. */
export interface RunStatus {
  /** Run folder. */
  run: string;
  /** Who works in it, alone or side by side. */
  holders: Owner[];
  /** Experts whose parts lie here without the run that they come from. */
  parts: number[];
  /** Its stages, in the order in which they are made; where parts lie alone, the trainings of their experts. */
  stages: StageStatus[];
}

/**
 * Reads the state of a run. Only reads the run folder and changes nothing. Throws an `InputError` where it is
 * no run.
 */
export async function statusOf(run: string): Promise<RunStatus> {
  await checkRunFolder(run);
  const configuration = (await readRunConfiguration(run))?.configuration;
  if (!configuration) {
    throw new InputError(
      `Cannot tell the status of "${run}" as it must be a run folder: there is no config.json`,
      {
        where: `${run}/config.json`,
        remedy: await partitionRemedy(run),
      },
    );
  }
  const states = statesOf({ run, configuration });
  const held = await heldIn(run);
  const holders = distinct(held.map(({ owner }) => owner));
  const besides = await otherBaselines(run);
  const parts = await partsAlone(run);
  const isHere = ({ command }: Stage) =>
    parts.length === 0 || parts.some((id) => command?.with?.expert === id);
  const stages: StageStatus[] = [];
  for (const stage of states.graph.stages.filter(isHere)) {
    const found = await states.of(stage);
    const { state, because, manifest } = found;
    const works = distinct(
      held.filter(({ owner }) => owner.stage?.name === stage.name).map(({ owner }) => owner),
    );
    stages.push({
      stage: stage.name,
      about: stage.about,
      state: works.length > 0 ? "being made" : state,
      because: because ?? originOf(manifest),
      revision: { made: manifest?.revision ?? null, now: stage.revision },
      settings: manifest?.configuration,
      outputs: manifest ? sizeOf(manifest.outputs) : undefined,
      holders: works,
      partition: !stage.onRequest,
      optional: stage.optional ?? besides.has(stage.name),
      command: commandFor(found, run),
    });
  }
  return { run, holders, parts, stages };
}

/** Names the task that runs a stage: one that would be refused is told to replace what is there. */
function commandFor({ stage, state, changed, manifest }: StageState, run: string): TaskReference {
  if (state === "damaged") return againCommandOf(stage, run, manifest);
  const isRefused = state === "out of date" &&
    (changed && stage.guards || adoptionOf(manifest) !== undefined);
  return commandOf(stage, run, isRefused ? { force: true } : {});
}

/** Whether a stage is not up to date, though somebody asked for it. */
function isLacking({ state, optional }: StageStatus): boolean {
  return state !== "up to date" && !(optional && state === "missing");
}

/**
 * Lists the stages that are not up to date, except those that nobody asked for. Stages in the same state that
 * one call of a task makes, and nothing besides, are listed together.
 */
export function lacksOf(stages: readonly StageStatus[]): Lack[] {
  const taskOf = ({ command: { task, with: { expert: _, force: __, ...others } } }: StageStatus) =>
    JSON.stringify([task, others]);
  const lacks: Lack[] = [];
  const alikes = Map.groupBy(
    stages.filter(isLacking),
    (stage) => JSON.stringify([taskOf(stage), stage.command.with.force, stage.state, stage.because]),
  );
  for (const alike of alikes.values()) {
    const [{ state, because, command }] = alike;
    const ofTask = stages.filter((stage) => taskOf(stage) === taskOf(alike[0]));
    // A call for all experts replaces also what is up to date where it is forced, and stops at one that is
    // refused where it is not.
    const isOne = command.with.force
      ? ofTask.length === alike.length
      : !ofTask.some(({ command }) => command.with.force);
    const names = alike.map(({ stage }) => stage);
    const { expert } = command.with;
    if (alike.length === 1 || expert === undefined) lacks.push({ stages: names, state, because, command });
    else if (isOne) {
      const all = { ...command, with: { ...command.with, expert: "all" } };
      lacks.push({ stages: names, state, because, command: all });
    } else lacks.push(...alike.map(({ stage, command }) => ({ stages: [stage], state, because, command })));
  }
  return lacks;
}

/**
 * Names the task to run next: the one that makes the first stage of a partition that is lacking, or else of
 * what is lacking besides; undefined where nothing is, or somebody makes it.
 */
export function nextOf(stages: readonly StageStatus[]): TaskReference | undefined {
  const isToMake = (stage: StageStatus) => isLacking(stage) && stage.state !== "being made";
  const next = stages.find((stage) => stage.partition && isToMake(stage)) ?? stages.find(isToMake);
  return next && lacksOf(stages).find(({ stages }) => stages.includes(next.stage))!.command;
}

/** Names the stages of a lack in a few words. */
export function stagesText({ stages }: Lack): string {
  return stages.length === 1 ? stages[0] : `${stages[0]} and ${stages.length - 1} more`;
}

/**
 * Names the stages of models to compare a mixture with that a run is complete without: one such model is
 * enough, the first unless another one is there.
 */
async function otherBaselines(run: string): Promise<Set<string>> {
  const names = baselineTargets().map(({ name }) => `train-${name}`);
  const made = await manifestNames(run);
  const enough = names.find((name) => made.includes(name)) ?? names[0];
  return new Set(names.filter((name) => name !== enough));
}

/** Says where what another trainer made came from. */
function originOf(manifest: Manifest | null): Text | undefined {
  const adoption = adoptionOf(manifest);
  return adoption && `adopted from "${adoption.from}"`;
}

/** Lists processes once each, whatever they hold. */
function distinct(owners: readonly Owner[]): Owner[] {
  return [...new Map(owners.map((owner) => [`${owner.host} ${owner.pid}`, owner])).values()];
}

function sizeOf(outputs: Record<string, { bytes: number }>): { files: number; bytes: number } {
  const sizes = Object.values(outputs);
  return { files: sizes.length, bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0) };
}
