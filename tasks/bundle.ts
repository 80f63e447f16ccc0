/**
 * Bundles the project, Deno and the packages that training, scoring and evaluation need into one
 * archive.
 *
 *   deno task bundle --output smalltalk-linux-x64.tar.xz --with driver
 */
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ensure, InputError, RunError } from "../kernels/errors.ts";
import { NO_LIBRARIES } from "../pipeline/doctor/system.ts";
import {
  type FileRecord,
  filesUnder,
  hashFile,
  jsonText,
  writeAtomic,
} from "../pipeline/graph/files.ts";
import { removeFolder, type RunEvent } from "../pipeline/graph/mod.ts";
import { countText, decimalBytes } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import { fromHere } from "./cli/arguments.ts";
import { defineTask } from "./cli/command.ts";

/** What every bundle holds: tasks, and the names under which `deno.json` imports their packages. */
const BASE = {
  tasks: "train-routers score assign split train-expert train-dense train-switch evaluate " +
    "status watch clean verify cost doctor bench",
  packages: "@huggingface/jinja @hono/node-server apache-arrow fastest-levenshtein " +
    "flatbuffers hono ml-matrix " +
    "tokenizers valibot", // the words of parts and of reports come by a tokenizer
};

/** What each extra adds. A driver consists only of files of the system. */
const ADDED = {
  tokenizer: {
    tasks: "corpus tokenizer tokenize partition generate serve show zero-shot",
    packages: "hyparquet hyparquet-compressors prom-client",
  },
  report: { tasks: "report", packages: "vega vega-lite" },
  driver: { tasks: "", packages: "" },
};

/** One of the things that can be added to a bundle. */
type Extra = keyof typeof ADDED;
const EXTRAS = Object.keys(ADDED);

/** Gathers the tasks and packages of a bundle with these extras. */
export function gatherParts(extras: readonly Extra[]): Record<"tasks" | "packages", string[]> {
  const parts = [BASE, ...extras.map((extra) => ADDED[extra])];
  const words = (kind: "tasks" | "packages") =>
    parts.flatMap((part) => part[kind].split(" ").filter(Boolean));
  return { tasks: words("tasks"), packages: words("packages") };
}

/**
 * Reads `tokenizer,report`. Throws an `InputError` for a name that is no extra, or that is there
 * twice.
 */
function parseExtras(text: string): Extra[] {
  const names = text.split(",").map((name) => name.trim());
  const wrong = names.find((name, i) => !EXTRAS.includes(name) || names.indexOf(name) < i);
  const must = `it must name some of ${EXTRAS.join(",")}, each once`;
  ensure(wrong === undefined, `Cannot bundle with "${text}" as ${must}: it names "${wrong}"`);
  return names as Extra[];
}

/** The part of the lock file of npm packages that is read. */
export interface LockFile {
  specifiers: Record<string, string>;
  npm: Record<string, { dependencies?: string[]; optionalPeers?: string[] }>;
}

/** Gives the name in `@scope/name@1.0.0_peer@2.0.0`. */
export const packageName = (key: string): string => key.slice(0, key.indexOf("@", 1));

/**
 * Gives the keys, in a lock file, of the packages that some of a project's (`wanted`, as
 * `npm:name@1.0.0`) need, themselves among them; without optional peers that nothing else brings.
 */
export function neededKeys({ specifiers, npm }: LockFile, wanted: readonly string[]): string[] {
  const keys = Object.keys(npm);
  const findKey = (name: string) =>
    name in npm
      ? name
      : keys.find((key) => key.startsWith(`${name}_`) || packageName(key) === name)!;
  const keysFound = new Set<string>();
  const visit = (key: string) => {
    if (keysFound.has(key)) return;
    keysFound.add(key);
    const { dependencies = [], optionalPeers = [] } = npm[key];
    for (const name of dependencies) if (!optionalPeers.includes(name)) visit(findKey(name));
  };
  for (const target of wanted) {
    visit(findKey(`${packageName(target.slice(4))}@${specifiers[target]}`));
  }
  return [...keysFound].sort();
}

/** Lists the same packages as `name@version`. */
export function listPackages(lock: LockFile, wanted: readonly string[]): string[] {
  // Without the versions of its peers.
  return neededKeys(lock, wanted).map((key) => key.replace(/(?<=.@[^_]*)_.*/, ""));
}

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Files of the project that are copied, apart from `deno.json`. */
const COPIED = ("LICENSE README.md CHANGELOG.md deno.lock mod.ts kernels pipeline tasks fixtures " +
  "tests/bench tests/std")
  .split(" ");

/**
 * Files of an unpacked package that nothing in a bundle reads: maps, declarations of types,
 * programs of other systems.
 */
const UNREAD = /\.map$|\.d\.[mc]?ts$|\.partial$|(?<!linux-x64-gnu)\.node$/;

