/**
 * Reports what a bundle holds: which tasks, and the packages that they load.
 *
 * @module
 */

import { InputError } from "../kernels/mod.ts";

/** What can be added to a bundle. */
export const EXTRAS = ["tokenizer", "report", "driver"] as const;

/** One of {@linkcode EXTRAS}. */
export type Extra = typeof EXTRAS[number];

/** A part of a bundle: tasks, and the names under which `deno.json` imports their packages. */
type Part = Record<"tasks" | "packages", readonly string[]>;

const part = (tasks: string, packages: string): Part => ({
  tasks: tasks.split(" ").filter(Boolean),
  packages: packages.split(" ").filter(Boolean),
});

/** What every bundle holds. The words of parts and of reports come by a tokenizer. */
const BASE = part(
  "train-routers score assign split train-expert train-dense train-switch evaluate " +
    "status watch clean verify cost doctor bench",
  "@huggingface/jinja @hono/node-server apache-arrow fastest-levenshtein flatbuffers hono ml-matrix " +
    "tokenizers valibot",
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
export function gatherParts(extras: readonly Extra[]): Part {
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

/** The part of the lock file of npm packages that is read. */
export interface LockFile {
  specifiers: Record<string, string>;
  npm: Record<string, { dependencies?: string[]; optionalPeers?: string[] }>;
}

/**
 * Lists, as `name@version`, the packages that some of a project's (`wanted`, as `npm:name@1.0.0`) need, themselves among them; without
 * optional peers that nothing else brings.
 */
export function listPackages({ specifiers, npm }: LockFile, wanted: readonly string[]): string[] {
  const keys = Object.keys(npm);
  const findKey = (name: string) =>
    name in npm ? name : keys.find((key) => key.startsWith(`${name}_`) || packageName(key) === name)!;
  const found = new Set<string>();
  const visit = (key: string) => {
    if (found.has(key)) return;
    found.add(key);
    const { dependencies = [], optionalPeers = [] } = npm[key];
    for (const name of dependencies) if (!optionalPeers.includes(name)) visit(findKey(name));
  };
  for (const target of wanted) visit(findKey(`${packageName(target.slice(4))}@${specifiers[target]}`));
  return [...found].sort().map((key) =>
    `${packageName(key)}@${key.slice(packageName(key).length + 1).split("_")[0]}`
  );
}

/** Gives the name in `@scope/name@1.0.0_peer@2.0.0`. */
const packageName = (key: string): string => key.slice(0, key.indexOf("@", 1));
