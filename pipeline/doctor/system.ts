/**
 * Looks at what a Linux system shows of Vulkan and graphics cards, without opening a device. WebGPU
 * lists no adapters apart from the one that is handed out, so a process of its own asks each driver
 * for its adapter.
 */

import { dirname, isAbsolute, join } from "node:path";
import { LIBRARY_FOLDERS, mesaVersion } from "../graph/driver.ts";
import { exists } from "../graph/files.ts";

/**
 * A file that names a Vulkan driver to the loader (an ICD manifest), what it names, and what is
 * wrong with it.
 */
export type DriverFile = { path: string } & Partial<Record<"library" | "api" | "problem", string>>;

/** What is wrong with a driver's file that is not there. */
export const NO_FILE = "there is no such file";

/** What a system shows. */
export interface System {
  /** Device files of graphics cards: `/dev/nvidia0`, `/dev/dri/renderD128`. */
  cards: string[];
  /** NVIDIA's kernel driver, where it is loaded. */
  nvidia?: string;
  /** Version of Mesa's packages, on a Debian-like system. */
  mesa?: string;
  /** Path of Vulkan's loader; undefined where there is none. */
  loader?: string;
  /** The files that name drivers. */
  drivers: DriverFile[];
  /** The kind of container that this is; undefined where it is none. */
  container?: "Apptainer" | "Docker" | "Podman";
  /** The variables that choose drivers, where they are set. */
  environment: Record<string, string>;
  /** Bytes of the machine's memory that can be had. */
  availableBytes?: number;
}

/** Where things are; tests use other places. */
export interface SystemPlaces {
  /** Root of all paths. */
  root?: string;
  /** Reads a variable of the environment. */
  variable?: (name: string) => string | undefined;
}

/**
 * Kinds of containers, with what tells them. An image of Docker that Apptainer runs still has
 * Docker's file.
 */
const CONTAINERS = {
  "/.singularity.d": "Apptainer",
  "/.dockerenv": "Docker",
  "/run/.containerenv": "Podman",
} as const;

/** Variables that choose an adapter. */
const VARIABLES = [
  ...["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"],
  ...["DENO_WEBGPU_BACKEND", "NVIDIA_DRIVER_CAPABILITIES", "LD_LIBRARY_PATH"],
];

const DRIVER_FOLDERS = ["/etc", "/usr/local/share", "/usr/share"].map((folder) =>
  `${folder}/vulkan/icd.d`
);

/**
 * Lists the graphics cards that a system shows as device files; none where that cannot be found
 * out. Deno lets a program look into `/dev` only with all permissions, so `ls` does it.
 */
export async function listCards({ root = "" }: SystemPlaces = {}): Promise<string[]> {
  const matches = async (folder: string, name: RegExp) =>
    (await printedBy("ls", [root + folder]) ?? "").split("\n")
      .flatMap((entry) => name.test(entry) ? [`${folder}/${entry}`] : []);
  return [...await matches("/dev", /^nvidia\d+$/), ...await matches("/dev/dri", /^renderD\d+$/)];
}

/**
 * The environment of programs that a task may run by their names. The process's own may name
 * libraries to load into them, as on clusters and in images for GPUs. Deno refuses to run them
 * then, so these variables are left out.
 */
export const NO_LIBRARIES = { LD_LIBRARY_PATH: "", LD_PRELOAD: "" };

/**
 * Runs a program and gives what it prints, and what it writes as errors; undefined where it is
 * missing or may not be run.
 */
async function outputOf(program: string, args: string[], env = {}) {
  try {
    // No configuration lies there.
    const options = { args, cwd: "/", stdin: "null" } as const;
    const command = new Deno.Command(program, { ...options, env: { ...NO_LIBRARIES, ...env } });
    const { stdout, stderr } = await command.output();
    const [printed, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { printed, errors };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) {
      return undefined;
    }
    throw error;
  }
}

/** Runs a program and gives what it prints; undefined where it is missing or may not be run. */
async function printedBy(program: string, args: string[]): Promise<string | undefined> {
  return (await outputOf(program, args))?.printed;
}

