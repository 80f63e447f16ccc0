/**
 * Reads and writes the configuration of a run: `config.json` holds the resolved values, the versions and the adapter.
 *
 * @module
 */

import {
  checkValue,
  type Configuration,
  FIELD_NAMES,
  FIELDS,
  presetOf,
  resolveConfiguration,
  type Sources,
  STAGES,
} from "../settings/configuration.ts";
import type { Variants } from "../../kernels/variants.ts";
import { checkRunFolder, exists, isFolder, jsonText, removeIfThere, writeAtomic } from "../run/files.ts";
import { isHeld } from "../run/lock.ts";
import { readManifest } from "../run/manifest.ts";
import { partsAlone } from "./parts_alone.ts";
import { VERSION } from "../run/version.ts";

/** Describes the adapter that a run used. */
export interface AdapterNote {
  /** Description of the adapter. */
  description: string;
  /** Kind of the adapter, which decides the kernel variants. */
  kind: string;
  /** Kernel variants that ran. */
  variants: Variants;
}

/** Holds the text of a run's `config.json`. */
export interface RunConfiguration {
  /** Resolved values. */
  configuration: Configuration;
  /** Versions of what made the run. */
  versions: Record<string, string>;
  /** Adapter, once one was opened. */
  adapter?: AdapterNote;
}

/**
 * Reads configuration values from a JSON file: the fields themselves, or a run's `config.json`. Throws a `SyntaxError` where it
 * is no JSON object, or holds something else.
 */
export async function readConfiguration(path: string): Promise<Partial<Configuration>> {
  const object = await readObject(path);
  const values = isObject(object.configuration) ? object.configuration : object;
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(FIELDS, name));
  if (unknown === undefined) return values;
  throw new SyntaxError(
    `Cannot read "${path}" as it must hold values of a configuration, as a run's config.json does: "${unknown}" is none`,
  );
}

/** How a run's `config.json` is mended: what holds without it are not the values of the run. */
export const CONFIGURATION_AGAIN =
  "copy it again, or remove it and run the same deno task partition with all its flags again";

/** Says how the routers that a run's partition was made with come back, as the end of a message. */
export function routersAgain(run: string, { routers }: Configuration): string {
  return routers
    ? `run deno task partition --run ${run}`
    : `copy its own routers again, or run deno task train-routers --run ${run} --force`;
}

/**
 * Reads a run's `config.json`, or null where there is none. Throws a `SyntaxError` where it is damaged, a `RangeError` where the
 * run is a file.
 */
export async function readRunConfiguration(run: string): Promise<RunConfiguration | null> {
  const path = `${run}/config.json`;
  if (!await exists(path)) {
    await checkRunFolder(run);
    return null;
  }
  const object = await readObject(path, `; ${CONFIGURATION_AGAIN}`);
  if (!isObject(object.configuration)) {
    throw new SyntaxError(
      `Cannot read "${path}" as its configuration must be an object: it is ${
        JSON.stringify(object.configuration)
      }; ${CONFIGURATION_AGAIN}`,
    );
  }
  for (const [name, value] of Object.entries(object.configuration)) {
    if (!Object.hasOwn(FIELDS, name)) continue;
    try {
      checkValue(FIELDS[name as keyof Configuration], value);
    } catch (error) {
      throw new SyntaxError(
        `Cannot read "${path}" as its values must be possible: ${
          (error as Error).message
        }; ${CONFIGURATION_AGAIN}`,
      );
    }
  }
  return object as unknown as RunConfiguration;
}

/** Writes a run's `config.json` where it would change. */
export async function writeRunConfiguration(
  run: string,
  configuration: Configuration,
  adapter?: AdapterNote,
): Promise<void> {
  const versions = { smalltalk: VERSION, deno: Deno.version.deno };
  await writeConfigurationText(run, jsonText({ configuration, versions, adapter }));
}

/** Gives the text of a run's `config.json`, or null where there is none. */
export async function configurationText(run: string): Promise<string | null> {
  return await Deno.readTextFile(`${run}/config.json`).catch(() => null);
}

/** Gives a run's `config.json` this text, or removes it, where it has another. */
export async function writeConfigurationText(run: string, text: string | null): Promise<void> {
  if (await configurationText(run) === text) return;
  const path = `${run}/config.json`;
  await (text === null ? removeIfThere(path) : writeAtomic(path, text, { shared: true }));
}

