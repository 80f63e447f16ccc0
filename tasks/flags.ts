/**
 * Says of a flag that a task does not have which of its own is meant, and which other tasks have it.
 *
 * @module
 */

import { InputError } from "../kernels/mod.ts";
import { nearest } from "../pipeline/settings/mod.ts";

/** Most tasks that are named. */
const MOST = 3;

/**
 * Explains that `word` is no flag of a task, whose flags are `own`. It names the one of these that is near, if
 * one is, and the tasks that have this very flag.
 */
export async function unknownFlag(
  task: string,
  own: readonly string[],
  word: string,
  remedy = "see --help",
): Promise<InputError> {
  const flag = word.replace(/=.*/s, "");
  const name = flag.replace(/^--?/, "");
  const near = nearest(name, [...own, "help"]);
  const others = flag.startsWith("--") ? (await tasksWith(name)).filter((other) => other !== task) : [];
  const facts = [
    `${flag} is not`,
    ...near === undefined ? [] : [`the nearest is --${near}`],
    ...others.length === 0 ? [] : [`but ${taking(others)} ${flag}`],
  ];
  return new InputError(
    `Cannot run task "${task}" as every flag must be one of its own: ${facts.join(", ")}`,
    { remedy },
  );
}

/** Says which tasks take something. */
function taking(tasks: readonly string[]): string {
  const names = tasks.slice(0, MOST).map((name) => `"${name}"`).join(", ");
  if (tasks.length === 1) return `task ${names} takes`;
  const more = tasks.length - MOST;
  return `tasks ${names}${more > 0 ? ` and ${more} more` : ""} take`;
}

/**
 * Lists the tasks of `deno.json` that have a flag, by the table `flags.json`: loading the tasks themselves
 * would load their packages, which need not be here.
 */
async function tasksWith(flag: string): Promise<string[]> {
  const read = async (file: string) => JSON.parse(await Deno.readTextFile(new URL(file, import.meta.url)));
  const { tasks } = await read("../deno.json");
  const flags: Record<string, string> = await read("flags.json");
  return Object.keys(tasks).filter((name) => flags[name]?.split(" ").includes(flag));
}
