/**
 * Words what the library names for the command line: a setting becomes its flag, a task becomes its command.
 *
 * @module
 */

import { FIELDS, OPTIONS, type SettingReference, type TaskReference, type Text, wordText } from "../mod.ts";

/** Words a text for the command line. */
export function worded(text: Text): string {
  return wordText(text, words);
}

/** Words a setting as its flag, `--expert all`, and a task as its command, `deno task train-expert --run runs/a`. */
export function words(reference: SettingReference | TaskReference): string {
  if ("setting" in reference) return flagText(reference.setting, reference.value);
  const flags = Object.entries(reference.with).map(([name, value]) => flagText(name, value));
  return ["deno task", reference.task, ...flags].filter((word) => word !== "").join(" ");
}

/** Writes a flag with its value as a shell takes it; none for `false`, and none to have for `true` and `undefined`. */
function flagText(name: string, value: string | number | boolean | undefined): string {
  const flag = `--${({ ...FIELDS, ...OPTIONS })[name]?.flag ?? name}`;
  return value === undefined || value === true ? flag : value === false ? "" : `${flag} ${quoted(String(value))}`;
}

/** Quotes a value that a shell would not take as it is. */
function quoted(value: string): string {
  return /^[\w./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}
