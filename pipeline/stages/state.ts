/**
 * Finds the state of a stage in a run: made, missing, or out of date and why. Dry runs, status, verify and
 * dependent stages all use this one answer.
 *
 * @module
 */

import {
  ExplainedError,
  InputError,
  say,
  task,
  type TaskReference,
  type Text,
} from "../../kernels/errors.ts";
import { type Manifest, manifestNames, missingOutput, readManifest } from "../run/manifest.ts";
import { canonical } from "../run/seal.ts";
import type { Configuration } from "../settings/configuration.ts";
import { commandOf } from "./command.ts";
import { type Graph, graphOf } from "./graph.ts";
import { pickSettings, type RunContext, type Stage, type Unfinished } from "./stage.ts";

/** The state of a stage. */
export interface StageState {
  /** The stage. */
  stage: Stage;
  /**
   * Its state: whether its outputs are there, whole by their sizes, and whether what they depend on is
   * unchanged.
   */
  state: "up to date" | "damaged" | "out of date" | "missing";
  /** Why it is damaged or out of date, or how far it has come. */
  because?: Text;
  /** The stage before it that makes it out of date. */
  cause?: Stage;
  /** Whether its own revision, or a value of its own, makes it out of date. */
  changed?: true;
  /** Its manifest, where it has run and the manifest can be read. */
  manifest: Manifest | null;
  /** Why its manifest cannot be read. */
  error?: InputError;
  /** How far its parts have come, where they have. */
  unfinished?: Unfinished;
}

/** The states of a run's stages, each found when it is first asked for. */
export interface States {
  /** The graph of the run. */
  graph: Graph;
  /** Finds the state of a stage. */
  of(stage: Stage): Promise<StageState>;
  /** Notes a manifest that was just written. */
  made(stage: Stage, manifest: Manifest): void;
}

/** Reads the states of the stages of a run; looks at nothing outside the run folder. */
export function statesOf(context: RunContext, graph: Graph = graphOf(context.configuration)): States {
  const known = new Map<string, Promise<StageState>>();
  const of = (stage: Stage) => {
    if (!known.has(stage.name)) known.set(stage.name, find(context, stage, graph, of));
    return known.get(stage.name)!;
  };
  return {
    graph,
    of,
    made(stage, manifest) {
      for (const later of graph.from(stage)) known.delete(later.name);
      known.set(stage.name, Promise.resolve({ stage, state: "up to date", manifest }));
    },
  };
}

async function find(
  context: RunContext,
  stage: Stage,
  graph: Graph,
  of: (stage: Stage) => Promise<StageState>,
): Promise<StageState> {
  const { run } = context;
  let manifest: Manifest | null;
  try {
    manifest = await readManifest(run, stage.name);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const { what, remedy = "" } = error;
    return { stage, state: "damaged", because: say`${what}; ${remedy}`, manifest: null, error };
  }
  if (manifest === null) {
    const unfinished = await unfinishedOf(context, stage);
    return { stage, state: "missing", manifest, because: unfinished?.what, unfinished };
  }
  const outdated = (because: Text): StageState => ({ stage, state: "out of date", because, manifest });
  if (manifest.revision !== stage.revision) {
    const because = `revision ${manifest.revision} made it, this is revision ${stage.revision}`;
    return { ...outdated(because), changed: true };
  }
  for (const name of stage.needs) { // a stage that is only used counts by the hashes of its outputs, as when this stage runs
    const needed = graph.get(name);
    if (!needed) continue;
    const { state, manifest } = await of(needed);
    if (state === "out of date" || manifest === null && !stage.alone) {
      return { ...outdated(`"${name}" is ${state}`), cause: needed };
    }
  }
  let inputs: Record<string, string>;
  try {
    const changed = await firstChange(context, stage, manifest);
    if (changed) {
      const because = `${changed.name} was ${text(changed.then)}, it is ${text(changed.now)}`;
      return { ...outdated(because), changed: true };
    }
    inputs = await stage.inputs(context, (name) => manifestOf({ graph, of }, name));
  } catch (error) {
    if (error instanceof ExplainedError) return outdated(error.what); // the files that it was made from are not there
    throw error;
  }
  const other = Object.keys(inputs).find((name) => inputs[name] !== manifest.inputs[name]);
  if (other !== undefined) return outdated(`it was made from other ${other}`);
  const gone = stage.external ? undefined : Object.keys(manifest.inputs).find((name) => !(name in inputs));
  if (gone !== undefined) return outdated(`it was made from ${gone} as well`);
  const missing = await missingOutput(run, manifest);
  if (missing !== null) {
    return { ...outdated(`"${missing}" is missing or has another size`), state: "damaged" };
  }
  return { stage, state: "up to date", manifest };
}

