/**
 * Keeps what a task writes from taking the place of what it reads, and of what a run holds.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { PARTIAL, SCRATCH } from "../graph/folder.ts";
import { LOCKS } from "../graph/lock.ts";
import { findRun } from "../run/configuration.ts";
import { askAll } from "../run/files.ts";
import { nodeFolders } from "./settings.ts";

/** What else of a run no user writes: folders, and places of links to files of nodes. */
const OWN = [
  ...["config.json", "metrics", "export", "jobs", LOCKS, PARTIAL, SCRATCH],
  ...[
    "tokenizer.json",
    "evaluation.json",
    "evaluation.arrow",
    "overlap.json",
    "overlap.arrow",
    "report.html",
    "reproduction.json",
    "reproduction.md",
  ],
];

/**
 * Throws an `InputError` where a file that is to be written is one of those that are read, by whatever name. Also where
 * it lies in a folder that is read, or is a file of a run. `-` names standard input, which a shell may read from a file.
 */
export async function checkOutput(output: string, inputs: readonly string[] = []): Promise<void> {
  const there = await Deno.stat(output).catch(() => null);
  const place = await resolvePlace(output);
  await askAll(inputs, async (input) => {
    const read = input === "-" ? standardInput() : await Deno.stat(input).catch(() => null);
    const isRead = read?.isDirectory
      ? place.startsWith(`${await Deno.realPath(input)}/`)
      : there !== null && read?.ino === there.ino && read.dev === there.dev;
    const is = read?.isDirectory ? "lies in" : "is";
    const what = input === "-" ? "standard input" : `"${input}"`;
    if (isRead) throw refuse(output, `it must not take the place of what is read: it ${is} ${what}`);
  });
  const run = await findRun(dirname(place));
  if (run === null || !isOfRun(relative(run, place))) return;
  throw refuse(output, `it must not take the place of a file of a run: it is one of "${run}"`);
}

/** Returns whether a path in a run is that of a file which the run has, or will have. */
function isOfRun(path: string): boolean {
  const [first] = path.split("/");
  return OWN.includes(first) || nodeFolders().includes(first);
}

/** Tells which file or pipe standard input is, if it is open: Deno has no call for that, and opens no `/dev/stdin`. */
function standardInput() {
  try {
    const { ino, dev } = fstatSync(0);
    return { ino, dev, isDirectory: false };
  } catch {
    return null;
  }
}

/** Throws an `InputError` where a folder that results are to be written into is a run, or one of a run's own. */
export async function checkOutputFolder(output: string): Promise<void> {
  const place = await resolvePlace(output);
  if (await findRun(place) === place) throw refuse(output, "it must not be a run folder: it is one");
  await checkOutput(`${output}/results.json`);
}

/** Returns whether two paths are those of the same file, or would be. */
export async function isSamePlace(one: string, other: string): Promise<boolean> {
  return await resolvePlace(one) === await resolvePlace(other);
}

/** Gives the place of a file that may be there: its folder without links, as far as there is one, and its name. */
async function resolvePlace(path: string): Promise<string> {
  const whole = resolve(path);
  const folder = dirname(whole);
  if (folder === whole) return whole;
  const real = await Deno.realPath(folder).catch(() => resolvePlace(folder));
  return resolve(real, basename(whole));
}

function refuse(where: string, fact: Text): InputError {
  return new InputError(say`Cannot write "${where}" as ${fact}`, {
    where,
    remedy: say`choose another ${setting("output")}`,
  });
}
