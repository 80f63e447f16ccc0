/**
 * Words what the library names for the command line: a setting becomes its flag, a task becomes its command.
 *
 * @module
 */

import { field, FIELDS, type Fields } from "../pipeline/settings/mod.ts";
import { type Text, type Words, wordText } from "../kernels/mod.ts";

/** Words a text for the command line. */
export function worded(text: Text): string {
  return wordText(text, words);
}

/** Words a setting as its flag, `--expert all`, and a task as its command, `deno task train-expert --run runs/a`. */
export const words: Words = (reference) => {
  if ("setting" in reference) return flagText(reference.setting, reference.value);
  const given = Object.entries(reference.with).filter(([, value]) => value !== undefined && value !== false);
  const flags = given.map(([name, value]) => flagText(name, value === true ? undefined : value));
  return ["deno task", reference.task, ...flags].join(" ");
};

/** Writes a flag, and its value as a shell takes it. */
function flagText(name: string, value: string | number | boolean | undefined): string {
  const known: Fields = FIELDS;
  const flag = `--${known[name]?.flag ?? field.kebabCase(name)}`;
  return value === undefined ? flag : `${flag} ${quoted(String(value))}`;
}

/** Quotes what a shell would not take as it is. */
function quoted(value: string): string {
  return /^[\w./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
