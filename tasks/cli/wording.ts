/**
 * Words settings and tasks that the library names for the command line: a setting becomes its flag,
 * a task its command.
 *
 * @module
 */

import { type TaskReference, type Text, type Words, wordText } from "../../kernels/errors.ts";
import { field, FIELDS, type Fields } from "../../pipeline/settings/mod.ts";
import { DEVICE } from "./options.ts";

/** Words a text for the command line. */
export function worded(text: Text): string {
  return wordText(text, words);
}

/**
 * Words a setting as its flag, `--expert all`, and a task as its command,
 * `deno task train-expert --run runs/a`.
 */
export const words: Words = (reference) => {
  if ("task" in reference) return ["deno task", ...taskArguments(reference).map(quoted)].join(" ");
  const { setting, value } = reference;
  return value === undefined ? flagName(setting) : `${flagName(setting)} ${quoted(String(value))}`;
};

/** Lists the arguments of `deno task` that run a task. */
export function taskArguments(reference: TaskReference): string[] {
  const flags = Object.entries(reference.with).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    return value === true ? [flagName(name)] : [flagName(name), String(value)];
  });
  return [reference.task, ...flags];
}

function flagName(name: string): string {
  const fields: Fields = { ...FIELDS, ...DEVICE };
  return `--${fields[name]?.flag ?? field.kebabCase(name)}`;
}

/** Quotes a word that a shell would not take as it is. */
export function quoted(value: string): string {
  return /^[\w./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
