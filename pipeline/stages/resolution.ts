/**
 * Resolves the settings that hold in a run: what its `config.json` says, and what is said of them now.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { presetOf } from "../settings/presets.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { graphOf } from "./graph.ts";
import { isPinned } from "./state.ts";

/**
 * Resolves the configuration of a run: what its `config.json` says holds where nothing else is said. Throws an `InputError` with
 * both values where something else is said of what was made with the first, or `config.json` was edited, unless `force`; a stage that failed has made
 * nothing. `changed` names the fields that differ, `edited` says whether the file was, `exists` whether there was one.
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
    base: { ...existing, ...ownMethod(given, existing) },
  });
  graphOf(configuration); // throws for a kind or a method that there is not
  if (!existing) return { configuration, changed: [], edited, exists: false };
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

/** Gives the method of a partitioner that is new to the run, where nothing else is said; the setting's default is that of most. */
function ownMethod(given: Partial<Configuration>, existing?: Configuration): Partial<Configuration> {
  const { partitioner } = given;
  if (partitioner === undefined || partitioner === existing?.partitioner) return {};
  return { method: PARTITIONERS.get(partitioner)?.method ?? FIELDS.method.default };
}