/** What {@linkcode makeBundle} takes; `cache` is Deno's folder of packages. */
interface BundleOptions {
  output: string;
  extras: readonly Extra[];
  signal: AbortSignal;
  onEvent?: (event: RunEvent) => void;
  cache?: string;
}

/**
 * Makes a bundle; gives the archive with its size and hash, how many files it has, the tasks that
 * it runs, its packages. Throws an `InputError` where something that it is to hold is not on this
 * machine.
 */
export async function makeBundle(options: BundleOptions) {
  const { output, extras, signal, cache = cacheFolder() } = options;
  const { name, compression } = await checkPlace(output);
  const { tasks, packages: imported } = gatherParts(extras);
  const read = async (file: string) => JSON.parse(await Deno.readTextFile(`${ROOT}${file}`));
  const project = await read("deno.json");
  const packages = listPackages(
    await read("deno.lock"),
    imported.map((name) => project.imports[name]),
  );
  const held = Object.entries(project.tasks).filter(([name]) => tasks.includes(name));
  const work = `${output}.partial`;
  const root = `${work}/${name}`;
  await removeFolder(work); // of a process that was killed
  try {
    for (const named of packages) await copyPackage(named, cache, `${root}/packages`, signal);
    await copy(Deno.execPath(), `${root}/bin/deno`, signal);
    await copy(`${ROOT}tasks/bundle_run.sh`, `${root}/run`, signal);
    await Deno.chmod(`${root}/run`, 0o755);
    for (const file of COPIED) await copy(`${ROOT}${file}`, `${root}/project/${file}`, signal);
    const projectFile = { ...project, tasks: Object.fromEntries(held) };
    await Deno.writeTextFile(`${root}/project/deno.json`, jsonText(projectFile));
    if (extras.includes("driver")) await copyDriver(`${root}/driver`, signal);
    const { files, bytes } = await writeSums(root);
    const record = await pack(work, name, compression, bytes, options);
    await Deno.rename(`${work}/archive`, output);
    return { output, ...record, files, tasks, packages };
  } finally {
    await removeFolder(work);
  }
}

/** Gives the name of the folder in an archive, and how that is compressed. */
async function checkPlace(output: string): Promise<{ name: string; compression?: string }> {
  const [, name, compression] = /^(.+)\.tar(?:\.(xz|gz))?$/.exec(basename(output)) ?? [];
  const must = name === undefined
    ? "end in .tar.xz, .tar.gz or .tar: it does not"
    // It is also the name of the folder in the archive.
    : "begin with neither a dot nor a dash: it does";
  ensure(name && !/^[.-]/.test(name), `Cannot bundle into "${output}" as its name must ${must}`);
  const { os, arch } = Deno.build;
  const machine = "the machine must be one on which the bundle runs, Linux on x86_64";
  ensure(
    os === "linux" && arch === "x86_64",
    `Cannot bundle as ${machine}: it is ${os} on ${arch}`,
  );
  const folder = await Deno.realPath(dirname(output)).catch(() => resolve(dirname(output)));
  for (const name of COPIED) {
    const copied = await Deno.realPath(`${ROOT}${name}`);
    const isOutside = !`${folder}/`.startsWith(`${copied}/`);
    const must = "it must lie outside what is bundled";
    ensure(isOutside, `Cannot bundle into "${output}" as ${must}: it lies in "${copied}"`, {
      remedy: "choose another --output",
    });
  }
  return { name, compression };
}

/**
 * Packs a folder of `work` into its file `archive`, and tells how much of `total` bytes is packed.
 */
async function pack(
  work: string,
  name: string,
  compression: string | undefined,
  total: number,
  { signal, onEvent = () => {} }: BundleOptions,
): Promise<FileRecord> {
  const flags = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", name];
  const piped = {
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
    signal,
    env: NO_LIBRARIES,
  } as const;
  const tar = start("tar", { ...piped, args: ["--create", "--directory", work, ...flags] });
  let done = 0;
  const counted = tar.stdout.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(chunk, controller) {
        done = Math.min(total, done + chunk.length);
        onEvent({
          type: "progress",
          stage: "bundle",
          done: done / 1e6,
          total: total / 1e6,
          unit: "MB",
        });
        controller.enqueue(chunk);
      },
    }),
  );
  const xz = compression === "xz" &&
    start("xz", { ...piped, args: ["--threads=0"], stdin: "piped" });
  const gzipped = () =>
    compression === "gz" ? counted.pipeThrough(new CompressionStream("gzip")) : counted;
  const written = writeAtomic(`${work}/archive`, xz ? xz.stdout : gzipped());
  const fed = xz ? [counted.pipeTo(xz.stdin), ended("xz", xz)] : [];
  await Promise.allSettled([written, ...fed]); // where the disk is full, the programs fail of that
  const record = await written;
  await Promise.all([...fed, ended("tar", tar)]);
  signal.throwIfAborted();
  return record;
}

