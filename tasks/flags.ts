/**
 * Reports of a flag that a task does not have which of its own is meant, and which other tasks have it.
 *
 * @module
 */

import { InputError } from "../kernels/mod.ts";
import { nearest } from "../pipeline/settings/mod.ts";

/** What people type who know other programs, and the flags that do it here: a task has some of them, or none. */
const MEANT: [typed: string, flags: string][] = [
  ["lr learning-rate rate", "learning-rate expert-rate router-rate dense-rate"],
  ["batch-size batch micro-batch-size", "expert-batch router-batch score-batch"],
  ["steps max-steps num-steps iters max-iters", "expert-steps rounds"],
  ["epochs num-epochs", "epochs expert-epochs rounds"],
  ["input-dir input-file data data-dir dataset inputs", "input run"],
  ["output-dir out-dir out dir folder", "output run"],
  ["num-experts n-experts clusters k", "experts"],
  ["seq-len seq-length context block-size max-length", "sequence-length"],
  ["device cuda", "gpu adapter"],
];

/** Most tasks that are named. */
const MOST = 3;

/**
 * Explains that `word` is no flag of a task, whose flags are `own`. It names those of them that are meant, or the one that is
 * near, and the tasks that have this very flag.
 */
export async function unknownFlag(
  task: string,
  own: readonly string[],
  word: string,
  remedy = "see --help",
): Promise<InputError> {
  const flag = word.replace(/=.*/s, "");
  const name = flag.replace(/^--?/, "");
  const [, known = ""] = MEANT.find(([typed]) => typed.split(" ").includes(name)) ?? [];
  const meant = known.split(" ").filter((other) => own.includes(other)).map((other) => `--${other}`);
  const near = nearest(name, [...own, "help"]);
  const others = flag.startsWith("--") ? (await tasksWith(name)).filter((other) => other !== task) : [];
  const facts = [`${flag} is not`];
  if (meant.length > 0) facts.push(`here it is ${meant.join(" or ")}`);
  else if (near !== undefined) facts.push(`the nearest is --${near}`);
  if (others.length > 0) facts.push(`but ${taking(others)} ${flag}`);
  const what = `Cannot run task "${task}" as every flag must be one of its own: ${facts.join(", ")}`;
  return new InputError(what, { remedy });
}

/** Reports which tasks take something. */
function taking(tasks: readonly string[]): string {
  const names = tasks.slice(0, MOST).map((name) => `"${name}"`).join(", ");
  if (tasks.length === 1) return `task ${names} takes`;
  const more = tasks.length - MOST;
  return `tasks ${names}${more > 0 ? ` and ${more} more` : ""} take`;
}

/** Lists the tasks that have a flag, by a table: loading the tasks would load their packages, which need not be here. */
async function tasksWith(flag: string): Promise<string[]> {
  const table = await Deno.readTextFile(new URL("flags.json", import.meta.url));
  return Object.entries<string>(JSON.parse(table))
    .flatMap(([task, flags]) => flags.split(" ").includes(flag) ? [task] : []);
}
