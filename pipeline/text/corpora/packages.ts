/**
 * Finds the files of installed npm packages, where `import.meta.resolve` has them. They are listed and read, never run.
 *
 * @module
 */

import { RunError } from "../../../kernels/errors.ts";
import { compareBytes } from "../glob.ts";

/** Files of one package. */
export interface PackageFiles {
  /** A module of the package, to find it by. */
  module: string;
  /** Folder of the files, from that module. */
  folder: string;
  /** Names of the files, folders below included. */
  names: RegExp;
}

/** Lists the files below the folder in byte order of their names. Throws a RunError where the package is not installed. */
export async function listPackageFiles({ module, folder, names }: PackageFiles): Promise<URL[]> {
  const found: string[] = [];
  const walk = async (root: URL, below: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(below, root))) {
      if (isDirectory) await walk(root, `${below}${name}/`);
      else if (names.test(below + name)) found.push(below + name);
    }
  };
  const at = import.meta.resolve(module);
  try {
    if (!at.startsWith("file:")) throw new Deno.errors.NotFound(); // npm: in the lock file, but not fetched
    const root = new URL(folder, at);
    await walk(root, "");
    return found.sort(compareBytes).map((name) => new URL(name, root));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new RunError(
      `Cannot read the embedded corpus as the package "${module}" must be installed: it is not`,
      { remedy: "run deno install", cause: error },
    );
  }
}

/** Reads a text file with lines that end in \n. */
export async function readText(url: URL): Promise<string> {
  return (await Deno.readTextFile(url)).replaceAll("\r\n", "\n");
}