/**
 * Resolves the configuration of a run: what its `config.json` says holds where nothing else is said. Throws a `RangeError` with
 * both values where something else is said of what was made with the first, unless `force`; a stage that failed has made
 * nothing. `changed` names the fields that differ.
 */
export async function resolveRun(
  run: string,
  sources: Sources,
  force: boolean,
  isFree: (name: keyof Configuration) => boolean = () => false,
): Promise<{ configuration: Configuration; changed: (keyof Configuration)[] }> {
  const existing = (await readRunConfiguration(run))?.configuration;
  const configuration = resolveConfiguration({ ...sources, base: existing });
  if (!existing) return { configuration, changed: [] };
  const given = { ...presetOf(sources.preset), ...sources.file, ...sources.flags };
  const differs = (name: keyof Configuration) =>
    name in given && name in existing && !isFree(name) &&
    JSON.stringify(existing[name]) !== JSON.stringify(configuration[name]);
  const changed = FIELD_NAMES.filter(differs);
  const reached = changed.length > 0 && !force ? await stagesReached(run) : 0;
  const name = changed.find((name) => firstStage(name) < reached);
  if (name !== undefined) {
    const text = (value: unknown) => JSON.stringify(value);
    throw new RangeError(
      `Cannot go on in "${run}" as --${FIELDS[name].flag} must be what its config.json says: it is ` +
        `${text(configuration[name])}, there it is ${
          text(existing[name])
        }; choose another --run, or accept the change ` +
        `with --force, which reruns what depends on it`,
    );
  }
  return { configuration, changed };
}

/** Gives the place of the first stage that a value concerns; a value of no stage may concern all. */
function firstStage(name: keyof Configuration): number {
  if (name === "tokenizer" || name === "routers") return STAGES.indexOf("tokenizer"); // routers bring theirs
  return Math.max(0, STAGES.findIndex((stage) => FIELDS[name].stages.includes(stage)));
}

/**
 * Counts the stages up to the last one that left something to go on from; all of them where models were trained, or parts
 * that a partition made lie alone.
 */
export async function stagesReached(run: string): Promise<number> {
  if ((await trainedFolders(run)).length > 0 || (await partsAlone(run)).length > 0) return STAGES.length;
  const left = new Set<string>();
  if (await exists(`${run}/manifests`)) {
    for await (const { name } of Deno.readDir(`${run}/manifests`)) left.add(name.replace(/\.json$/, ""));
  }
  // The state of its rounds comes before its manifest.
  if (await exists(`${run}/partitioner`) || await exists(`${run}/routers`)) left.add("train-routers");
  const corpus = left.has("corpus") ? await readManifest(run, "corpus") : null;
  if (corpus && Object.keys(corpus.outputs).length === 0) left.delete("corpus"); // hashes of files alone
  const isLater = (name: string) =>
    !(STAGES as readonly string[]).includes(name) && !name.endsWith(".partial");
  if ([...left].some(isLater)) return STAGES.length;
  return 1 + STAGES.findLastIndex((stage) => left.has(stage));
}

/**
 * Lists the folders that hold a trained model or a checkpoint of one, or in which another process is training one: the
 * values that it was trained with hold from then on.
 */
export async function trainedFolders(run: string): Promise<string[]> {
  const folders = ["dense", "dense-steps"];
  if (await isFolder(`${run}/experts`)) {
    for await (const { name } of Deno.readDir(`${run}/experts`)) folders.push(`experts/${name}`);
  }
  const found: string[] = [];
  for (const folder of folders) {
    const there = await Promise.all(
      ["config.json", "checkpoints"].map((name) => exists(`${run}/${folder}/${name}`)),
    );
    if (there.includes(true) || await isHeld(`${run}/${folder}`)) found.push(folder);
  }
  return found;
}

async function readObject(path: string, remedy = ""): Promise<Record<string, unknown>> {
  const text = await Deno.readTextFile(path);
  let reason = "it is something else";
  try {
    const value = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (error) {
    reason = (error as Error).message;
  }
  throw new SyntaxError(`Cannot read "${path}" as it must hold a JSON object: ${reason}${remedy}`);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
