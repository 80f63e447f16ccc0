/**
 * Runs the stages of a run folder, each only when something it depends on changed, and tells what happens.
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Stage, stageConfiguration, STAGES } from "./stage_settings.ts";
import { scoredShards, unclosed } from "./score_notes.ts";
import type { RunEvent } from "../run/events.ts";
import { type FileRecord, removeIfThere } from "../run/files.ts";
import {
  type Manifest,
  manifestPath,
  outputsHash,
  readManifest,
  stageKey,
  upToDate,
  writeManifest,
} from "../run/manifest.ts";
import { VERSION } from "../run/version.ts";

/** Holds what the stages of one run share. */
export interface Work {
  /** Run folder. */
  run: string;
  /** Resolved configuration. */
  configuration: Configuration;
  /** Whether stages run even where they are up to date. */
  force: boolean;
  /** Whether standard input, where it is an input, holds new text. */
  readStandardInput: boolean;
  /** Opens the GPU on the first call, and returns the same one afterwards. */
  gpu: () => Promise<Gpu>;
  /** Tells what happens. */
  emit: (event: RunEvent) => void;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What a stage made. */
export interface Made {
  /** Size and SHA-256 of every output, by its path in the run folder. */
  outputs: Record<string, FileRecord>;
  /** Counts and metrics. */
  result: Record<string, unknown>;
}

/** Describes one stage to `runStage`. */
export interface StagePlan {
  /** Its name. */
  stage: Stage;
  /** Hashes of what it reads, by name. */
  inputs: Record<string, string>;
  /** Values it depends on, where they are not all the configuration's fields of that stage. */
  configuration?: Record<string, unknown>;
  /** Folders of the run whose files are this stage's outputs alone. */
  folders?: readonly string[];
  /** Does the work; `key` is the stage's key, for the lineage. */
  make: (key: string) => Promise<Made>;
}

/** Says which stage of a run a manifest is to vouch for, and what its outputs depend on. */
export type StageIdentity = Pick<Manifest, "stage" | "key" | "configuration" | "inputs">;

type Place = Pick<Work, "run" | "emit">;

/** Reads the manifest of a stage that is up to date, and says so; null where it is not, or must run `again`. */
export async function reuseStage(
  { run, emit }: Place,
  stage: string,
  key: string,
  again: boolean,
): Promise<Manifest | null> {
  const current = again ? null : await upToDate(run, stage, key);
  if (current) emit({ type: "stage", stage, state: "up to date", result: current.result });
  return current;
}

/** Makes a stage's outputs and then writes its manifest; from the start to there, none vouches for them. */
export async function makeStage(
  { run, emit }: Place,
  identity: StageIdentity,
  make: () => Promise<Made>,
): Promise<Manifest> {
  const { stage, key, configuration, inputs } = identity;
  emit({ type: "stage", stage, state: "started" });
  const start = performance.now();
  await removeIfThere(manifestPath(run, stage));
  const { outputs, result } = await make();
  const manifest: Manifest = { stage, key, code: VERSION, configuration, inputs, outputs, result };
  await writeManifest(run, manifest);
  const seconds = (performance.now() - start) / 1000;
  await recordTime(run, { stage, seconds });
  emit({ type: "stage", stage, state: "done", seconds, result });
  return manifest;
}

/** Runs a stage of a partition unless it is up to date, and returns its manifest. */
export async function runStage(work: Work, plan: StagePlan): Promise<Manifest> {
  const { run, signal } = work;
  const { stage, inputs } = plan;
  signal?.throwIfAborted();
  const configuration = plan.configuration ?? stageConfiguration(work.configuration, stage);
  const key = stageKey(stage, configuration, inputs);
  const current = await reuseStage(work, stage, key, work.force);
  if (current) return current;
  const before = await readManifest(run, stage);
  return await makeStage(work, { stage, key, configuration, inputs }, async () => {
    const made = await plan.make(key);
    for (const folder of plan.folders ?? []) await removeOthers(run, folder, made.outputs);
    // What later stages made of other outputs is out of date, and a later stage run on its own must not take it for granted.
    if (!before || outputsHash(before) !== outputsHash(made)) {
      for (const later of STAGES.slice(STAGES.indexOf(stage) + 1)) {
        await removeIfThere(manifestPath(run, later));
      }
    }
    return made;
  });
}

/**
 * Reads the manifest of a stage that must have run, on what it reads now and with the values that hold now; throws a
 * `RangeError` that names the task to run where it has not.
 */
export async function needStage(
  { run, configuration }: Pick<Work, "run" | "configuration">,
  stage: Stage,
  by: string,
): Promise<Manifest> {
  const manifest = await readManifest(run, stage);
  const first = `run deno task ${stage} --run ${run} first`;
  if (!manifest) {
    const scored = stage === "score" ? await scoredShards(run, configuration) : null;
    const found = scored && unclosed(run, scored) ||
      `it has not, or not since what it reads changed; ${first}`;
    throw new RangeError(`Cannot run "${by}" in "${run}" as "${stage}" must have run there: ${found}`);
  }
  const now = configuration as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(manifest.configuration)) {
    if (!(name in now) || JSON.stringify(value) === JSON.stringify(now[name])) continue;
    throw new RangeError(
      `Cannot run "${by}" in "${run}" as "${stage}" must have run with ${name} ${
        JSON.stringify(now[name])
      }: it ran with ` +
        `${JSON.stringify(value)}; ${first}`,
    );
  }
  return manifest;
}

/** Appends a measurement to `metrics/timing.jsonl`, the one file that holds times. */
export async function recordTime(run: string, entry: Record<string, unknown>): Promise<void> {
  await Deno.mkdir(`${run}/metrics`, { recursive: true });
  const line = JSON.stringify({ ...entry, at: new Date().toISOString() }) + "\n";
  await Deno.writeTextFile(`${run}/metrics/timing.jsonl`, line, { append: true });
}

async function removeOthers(run: string, folder: string, outputs: Record<string, FileRecord>): Promise<void> {
  try {
    for await (const { name, isDirectory } of Deno.readDir(`${run}/${folder}`)) {
      const path = `${folder}/${name}`;
      if (isDirectory && Object.keys(outputs).some((output) => output.startsWith(`${path}/`))) {
        await removeOthers(run, path, outputs);
      } else if (!Object.hasOwn(outputs, path)) await removeIfThere(`${run}/${path}`);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
