/**
 * Keeps what a task writes from taking the place of what it reads, and of what a run holds.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { LOCKS } from "../run/claims.ts";
import { askAll } from "../run/files.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { isConfigured, manifestNames, readManifest, runOf } from "../run/manifest.ts";
import { defaultConfiguration } from "../settings/configuration.ts";
import { graphOf } from "./graph.ts";

/** Folders of a run, besides those that stages make, in which no file is the user's. */
const OWN_FOLDERS = ["manifests", "metrics", "search", "export", LOCKS, "jobs"];

/**
 * Throws an `InputError` where a file that is to be written is one of those that are read, by whatever name (`-` is
 * standard input, which a shell may read from a file), lies in a folder that is read, or is a file of a run.
 */
export async function checkOutput(output: string, inputs: readonly string[] = []): Promise<void> {
  const there = await Deno.stat(output).catch(() => null);
  const place = await placeOf(output);
  await askAll(inputs, async (input) => {
    const read = input === "-" ? standardInput() : await Deno.stat(input).catch(() => null);
    const isRead = read?.isDirectory
      ? place.startsWith(`${await Deno.realPath(input)}/`)
      : there !== null && read?.ino === there.ino && read.dev === there.dev;
    const is = read?.isDirectory ? "lies in" : "is";
    const what = input === "-" ? "standard input" : `"${input}"`;
    if (isRead) throw refuse(output, `it must not take the place of what is read: it ${is} ${what}`);
  });
  const run = await runOf(dirname(place));
  const isOwn = run === null
    ? basename(place) === "config.json" && await isConfigured(dirname(place))
    : await isOfRun(run, relative(run, place));
  if (isOwn) {
    throw refuse(
      output,
      `it must not take the place of a file of a run: it is one of "${run ?? dirname(place)}"`,
    );
  }
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
  const place = await placeOf(output);
  if (await runOf(place) === place) throw refuse(output, "it must not be a run folder: it is one");
  await checkOutput(`${output}/results.json`);
}

/** Says whether two paths are those of the same file, or would be. */
export async function isSamePlace(one: string, other: string): Promise<boolean> {
  return await placeOf(one) === await placeOf(other);
}

/** Says whether a path in a run is that of a file which the run has, or will have. */
async function isOfRun(run: string, path: string): Promise<boolean> {
  if (path === "config.json" || OWN_FOLDERS.includes(path.split("/")[0])) return true;
  const read = await readRunConfiguration(run, { edited: true }).catch(() => null);
  if (graphOf(read?.configuration ?? defaultConfiguration()).maker(path)) return true;
  for (const name of await manifestNames(run)) { // also those of other settings, and of pages
    const manifest = await readManifest(run, name).catch(() => null);
    if (manifest && path in manifest.outputs) return true;
  }
  return false;
}

/** Gives the place of a file that may be there: its folder without links, as far as there is one, and its name. */
async function placeOf(path: string): Promise<string> {
  const whole = resolve(path);
  const folder = dirname(whole);
  if (folder === whole) return whole;
  const real = await Deno.realPath(folder).catch(() => placeOf(folder));
  return resolve(real, basename(whole));
}

function refuse(where: string, fact: Text): InputError {
  return new InputError(say`Cannot write "${where}" as ${fact}`, {
    where,
    remedy: say`choose another ${setting("output")}`,
  });
}
