/**
 * Makes a bundle: one archive from which tasks run on a Linux server that has no network, no Deno and no home
 * folder.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError, RunError, say, setting } from "../kernels/mod.ts";
import { NO_LIBRARIES } from "../pipeline/doctor/mod.ts";
import { hashFile, jsonText } from "../pipeline/run/mod.ts";
import { bundledLock, bundledProject, type Extra, partsOf, type ProjectFile } from "./bundle_parts.ts";
import type { LockFile } from "./lock_file.ts";

/** What {@linkcode makeBundle} made. */
export interface Bundle {
  /** The archive. */
  output: string;
  /** Its size in bytes. */
  bytes: number;
  /** Its SHA-256, in hexadecimal. */
  sha256: string;
  /** Files in it. */
  files: number;
  /** The tasks that it runs. */
  tasks: string[];
  /** The packages in it, as `name@version`. */
  packages: string[];
}

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Files of the project that are copied, besides `deno.json` and the lock file. */
const COPIED = [
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "mod.ts",
  "kernels",
  "pipeline",
  "tasks",
  "fixtures",
  "tests/bench",
];

/**
 * Files of an unpacked package that nothing in a bundle reads: maps, declarations of types, programs of other
 * systems.
 */
const UNREAD = /\.map$|\.d\.[mc]?ts$|\.partial$|(?<!linux-x64-gnu)\.node$/;

/** Makes a bundle. Throws an `InputError` where something that it is to hold is not on this machine. */
export async function makeBundle(
  { output, extras, signal, cache = cacheFolder() }: {
    output: string;
    extras: readonly Extra[];
    signal: AbortSignal;
    /** Deno's folder of packages. */
    cache?: string;
  },
): Promise<Bundle> {
  const [, name, compression] = /^(.+)\.tar(\.xz|\.gz)?$/.exec(basename(output)) ?? [];
  if (name === undefined || /^[.-]/.test(name)) { // the name is also that of the folder in the archive
    const must = name === undefined
      ? "end in .tar.xz, .tar.gz or .tar: it does not"
      : "begin with neither a dot nor a dash: it does";
    throw new InputError(`Cannot bundle into "${output}" as its name must ${must}`);
  }
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    const { os, arch } = Deno.build;
    throw new InputError(
      `Cannot bundle as the machine must be one on which the bundle runs, Linux on x86_64: it is ${os} on ${arch}`,
    );
  }
  const folder = await realPathOf(dirname(output));
  for (const copied of await Promise.all(COPIED.map((name) => realPathOf(`${ROOT}${name}`)))) {
    if (!`${folder}/`.startsWith(`${copied}/`)) continue;
    throw new InputError(
      say`Cannot bundle into "${output}" as it must lie outside what is bundled: it lies in "${copied}"`,
      { remedy: say`choose another ${setting("output")}` },
    );
  }
  const parts = partsOf(extras);
  const read = async (file: string) => JSON.parse(await Deno.readTextFile(`${ROOT}${file}`));
  const project = bundledProject(await read("deno.json") as ProjectFile, parts);
  const { lock, packages } = bundledLock(await read("deno.lock") as LockFile, project);
  await Deno.mkdir(dirname(output), { recursive: true });
  await removeLeft(dirname(output));
  const work = await Deno.makeTempDir({ dir: dirname(output), prefix: WORK });
  const held = await lockFolder(work);
  const archive = `${work}/.archive`;
  try {
    const root = `${work}/${name}`;
    for (const named of packages) {
      await copyPackage(named, cache, `${root}/packages`, signal);
    }
    await copy(Deno.execPath(), `${root}/bin/deno`, signal);
    await copy(`${ROOT}tasks/bundle_run.sh`, `${root}/run`, signal);
    await Deno.chmod(`${root}/run`, 0o755);
    for (const file of COPIED) await copy(`${ROOT}${file}`, `${root}/project/${file}`, signal);
    await Deno.writeTextFile(`${root}/project/deno.json`, jsonText(project));
    await Deno.writeTextFile(`${root}/project/deno.lock`, jsonText(lock));
    if (extras.includes("driver")) await copyDriver(`${root}/driver`, signal);
    const files = await writeSums(root);
    await run("tar", [
      ...["--create", "--file", archive, "--directory", work, "--sort=name", "--mtime=@0"],
      ...["--owner=0", "--group=0", "--numeric-owner"],
      ...({ ".xz": ["--xz"], ".gz": ["--gzip"] }[compression] ?? []),
      name,
    ], signal);
    await Deno.rename(archive, output);
    return { output, ...await hashFile(output), files, tasks: [...parts.tasks], packages };
  } finally {
    await Deno.remove(work, { recursive: true });
    held?.close();
  }
}

/** How the names of the folders begin in which bundles are made. */
const WORK = ".bundle-";
/** Locked in such a folder while a process works there. No bundle has this name. */
const LOCK = ".lock";

/** Locks a folder; null where files cannot be locked, so that nobody takes the folder for one that was left. */
async function lockFolder(folder: string): Promise<Deno.FsFile | null> {
  const file = await Deno.open(`${folder}/${LOCK}.new`, { write: true, createNew: true });
  if (await file.tryLock(true).catch(() => false)) {
    await Deno.rename(`${folder}/${LOCK}.new`, `${folder}/${LOCK}`);
    return file;
  }
  file.close();
  return null;
}

