/**
 * Words settings as flags and tasks as commands.
 *
 * @module
 */

import { FIELDS, type SettingReference, type TaskReference } from "../mod.ts";

const flags: Record<string, { flag: string }> = FIELDS;
const flagOf = (name: string) =>
  `--${flags[name]?.flag ?? name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;

/** Words a reference for the command line. */
export function words(reference: SettingReference | TaskReference): string {
  if ("setting" in reference) {
    return flagOf(reference.setting) + (reference.value === undefined ? "" : ` ${reference.value}`);
  }
  const given = Object.entries(reference.with).filter(([, value]) => value !== undefined && value !== false);
  return [
    "deno task",
    reference.task,
    ...given.map(([name, value]) => value === true ? flagOf(name) : `${flagOf(name)} ${value}`),
  ].join(" ");
}
