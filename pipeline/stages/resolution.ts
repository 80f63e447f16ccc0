/**
 * Resolves the settings that hold in a run: those in its `config.json`, and those that are given now.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { presetOf } from "../settings/presets.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { expandInputs } from "../text/inputs.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { graphOf } from "./graph.ts";
import { isPinned } from "./state.ts";

/**
 * Resolves the configuration of a run: its `config.json` holds unless something else is given. Throws an
 * `InputError` with both values where something was made with the old value, and where `config.json` was
 * edited, unless `force` accepts that; a stage that failed has made nothing. `changed` names the fields that
 * differ, `edited` says whether the file was edited, `exists` whether there was one.
 */
export async function resolveRun(
  run: string,
  sources: Sources,
  force: boolean,
): Promise<
  { configuration: Configuration; changed: (keyof Configuration)[]; edited: boolean; exists: boolean }
> {
  const read = await readRunConfiguration(run, { edited: force });
  const { configuration: existing, edited = false } = read ?? {};
  const given = { ...presetOf(sources.preset), ...sources.file, ...sources.flags };
  const configuration = resolveConfiguration({
    ...sources,
    base: { ...existing, ...given.partitioner === existing?.partitioner ? {} : methodOf(given) },
  });
  graphOf(configuration); // throws for an unknown kind or method
  if (!existing) return { configuration, changed: [], edited, exists: false };
  for (const name of FIELD_NAMES.filter((name) => name in given && FIELDS[name].isPath)) {
    // The same path may be spelled differently; the run keeps its own spelling.
    if (await isSamePlace(existing[name], configuration[name])) {
      Object.assign(configuration, { [name]: existing[name] });
    }
  }
  const text = (value: unknown) => JSON.stringify(value);
  const changed = FIELD_NAMES.filter((name) =>
    name in given && text(existing[name]) !== text(configuration[name])
  );
  for (const name of force ? [] : changed) {
    if (!await isPinned({ run, configuration: existing }, name)) continue;
    throw new InputError(
      say`Cannot go on in "${run}" as ${setting(name)} must be what its config.json says: it is ${
        text(configuration[name])
      }, there it is ${text(existing[name])}`,
      {
        where: `${run}/config.json`,
        remedy: say`choose another ${setting("run")}, or accept the change with ${
          setting("force")
        }, which reruns what depends on it`,
      },
    );
  }
  return { configuration, changed, edited, exists: true };
}

/** Gives the method that suits a partitioner which is given; the default of the setting suits most. */
export function methodOf({ partitioner }: Partial<Configuration>): Pick<Partial<Configuration>, "method"> {
  if (partitioner === undefined) return {};
  return { method: PARTITIONERS.get(partitioner)?.method ?? FIELDS.method.default };
}

/** Says whether two paths, or lists of paths and patterns, lead to the same files in the same order. */
async function isSamePlace(one: unknown, other: unknown): Promise<boolean> {
  const placesOf = async (value: unknown) => {
    const paths = Array.isArray(value) ? await expandInputs(value) : [String(value)];
    return (await Promise.all(paths.map((path) => path === "-" ? path : Deno.realPath(path)))).join("\n");
  };
  if (!one || !other || String(one) === String(other)) return false;
  const places = await Promise.all([placesOf(one), placesOf(other)]).catch(() => null); // a path that does not exist is no place
  return places !== null && places[0] === places[1];
}