/** Removes the folders that killed processes left: nobody holds their locks any more. */
async function removeLeft(beside: string): Promise<void> {
  for (const { name } of await Array.fromAsync(Deno.readDir(beside))) {
    if (!name.startsWith(WORK)) continue;
    const file = await Deno.open(`${beside}/${name}/${LOCK}`, { write: true }).catch(() => null);
    if (await file?.tryLock(true).catch(() => false)) {
      await Deno.remove(`${beside}/${name}`, { recursive: true }).catch(() => {});
    }
    file?.close();
  }
}

/** Gives the path of a file or folder without links; as it is where there is none. */
const realPathOf = (path: string): Promise<string> => Deno.realPath(path).catch(() => resolve(path));

/** Finds the folder in which Deno keeps packages. */
function cacheFolder(): string {
  const [own, caches, home] = ["DENO_DIR", "XDG_CACHE_HOME", "HOME"].map((name) => Deno.env.get(name));
  return own || `${caches || `${home}/.cache`}/deno`;
}

/** Copies a file, or a folder without what nothing reads. */
async function copy(from: string, to: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (!(await Deno.stat(from)).isDirectory) {
    await Deno.mkdir(dirname(to), { recursive: true });
    return await Deno.copyFile(from, to);
  }
  for await (const { name } of Deno.readDir(from)) {
    if (!UNREAD.test(name)) await copy(join(from, name), join(to, name), signal);
  }
}

/**
 * Copies a package from one of Deno's folders to another, with the registry's description of it where Deno has
 * fetched that: it does so only where the lock file does not say enough.
 */
async function copyPackage(named: string, from: string, to: string, signal: AbortSignal): Promise<void> {
  const [, name, version] = /^(.+)@(.+)$/.exec(named)!;
  const folder = `npm/registry.npmjs.org/${name}`;
  for (const file of [`${folder}/registry.json`, `${folder}/${version}`]) {
    await copy(`${from}/${file}`, `${to}/${file}`, signal).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      if (file.endsWith("/registry.json")) return;
      const what =
        `Cannot bundle as package ${named} must be in Deno's cache: "${from}/${file}" is not there`;
      throw new InputError(what, { remedy: "run deno install --frozen", cause: error });
    });
  }
}

/** Where a driver and the libraries that it needs may lie. */
const LIBRARIES = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
const DRIVER = "libvulkan_lvp.so";
const LOADER = "libvulkan.so.1";
/** Libraries that must be those of the machine: the C library, with which every program there is linked. */
const OF_THE_MACHINE = /^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv)\.so\.\d+)$/;

/** Copies Mesa's driver for the processor, Vulkan's loader, and the libraries that both need. */
async function copyDriver(to: string, signal: AbortSignal): Promise<void> {
  const found = new Map<string, string>();
  for (const name of [DRIVER, LOADER]) {
    const path = await firstOf(LIBRARIES.map((folder) => `${folder}/${name}`));
    if (path === undefined) {
      const what = `Cannot bundle a driver as ${name} must be on this machine: it is not in ${
        LIBRARIES.join(", ")
      }`;
      throw new InputError(what, { remedy: "run apt-get install mesa-vulkan-drivers libvulkan1" });
    }
    found.set(name, path);
    for (const [, needed, at] of (await run("ldd", [path], signal)).matchAll(/^\s*(\S+) => (\/\S+)/gm)) {
      if (!OF_THE_MACHINE.test(needed)) found.set(needed, at);
    }
  }
  for (const [name, path] of found) await copy(path, `${to}/${name}`, signal);
  const icd = { file_format_version: "1.0.0", ICD: { library_path: `./${DRIVER}`, api_version: "1.3.0" } };
  await Deno.writeTextFile(`${to}/lvp_icd.json`, jsonText(icd));
}

async function firstOf(paths: string[]): Promise<string | undefined> {
  for (const path of paths) {
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
}

/** Writes `SHA256SUMS`, as `sha256sum --check` reads it, and counts the files. */
async function writeSums(root: string): Promise<number> {
  const lines: string[] = [];
  const walk = async (below: string) => {
    const entries = await Array.fromAsync(Deno.readDir(`${root}/${below}`));
    for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
      if (isDirectory) await walk(`${below}${name}/`);
      else lines.push(`${(await hashFile(`${root}/${below}${name}`)).sha256}  ${below}${name}`);
    }
  };
  await walk("");
  await Deno.writeTextFile(`${root}/SHA256SUMS`, lines.join("\n") + "\n");
  return lines.length;
}

/** Runs a program and gives what it printed. Throws a `RunError` where it is missing or fails. */
async function run(program: string, args: string[], signal: AbortSignal): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, signal, env: NO_LIBRARIES })
    .output().catch(
      (error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        const what = `Cannot bundle as the program ${program} must be there: it is not`;
        throw new RunError(what, { remedy: `install it, and xz for .tar.xz`, cause: error });
      },
    );
  signal.throwIfAborted();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (success) return text(stdout);
  throw new RunError(`Cannot bundle as ${program} must succeed: it says "${text(stderr)}"`);
}