/** Starts a program. Throws a `RunError` where it is missing. */
function start(program: string, options: Deno.CommandOptions): Deno.ChildProcess {
  try {
    return new Deno.Command(program, options).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const refusal = `Cannot bundle as the program ${program} must be there: it is not`;
    throw new RunError(refusal, { remedy: "install it", cause: error });
  }
}

async function ended(program: string, child: Deno.ChildProcess): Promise<void> {
  const { success, code } = await child.status;
  if (!success) {
    throw new RunError(`Cannot bundle as ${program} must succeed: it ended with ${code}`);
  }
}

/** Finds the folder in which Deno keeps packages. */
function cacheFolder(): string {
  const [denoFolder, caches, home] = ["DENO_DIR", "XDG_CACHE_HOME", "HOME"].map((name) =>
    Deno.env.get(name)
  );
  return denoFolder || `${caches || `${home}/.cache`}/deno`;
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
 * Copies a package from one of Deno's folders to another, with the registry's description of it
 * where Deno has fetched that.
 */
async function copyPackage(
  named: string,
  from: string,
  to: string,
  signal: AbortSignal,
): Promise<void> {
  const [, name, version] = /^(.+)@(.+)$/.exec(named)!;
  const folder = `npm/registry.npmjs.org/${name}`;
  for (const file of [`${folder}/registry.json`, `${folder}/${version}`]) {
    await copy(`${from}/${file}`, `${to}/${file}`, signal).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      if (file.endsWith("/registry.json")) return;
      const must = `package ${named} must be in Deno's cache`;
      throw new InputError(`Cannot bundle as ${must}: "${from}/${file}" is not there`, {
        remedy: "run deno install --frozen",
        cause: error,
      });
    });
  }
}

/** Where a driver and the libraries that it needs may lie. */
const LIBRARIES = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
const DRIVER = "libvulkan_lvp.so";
const LOADER = "libvulkan.so.1";
/**
 * Libraries that must be those of the machine: the C library, with which every program there is
 * linked.
 */
const OF_THE_MACHINE = /^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv)\.so\.\d+)$/;

/** Copies Mesa's driver for the processor, Vulkan's loader, and the libraries that both need. */
async function copyDriver(to: string, signal: AbortSignal): Promise<void> {
  for (const name of [DRIVER, LOADER]) {
    const path = LIBRARIES.map((folder) => `${folder}/${name}`).find((path) => existsSync(path));
    const fact = `it is not in ${LIBRARIES.join(", ")}`;
    ensure(path, `Cannot bundle a driver as ${name} must be on this machine: ${fact}`, {
      remedy: "run apt-get install mesa-vulkan-drivers libvulkan1",
    });
    await copy(path, `${to}/${name}`, signal);
    const ldd = start("ldd", { args: [path], signal, stdout: "piped", env: NO_LIBRARIES });
    for (const [, needed, at] of (await ldd.stdout.text()).matchAll(/^\s*(\S+) => (\/\S+)/gm)) {
      if (!OF_THE_MACHINE.test(needed)) await copy(at, `${to}/${needed}`, signal);
    }
    await ended("ldd", ldd);
  }
  const icd = {
    file_format_version: "1.0.0",
    ICD: { library_path: `./${DRIVER}`, api_version: "1.3.0" },
  };
  await Deno.writeTextFile(`${to}/lvp_icd.json`, jsonText(icd));
}

/** Writes `SHA256SUMS`, as `sha256sum --check` reads it, and counts the files and their bytes. */
async function writeSums(root: string): Promise<{ files: number; bytes: number }> {
  const files = await Array.fromAsync(filesUnder(root, ""));
  let [lines, bytes] = ["", 0];
  for (const file of files.sort()) {
    const record = await hashFile(`${root}/${file}`);
    lines += `${record.sha256}  ${file}\n`;
    bytes += record.bytes;
  }
  await Deno.writeTextFile(`${root}/SHA256SUMS`, lines);
  return { files: files.length, bytes };
}

const STANDARD = "smalltalk-linux-x64.tar.xz";

export const TASK = await defineTask({
  name: "bundle",
  startsAnew: true,
  options: {
    output: field.path(
      { value: "FILE" },
      `archive to write, .tar.xz, .tar.gz or .tar; else ${STANDARD}`,
    ),
    with: field.custom(
      parseExtras,
      { default: [], value: "NAME,…" },
      `what to add: ${
        EXTRAS.join(", ")
      }; the driver is Mesa's for the processor, where there is none`,
    ),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const wanted = options.output ?? fromHere(STANDARD);
    const bundle = await makeBundle({ output: wanted, extras: options.with, signal, onEvent });
    const { output, bytes, sha256, files, tasks } = bundle;
    print(
      bundle,
      `${output}: ${decimalBytes(bytes)}, ${countText(files)} files, SHA-256 ${sha256}\n` +
        `unpack it and call ./run TASK, TASK being one of ${tasks.join(" ")}`,
    );
  },
}, import.meta);
