/**
 * Says what a bundle holds: which tasks, the packages that they load, and their entries of the lock file.
 *
 * @module
 */

import { InputError } from "../kernels/mod.ts";
import { type LockFile, reducedLock } from "./lock_file.ts";

/** What can be added to a bundle. */
export const EXTRAS = ["tokenizer", "report", "driver"] as const;

/** One of {@linkcode EXTRAS}. */
export type Extra = typeof EXTRAS[number];

/** A part of a bundle: tasks, and the names under which `deno.json` imports their packages. */
interface Part {
  tasks: readonly string[];
  packages: readonly string[];
}

const part = (tasks: string, packages: string): Part => ({
  tasks: tasks.split(" ").filter(Boolean),
  packages: packages.split(" ").filter(Boolean),
});

/** What every bundle holds. The words of parts and of reports come by a tokenizer. */
const BASE = part(
  "train-routers score assign split train-expert train-dense train-switch evaluate " +
    "status watch clean verify cost doctor bench",
  "@huggingface/jinja @hono/node-server @hono/valibot-validator apache-arrow cli-progress fastest-levenshtein flatbuffers hono " +
    "ml-matrix tokenizers valibot",
);

/** What each extra adds. A driver consists only of files of the system. */
const ADDED: Record<Extra, Part> = {
  tokenizer: part(
    "corpus tokenizer tokenize partition generate serve show zero-shot",
    "hyparquet hyparquet-compressors prom-client",
  ),
  report: part("report", "vega vega-lite"),
  driver: part("", ""),
};

/** Gathers the tasks and packages of a bundle with these extras. */
export function partsOf(extras: readonly Extra[]): Part {
  const parts = [BASE, ...extras.map((extra) => ADDED[extra])];
  return {
    tasks: parts.flatMap(({ tasks }) => tasks),
    packages: parts.flatMap(({ packages }) => packages),
  };
}

/** Reads `tokenizer,report`. Throws an `InputError` for a name that is no extra, or that is there twice. */
export function parseExtras(text: string): Extra[] {
  const names = text === "" ? [] : text.split(",").map((name) => name.trim());
  const wrong = names.find((name, i) => !EXTRAS.some((extra) => extra === name) || names.indexOf(name) < i);
  if (wrong === undefined) return names as Extra[];
  const must = `it must name some of ${EXTRAS.join(",")}, each once`;
  throw new InputError(`Cannot bundle with "${text}" as ${must}: it names "${wrong}"`);
}

/** The part of `deno.json` that this module reads. */
export interface ProjectFile extends Record<string, unknown> {
  imports: Record<string, string>;
  tasks: Record<string, unknown>;
}

/** Gives `deno.json` with only what some tasks need. */
export function bundledProject(project: ProjectFile, { tasks, packages }: Part): ProjectFile {
  const keep = (name: string) => packages.includes(name.replace(/\/$/, ""));
  const imports = Object.entries(project.imports)
    .filter(([name, target]) => !/^npm:/.test(target) || keep(name));
  return {
    ...project,
    imports: Object.fromEntries(imports),
    tasks: Object.fromEntries(Object.entries(project.tasks).filter(([name]) => tasks.includes(name))),
    allowScripts: undefined,
  };
}

/** Gives the lock file of a project with fewer imports, and lists its packages as `name@version`. */
export function bundledLock(
  lock: LockFile,
  { imports }: ProjectFile,
): { lock: LockFile; packages: string[] } {
  const wanted = Object.values(imports).filter((target) => /^npm:[^/]/.test(target));
  return reducedLock(lock, [...new Set(wanted)].sort());
}
