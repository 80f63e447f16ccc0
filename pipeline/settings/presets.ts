/**
 * Holds the presets: sets of values by name, one file each.
 *
 * @module
 */

import paper1300 from "../../fixtures/presets/paper-1.3b.json" with { type: "json" };
import paper335 from "../../fixtures/presets/paper-335m.json" with { type: "json" };
import small from "../../fixtures/presets/small.json" with { type: "json" };
import tiny from "../../fixtures/presets/tiny.json" with { type: "json" };
import { InputError } from "../../kernels/errors.ts";
import { type Configuration, FIELDS } from "./configuration.ts";
import { readSomeValues } from "./field.ts";

/** Holds the presets by name. */
export const PRESETS: Readonly<Record<string, Partial<Configuration>>> = {
  tiny: readSomeValues(FIELDS, tiny),
  small: readSomeValues(FIELDS, small),
  "paper-335m": readSomeValues(FIELDS, paper335),
  "paper-1.3b": readSomeValues(FIELDS, paper1300),
};

/** Gives the values of a preset; no values for no name. Throws an `InputError` for an unknown name. */
export function findPreset(name?: string): Partial<Configuration> {
  if (name === undefined) return {};
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
  throw new InputError(`Cannot use preset "${name}" as it must be one of ${Object.keys(PRESETS).join(", ")}`);
}
