/**
 * Says of a flag that a task does not have which of its own is meant, and which other tasks have it.
 *
 * @module
 */

import { InputError } from "../kernels/mod.ts";
import { nearest } from "../pipeline/settings/mod.ts";
import type { Fields } from "../pipeline/settings/mod.ts";

/** Most tasks that are named. */
const MOST = 3;

/** A task, as far as its flags go. */
interface Flagged {
  name: string;
  options: Fields;
}

/**
 * Explains that `word` is no flag of a task. It names the task's flag that is near, if one is, and the tasks
 * that have this very flag; `fieldsOf` gives the fields of a task.
 */
export async function unknownFlag<Task extends Flagged>(
  task: Task,
  word: string,
  fieldsOf: (task: Task) => Fields,
): Promise<InputError> {
  const flag = word.replace(/=.*/s, "");
  const name = flag.replace(/^--?/, "");
  const flagsOf = (task: Task) => Object.values(fieldsOf(task)).map(({ flag }) => flag);
  const near = nearest(name, [...flagsOf(task), "help"]);
  const others = flag.startsWith("--")
    ? (await tasksBeside<Task>(task.name)).filter((one) => flagsOf(one).includes(name))
    : [];
  const facts = [
    `${flag} is not`,
    ...near === undefined ? [] : [`the nearest is --${near}`],
    ...others.length === 0 ? [] : [`but ${taking(others)} ${flag}`],
  ];
  return new InputError(
    `Cannot run task "${task.name}" as every flag must be one of its own: ${facts.join(", ")}`,
    { remedy: "see --help" },
  );
}

/** Says which tasks take something. */
function taking(tasks: readonly Flagged[]): string {
  const names = tasks.slice(0, MOST).map(({ name }) => `"${name}"`).join(", ");
  if (tasks.length === 1) return `task ${names} takes`;
  const more = tasks.length - MOST;
  return `tasks ${names}${more > 0 ? ` and ${more} more` : ""} take`;
}

/** Loads the other tasks of `deno.json` that are here. One that this process may not load is left out. */
async function tasksBeside<Task extends Flagged>(own: string): Promise<Task[]> {
  const project = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const found: Task[] = [];
  for (const [name, { command }] of Object.entries<{ command: string }>(project.tasks)) {
    if (name === own || !command.includes(` tasks/${name}.ts`)) continue;
    const loaded = await import(new URL(`${name}.ts`, import.meta.url).href).catch(() => undefined);
    if (loaded?.TASK) found.push(loaded.TASK);
  }
  return found;
}