/** Looks at a system. */
export async function readSystem(places: SystemPlaces = {}): Promise<System> {
  const { root = "", variable = (name: string) => Deno.env.get(name) } = places;
  const set = VARIABLES.map((name) => [name, variable(name)]).filter(([, value]) => value);
  const environment: Record<string, string> = Object.fromEntries(set);
  const folders = [
    ...(environment.LD_LIBRARY_PATH ?? "").split(":").filter(Boolean),
    ...LIBRARY_FOLDERS,
  ];
  const named = environment.VK_DRIVER_FILES ?? environment.VK_ICD_FILENAMES;
  const files = named?.split(":").filter(Boolean) ??
    (await Promise.all(DRIVER_FOLDERS.map((folder) => filesIn(folder, root)))).flat();
  const printed = async (path: string) => await printedBy("cat", [root + path]) ?? "";
  const version = /Kernel Module\s+(?:for \S+\s+)?(\d[\d.]*)/.exec(
    await printed("/proc/driver/nvidia/version"),
  );
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(await printed("/proc/meminfo"));
  const container = Object.entries(CONTAINERS).map(async ([path, kind]) =>
    await exists(root + path) ? [kind] : []
  );
  return {
    cards: await listCards(places),
    nvidia: version?.[1],
    mesa: await mesaVersion(root),
    loader: await libraryAt("libvulkan.so.1", folders, root),
    drivers: await Promise.all(files.map((path) => readDriverFile(path, folders, root))),
    container: (await Promise.all(container)).flat()[0],
    environment,
    availableBytes: available ? Number(available[1]) * 1024 : undefined,
  };
}

/** Reads a driver's file and looks whether its library is there. */
async function readDriverFile(path: string, folders: string[], root: string): Promise<DriverFile> {
  let text: string;
  try {
    text = await Deno.readTextFile(`${root}${path}`);
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound;
    return { path, problem: isMissing ? NO_FILE : "it cannot be read" };
  }
  let library: unknown;
  let api: unknown;
  try {
    ({ library_path: library, api_version: api } = JSON.parse(text).ICD);
  } catch {
    return { path, problem: "it is no JSON object with an ICD in it" };
  }
  if (typeof library !== "string") return { path, problem: "it names no library_path" };
  const at = library.includes("/") && !isAbsolute(library) ? join(dirname(path), library) : library;
  const libraryPath = await libraryAt(at, folders, root);
  const problem = libraryPath === undefined ? `its library ${at} is not there` : undefined;
  return {
    path,
    library: libraryPath ?? at,
    api: typeof api === "string" ? api : undefined,
    problem,
  };
}

/**
 * Finds a library as the dynamic linker does: a path stands for itself, a name is looked for in
 * folders.
 */
async function libraryAt(
  name: string,
  folders: string[],
  root: string,
): Promise<string | undefined> {
  const candidates = name.includes("/") ? [name] : folders.map((folder) => `${folder}/${name}`);
  for (const path of candidates) {
    if (await exists(`${root}${path}`)) return path;
  }
}

/** Lists the files of drivers in a folder. */
async function filesIn(folder: string, root: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(root + folder)).catch(() => []);
  return entries.map(({ name }) => `${folder}/${name}`).filter((path) => path.endsWith(".json"))
    .sort();
}

/** What one driver, or one backend, hands out. */
export interface FoundAdapter {
  /** The driver's file, or `OpenGL`. */
  by: string;
  /** Description of the adapter; null where none is handed out. */
  adapter: string | null;
  /** What Vulkan's loader says where none is, its first error. */
  words?: string;
}

const PROBE = "const adapter = await navigator.gpu?.requestAdapter();" +
  " console.log(JSON.stringify(adapter ? adapter.info.description || adapter.info.vendor : null));";

/**
 * Asks each driver alone, and OpenGL, for an adapter. Returns undefined where no process may be
 * started.
 */
export async function otherAdapters(
  drivers: readonly string[],
): Promise<FoundAdapter[] | undefined> {
  const adapters: FoundAdapter[] = [];
  for (const by of [...drivers, "OpenGL"]) {
    const output = await outputOf("deno", ["eval", PROBE], {
      DENO_NO_UPDATE_CHECK: "1",
      NO_COLOR: "1",
      VK_LOADER_DEBUG: "error",
      ...by === "OpenGL"
        ? { DENO_WEBGPU_BACKEND: "gl" }
        : { DENO_WEBGPU_BACKEND: "vulkan", VK_DRIVER_FILES: by, VK_ICD_FILENAMES: by },
    });
    if (output === undefined) return undefined;
    const adapter = JSON.parse(output.printed.trim() || "null");
    const [, words] = /^(?:\[Vulkan Loader\] )?ERROR[^:]*:\s*(.+)$/m.exec(output.errors) ?? [];
    adapters.push({ by, adapter, ...adapter === null && words !== undefined && { words } });
  }
  return adapters;
}
