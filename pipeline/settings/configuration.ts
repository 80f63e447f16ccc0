/**
 * Puts the settings of all sections together. The same fields read flags, check values, print
 * `--help`, and fill `config.json` and the presets.
 *
 * @module
 */

import { EXPERTS, LARGER_DENSE, OPTIMISER, SWITCH } from "./experts.ts";
import { fillValues, integer, readSomeValues, section, type Values } from "./field.ts";
import { ASSIGNMENT, ROUTERS } from "./partitioner.ts";
import { TEXT, TOKENS } from "./text.ts";

/**
 * Describes every field of a configuration, by name.
 *
 * @ignore Its type is inferred.
 */
export const FIELDS = {
  ...TEXT,
  ...TOKENS,
  ...ROUTERS,
  ...OPTIMISER,
  ...ASSIGNMENT,
  ...EXPERTS,
  ...LARGER_DENSE,
  ...SWITCH,
  ...section("Run", { seed: integer({ default: 0, min: 0 }, "seed of everything random") }),
};

/** Holds every value that a result depends on, by the names of {@linkcode FIELDS}. */
export interface Configuration extends Values<typeof FIELDS> {}

/** Names the fields of a configuration. */
export const FIELD_NAMES: readonly (keyof Configuration)[] = Object.keys(
  FIELDS,
) as (keyof Configuration)[];

/** Returns the default values, which are those of the preset `tiny`. */
export function defaultConfiguration(): Configuration {
  return fillValues(FIELDS, {});
}

export function isDefault(name: keyof Configuration, value: unknown): boolean {
  return JSON.stringify(value) === JSON.stringify(FIELDS[name].default);
}

/** Throws an `InputError` for a value that is not allowed. Skips settings that are undefined. */
export function checkSettings(values: Partial<Configuration>): void {
  const defined = Object.entries(values).filter(([, value]) => value !== undefined);
  readSomeValues(FIELDS, Object.fromEntries(defined));
}

/** Lists the names of a section's fields, in the order of the configuration. */
export function listNames(
  section: Partial<Record<keyof Configuration, unknown>>,
  ...without: (keyof Configuration)[]
): (keyof Configuration)[] {
  return FIELD_NAMES.filter((name) => name in section && !without.includes(name));
}