/** Says how far a stage without a manifest has come; undefined where its inputs cannot be read. */
async function unfinishedOf(context: RunContext, stage: Stage): Promise<Unfinished | undefined> {
  try {
    return await stage.unfinished?.(context) ?? undefined;
  } catch (error) {
    if (error instanceof ExplainedError) return undefined;
    throw error;
  }
}

/** Gives the manifest of a stage by its name; null where it has not run. Throws an `InputError` where it cannot be read. */
export async function manifestOf(
  { graph, of }: Pick<States, "graph" | "of">,
  name: string,
): Promise<Manifest | null> {
  const stage = graph.get(name);
  if (!stage) return null;
  const { manifest, error } = await of(stage);
  if (error) throw error;
  return manifest;
}

const text = (value: unknown) => value === undefined ? "not set" : JSON.stringify(value);

/** Gives the values of a stage's settings as its manifest keeps them. */
export async function valuesOf(stage: Stage, context: RunContext): Promise<Record<string, unknown>> {
  return await stage.values?.(context) ?? pickSettings(context.configuration, stage.settings);
}

/** Finds the first value that differs from the one that a stage ran with. */
async function firstChange(context: RunContext, stage: Stage, { configuration }: Manifest) {
  const now = await valuesOf(stage, context);
  const name = Object.keys(now).find((name) =>
    canonical(now[name] ?? null) !== canonical(configuration[name] ?? null)
  );
  return name === undefined ? undefined : { name, then: configuration[name], now: now[name] };
}

/**
 * Reads the manifest of a stage that must have run, with the inputs and values that hold now. Throws an
 * `InputError` that names the task to run where it has not.
 */
export async function needStage(
  context: RunContext,
  states: States,
  stage: Stage,
  by: string,
): Promise<Manifest> {
  const { run } = context;
  const { manifest, state, because, unfinished, error } = await states.of(stage);
  if (error) throw error;
  const changed = manifest && await firstChange(context, stage, manifest);
  const must = async (what: Text, remedy?: Text) =>
    new InputError(say`Cannot run "${by}" in "${run}" as "${stage.name}" must have run ${what}`, {
      where: run,
      remedy: remedy ?? say`run ${await mending(context, states, stage)} first`,
    });
  if (changed) {
    throw await must(`with ${changed.name} ${text(changed.now)}: it ran with ${text(changed.then)}`);
  }
  if (unfinished) throw await must(say`there: ${unfinished.what}`, unfinished.remedy);
  if (manifest === null && (await manifestNames(run)).length === 0) {
    const all = say`run ${task("partition", { run })} first, which runs all stages`;
    throw await must("there: nothing has", say`${all}, or ${await mending(context, states, stage)}`);
  }
  if (manifest === null) throw await must("there: it has not, or not since what it reads changed");
  if (state === "out of date") throw await must(say`on what is there now: ${because!}`);
  return manifest;
}

/**
 * Names the command that mends a stage. If another stage makes it out of date, that is the command of the
 * other one, with the setting that changed, accepted.
 */
async function mending(context: RunContext, states: States, stage: Stage): Promise<TaskReference> {
  const { manifest, cause } = await states.of(stage);
  const changed = manifest && await firstChange(context, stage, manifest);
  if (!changed) return cause ? await mending(context, states, cause) : commandOf(stage, context.run);
  const value = context.configuration[changed.name as keyof Configuration];
  const known = typeof value === "number" || typeof value === "string" ? { [changed.name]: value } : {};
  return commandOf(stage, context.run, { ...known, force: true });
}

/**
 * Says whether a stage, or one that needs it, has left something to go on from that a change of this setting
 * would contradict. What only uses the stage where it is there does not count: an evaluation without a model
 * says nothing of that model's settings.
 */
export async function isPinned(
  { run, configuration }: RunContext,
  name: keyof Configuration,
): Promise<boolean> {
  const concerned = new Map<string, Stage>();
  for (const stage of graphOf(configuration).stages) { // in an order in which each follows those that it needs
    const { settings, needs } = stage;
    if (settings.includes(name) || needs.some((name) => concerned.has(name))) {
      concerned.set(stage.name, stage);
    }
  }
  for (const stage of concerned.values()) if (await hasBegun(run, stage)) return true;
  return false;
}

/** Says whether a stage has left something to go on from. */
export async function hasBegun(run: string, stage: Stage): Promise<boolean> {
  if (await stage.begun?.(run)) return true;
  const manifest = await readManifest(run, stage.name);
  return manifest !== null && Object.keys(manifest.outputs).length > 0;
}

/** Says whether any stage of a run has left something. */
export async function anythingBegun(run: string, configuration: Configuration): Promise<boolean> {
  for (const stage of graphOf(configuration).stages) if (await hasBegun(run, stage)) return true;
  return false;
}
