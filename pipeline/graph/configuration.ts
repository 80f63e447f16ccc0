/**
 * Reads and writes the configuration of a run: `config.json` holds the resolved values, the
 * versions and the adapter.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import * as v from "valibot";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { checkRunFolder, exists, filesUnder, jsonText, withRemedy, writeAtomic } from "./files.ts";
import { TOKENIZER, TOKENIZER_FILE } from "./node.ts";
import {
  canonical,
  conform,
  isObject,
  isSealed,
  MANIFEST,
  readJson,
  readJsonIfThere,
  seal,
  VERSION,
} from "./schema.ts";
import { type Configuration, FIELDS } from "../settings/configuration.ts";
import { fillValues } from "../settings/field.ts";
import { withLevels } from "../settings/partitioner.ts";

/** Version of the layout. */
const FORMAT = 4;

const OBJECT = v.custom<Record<string, unknown>>(isObject, "it is something else");
const ADAPTER = v.object({
  description: v.string(),
  kind: v.string(),
  variants: v.record(v.string(), v.string()),
});
const RUN_CONFIGURATION = v.object({
  format: v.optional(v.number(), 1),
  configuration: v.record(v.string(), v.unknown()),
  versions: v.record(v.string(), v.string()),
  adapter: v.optional(ADAPTER),
});

/**
 * Describes the adapter that a run used: its name, its kind, and the variants of kernels that ran.
 */
export type AdapterNote = v.InferOutput<typeof ADAPTER>;

/**
 * Holds a run's `config.json`: resolved values, versions of what made the run, and the adapter once
 * one was opened.
 */
export interface RunConfiguration
  extends Omit<v.InferOutput<typeof RUN_CONFIGURATION>, "configuration"> {
  /** Resolved values. */
  configuration: Configuration;
  /** Whether the values are others than the run wrote. */
  isEdited: boolean;
}

/**
 * Reads configuration values from a JSON file: the fields themselves, or a run's `config.json`.
 * Throws an `InputError` where it is no JSON object, or holds something else.
 */
export async function readConfiguration(path: string): Promise<Partial<Configuration>> {
  const object = await readJson(path, OBJECT, "a JSON object");
  const values = isObject(object.configuration) ? object.configuration : object;
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(FIELDS, name));
  if (unknown === undefined) return withLevels(values);
  throw new InputError(
    `Cannot read "${path}" as it must hold values of a configuration, as a run's ` +
      `config.json does: "${unknown}" is none`,
    { where: path },
  );
}

const ANEW = say`run the same ${task("partition")} with all its settings again`;
/**
 * Reports how to mend a run's `config.json`. Where it is removed, the settings of the run must be
 * given again.
 */
const CONFIGURATION_AGAIN: Text = say`copy it again, or remove it and ${ANEW}`;
/** Reports how to mend a run whose `config.json` is missing. */
export const CONFIGURATION_BACK: Text = say`copy config.json back, or ${ANEW}`;

/**
 * Reads a run's `config.json`, or returns null where there is none. Throws an `InputError` where it
 * is damaged or of another format, or where the run is a file. Also where it was edited, unless
 * `edited` accepts that.
 */
export async function readRunConfiguration(
  run: string,
  { edited = false } = {},
): Promise<RunConfiguration | null> {
  const where = `${run}/config.json`;
  const object = await readJsonIfThere(where, OBJECT, "a JSON object").catch(
    withRemedy(CONFIGURATION_AGAIN),
  );
  if (!object) {
    await checkRunFolder(run);
    return null;
  }
  const refuse = (fact: Text, remedy = CONFIGURATION_AGAIN) =>
    new InputError(say`Cannot read "${where}" as ${fact}`, { where, remedy });
  try {
    const { configuration, ...read } = conform(RUN_CONFIGURATION, object);
    if (read.format !== FORMAT) {
      const version = read.versions.smalltalk ?? "unknown";
      throw refuse(
        `its format must be ${FORMAT}: it is ${read.format}, of version ${version}`,
        say`use that version, or choose another ${setting("run")}`,
      );
    }
    const values = fillValues(FIELDS, configuration);
    const isEdited = !isSealed(object);
    if (isEdited && !edited) {
      throw refuse(
        say`it must be what the run wrote, by its checksum: ${await findEdit(run, configuration)}`,
        say`restore it, or accept it as it is with ${setting("force")}`,
      );
    }
    return { ...read, configuration: values, isEdited };
  } catch (error) {
    if (!(error instanceof InputError) || error.where === where) throw error;
    throw refuse(say`it must be as the run wrote it: ${error.what}`);
  }
}

/**
 * Reports what was edited in a `config.json`, as far as manifests of nodes know the values that it
 * had.
 */
async function findEdit(run: string, configuration: Record<string, unknown>): Promise<Text> {
  for await (const path of filesUnder(run)) {
    // Branches have experts of their own.
    if (basename(path) !== MANIFEST || /branch|\/root\//.test(path)) continue;
    const settings = await Deno.readTextFile(`${run}/${path}`).then((text) =>
      JSON.parse(text).settings
    )
      .catch(() => undefined); // it is damaged, or no node's
    for (const [name, then] of Object.entries(isObject(settings) ? settings : {})) {
      const setNow = configuration[name];
      // Notes of other kinds may have the name of a setting, and 0 follows from other settings.
      if (!(name in FIELDS) || setNow === 0 || typeof setNow !== typeof then) continue;
      if (canonical(setNow) === canonical(then)) continue;
      const [valueNow, valueThen] = [setNow, then].map((value) => JSON.stringify(value));
      return say`${setting(name)} is ${valueNow}, "${dirname(path)}" was made with ${valueThen}`;
    }
  }
  return "it was edited, though nothing was made with other values";
}

/**
 * Finds the folder of the run that a file or folder is or lies in, by its `config.json`; null where
 * it lies in no run.
 */
export async function findRun(place: string): Promise<string | null> {
  const names = place.split("/");
  for (let end = names.length; end > 0; end--) {
    const run = names.slice(0, end).join("/") || "/";
    if (await isConfigured(run)) return run;
  }
  return !place.startsWith("/") && await isConfigured(".") ? "." : null;
}

/**
 * Finds the tokenizer of a run or of a model's folder: in it or in one of so many folders `above`
 * it, at its place or in its node.
 */
export async function findTokenizer(folder: string, above = 0): Promise<string | undefined> {
  for (let at = folder, up = 0; up <= above; at += "/..", up++) {
    for (const path of [`${at}/${TOKENIZER_FILE}`, `${at}/${TOKENIZER}/${TOKENIZER_FILE}`]) {
      if (await exists(path)) return path;
    }
  }
}

/** Returns whether a folder holds a `config.json` that looks like that of a run. */
async function isConfigured(folder: string): Promise<boolean> {
  try {
    return isObject(JSON.parse(await Deno.readTextFile(`${folder}/config.json`)).configuration);
  } catch {
    return false; // there is none, or it is damaged
  }
}

/** Gives the text of a run's `config.json`. */
export function runConfigurationText(configuration: Configuration, adapter?: AdapterNote): string {
  const versions = { smalltalk: VERSION, deno: Deno.version.deno };
  return jsonText(seal({ format: FORMAT, configuration, versions, adapter }));
}

/** Writes a run's `config.json` if that changes it. */
export async function writeRunConfiguration(
  run: string,
  configuration: Configuration,
  adapter?: AdapterNote,
): Promise<void> {
  const text = runConfigurationText(configuration, adapter);
  const path = `${run}/config.json`;
  if (await Deno.readTextFile(path).catch(() => null) === text) return;
  await writeAtomic(path, text);
}
