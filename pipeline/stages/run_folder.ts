/**
 * A run folder before and after work in it: whether it may be worked in, what killed processes left there, and how a run gets its
 * settings back where a command failed before it made anything.
 *
 * @module
 */

import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { LOCKS } from "../run/claims.ts";
import { configurationText, readRunConfiguration, writeConfigurationText } from "../run/configuration.ts";
import type { RunEvent } from "../run/events.ts";
import { checkRunFolder, exists, filesUnder, removeIfThere, wholeName } from "../run/files.ts";
import { GLANCE_MS, lockRun } from "../run/lock.ts";
import { isPages, manifestPath, NewerManifestError, PAGES, readManifest } from "../run/manifest.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { removeMade } from "./executor.ts";
import { graphOf } from "./graph.ts";
import { configurationRemedy, partitionRemedy } from "./parts_alone.ts";
import type { Stage, Work } from "./stage.ts";
import { hasBegun } from "./state.ts";

/** How long a process waits for another one to settle settings, milliseconds. That takes moments, but where settings change all shards are read first. */
export const SETTLING_MS = 600_000;

/** What is held while settings are settled. */
export const SETTINGS = "settings";
/** What is held by those that go by the settings of a run to their end. */
export const RUN = "run";

/**
 * Throws a `RunError` where another process goes by the settings of a run that are about to change; it keeps
 * its own to its end.
 */
export async function checkAlone(run: string, lock: Work["lock"]): Promise<void> {
  const refusal = `Cannot change the settings of "${run}" as nobody else may work by them meanwhile`;
  await (await lock(RUN, { patience: GLANCE_MS, refusal }))();
}

/** What a command finds in a run folder before it changes anything. */
export interface Former {
  /** Text of `config.json`; null in a folder that is empty. */
  text: string | null;
  /** The stages that left something to go on from, and when they did; null where `config.json` does not tell which there are. */
  stages: string | null;
}

/**
 * Reads what a command finds in a run folder; undefined where it cannot be given back, as there are files and
 * no `config.json`: it was removed.
 */
export async function formerOf(run: string): Promise<Former | undefined> {
  const text = await configurationText(run);
  if (text === null && await firstFile(run) !== undefined) return undefined;
  return { text, stages: await stagesMade(run) };
}

/**
 * Gives a run its former settings back: a command that failed before anything was made does not change them.
 * What it began in an empty folder goes with them, so that the folder does not look like a user's.
 */
export async function forget(run: string, task: string, before: Former): Promise<void> {
  const isAsBefore = async () => before.stages !== null && await stagesMade(run) === before.stages;
  if (!await isAsBefore()) return;
  const settling = await lockRun(run, SETTINGS, task, { patience: SETTLING_MS });
  try {
    const alone = await lockRun(run, RUN, task).catch(() => null); // others go by the new settings already
    if (alone && await isAsBefore()) {
      await writeConfigurationText(run, before.text);
      const { stages } = graphOf(defaultConfiguration());
      for (const stage of before.text === null ? stages : []) await removeMade(run, stage);
    }
    await alone?.();
  } finally {
    await settling();
  }
}

export function ownFolders(): string[] {
  const inParts = graphOf(defaultConfiguration()).stages.filter(({ part }) => part);
  return ["manifests", ...inParts.map(({ name }) => `manifests/${name}`), "metrics"];
}

/** Throws an `InputError` where a folder holds files and is no run: they are the user's. */
export async function checkOwn(run: string, task: string): Promise<void> {
  await checkRunFolder(run);
  if (await exists(`${run}/config.json`)) return;
  const { partition } = graphOf(defaultConfiguration());
  for (const { name } of partition) if (await readManifest(run, name)) return; // its config.json was removed
  const path = await firstFile(run);
  if (path === undefined || await exists(`${run}/config.json`)) return; // another process may have just begun it
  throw new InputError(
    `Cannot run "${task}" in "${run}" as it must be a run folder, new or empty: it holds "${path}" and no config.json`,
    { where: run, remedy: say`choose another ${setting("run")}` },
  );
}

/** Finds a file in a run folder that was not made by a process that is just beginning, or was killed as it began. */
async function firstFile(run: string): Promise<string | undefined> {
  for await (const path of filesUnder(run, "")) {
    if (!path.startsWith(`${LOCKS}/`) && wholeName(path) !== "config.json") return path;
  }
}

/**
 * Removes what processes left that were killed while they wrote `config.json`. Only the process that settles
 * settings writes it, so nobody else is writing now.
 */
export async function removePartialConfigurations(run: string): Promise<void> {
  for (const { name } of await Array.fromAsync(Deno.readDir(run))) {
    if (wholeName(name) === "config.json") await removeIfThere(`${run}/${name}`);
  }
}

/**
 * Removes the damaged manifests of stages, so that these stages run again, and those of pages, which stay as they are and are no
 * longer checked. Throws an `InputError` where a newer version wrote one.
 */
export async function removeDamagedManifests(
  run: string,
  stages: readonly string[],
  emit: (event: RunEvent) => void,
): Promise<void> {
  for (const name of [...stages, ...Object.keys(PAGES)]) {
    await readManifest(run, name).catch(async (error) => {
      if (!(error instanceof InputError) || error instanceof NewerManifestError) throw error;
      const follows = isPages(name) ? say`${task(name, { run })} writes it again` : `${name} runs again`;
      emit({ type: "warning", message: say`${error.what}; ${follows}` });
      await removeIfThere(manifestPath(run, name));
    });
  }
}

/** Reads the configuration of a run that must exist. */
export async function needConfiguration(
  run: string,
  name: string,
  partSuffices = false,
  edited = false,
): Promise<Configuration> {
  const existing = await readRunConfiguration(run, { edited });
  if (existing) return existing.configuration;
  throw new InputError(
    `Cannot run "${name}" in "${run}" as it must be a run folder: there is no config.json`,
    {
      where: `${run}/config.json`,
      remedy: await (partSuffices ? configurationRemedy : partitionRemedy)(run),
    },
  );
}

/** Lists the stages that left something to go on from, and when they did; null where `config.json` cannot be read. */
async function stagesMade(run: string): Promise<string | null> {
  const existing = await readRunConfiguration(run, { edited: true }).catch(() => undefined);
  if (existing === undefined) return null;
  if (existing === null) return "";
  const made: string[] = [];
  for (const stage of stagesOf(existing.configuration)) {
    if (!await hasBegun(run, stage).catch(() => true)) continue;
    const time = await Deno.stat(manifestPath(run, stage.name)).then(
      ({ mtime }) => mtime?.getTime(),
      () => "none",
    );
    made.push(`${stage.name} ${time}`);
  }
  return made.join("\n");
}

/** Lists the stages of a run; none where its `config.json` names kinds that are not there any more. */
function stagesOf(configuration: Configuration): readonly Stage[] {
  try {
    return graphOf(configuration).stages;
  } catch (error) {
    if (error instanceof InputError) return [];
    throw error;
  }
}
