import { assert, assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { ROOT } from "./tasks/support.ts";

/** The folders and files of `pipeline/`, from the lowest: each imports those before it alone. */
const ORDER = [
  ...[
    "random.ts",
    "settings",
    "graph",
    "rows",
    "text",
    "model",
    "training",
    "partition",
    "serving",
    "web",
  ],
  ...["evaluation", "cost", "doctor", "stages", "run", "report", "reproduction"],
];

/** Lists the TypeScript files under a folder, by their paths in the project. */
function sources(folder: string): string[] {
  return Array.from(Deno.readDirSync(`${ROOT}${folder}`)).flatMap(({ name, isDirectory }) =>
    isDirectory ? sources(`${folder}/${name}`) : name.endsWith(".ts") ? [`${folder}/${name}`] : []
  );
}

/**
 * What a file imports or exports from as it is loaded, types included; and what it loads when it
 * needs that.
 */
const [AT_ONCE, LATER] = [
  /(?:^(?:import|export)\b[^;]*?\bfrom |^import )"(\.[^"]+\.ts)"/gm,
  /\bimport\("(\.[^"]+\.ts)"/g,
];

/** Lists the files of the project that a file names so. */
function listImports(file: string, pattern: RegExp): string[] {
  const text = Deno.readTextFileSync(`${ROOT}${file}`).replace(/\/\*[\s\S]*?\*\//g, "");
  return [...text.matchAll(pattern)].map(([, path]) =>
    relative(ROOT, join(ROOT, dirname(file), path))
  );
}

const FILES = [...sources("kernels"), ...sources("pipeline"), "mod.ts", ...sources("tasks")];
const LOADED = new Map(FILES.map((file) => [file, listImports(file, AT_ONCE)]));
const IMPORTS = new Map(
  FILES.map((file) => [file, [...LOADED.get(file)!, ...listImports(file, LATER)]]),
);

/**
 * Gives the place of a file in the order of layers: kernels, the folders of pipeline, mod.ts,
 * tasks.
 */
function findLayer(file: string): number {
  const [top, next] = file.split("/");
  if (top === "kernels") return 0;
  if (top === "mod.ts") return ORDER.length + 1;
  if (top === "tasks") return ORDER.length + 2;
  return 1 + ORDER.indexOf(next);
}

/** The files that `deno.json` exports: mod.ts, and one per folder. */
const { exports } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
const ENTRIES = Object.values<string>(exports).map((path) => path.replace("./", ""));

/** Lists the imports, "file imports path", that a rule refuses. */
function refused(rule: (file: string, path: string) => boolean): string[] {
  return FILES.flatMap((file) =>
    IMPORTS.get(file)!.filter((path) => rule(file, path)).map((path) => `${file} imports ${path}`)
  );
}

Deno.test("no file imports one of a layer above it", () => {
  assertEquals(
    FILES.filter((file) => findLayer(file) === 0 && !file.startsWith("kernels/")),
    [],
  );
  assertEquals(refused((file, path) => findLayer(path) > findLayer(file)), []);
});

/**
 * The files whose names an entry gives: tasks may import these alone, to load less than the folder.
 */
const GIVEN = new Set(
  ENTRIES.flatMap((entry) => entry === "mod.ts" ? [] : LOADED.get(entry) ?? []),
);

Deno.test("tasks import tasks, entries and what these give; an entry gives what its own folder holds, and nothing below imports it", () => {
  assertEquals(ENTRIES.filter((entry) => !FILES.includes(entry)), []);
  const folderOf = (entry: string) => entry.slice(0, -"mod.ts".length);
  const isEntry = (path: string) => ENTRIES.includes(path);
  assertEquals(
    refused((file, path) => {
      if (file.startsWith("tasks/")) {
        return !path.startsWith("tasks/") && !GIVEN.has(path) &&
          (!isEntry(path) || path === "mod.ts");
      }
      if (file === "mod.ts") return !isEntry(path);
      return isEntry(path) || isEntry(file) && !path.startsWith(folderOf(file));
    }),
    [],
  );
});

/** Lists the ways by which files import themselves, types included. */
function findCircles(files: readonly string[], imports: ReadonlyMap<string, string[]>): string[] {
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, trail: string[]) => {
    if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(" → "));
    if (done.has(file) || trail.includes(file)) return;
    for (const path of imports.get(file) ?? []) visit(path, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  return circles;
}

Deno.test("no file imports itself by a detour as it is loaded", () =>
  assertEquals(findCircles(FILES, LOADED), []));

Deno.test("no file of the graph, the stages or what is done with a run imports itself, also later", () => {
  const isChecked = (circle: string) => /^pipeline\/(graph|stages|run)\//.test(circle);
  assertEquals(findCircles(FILES, IMPORTS).filter(isChecked), []);
});

Deno.test("the main task loads what it runs: not kernels, models, training, evaluation or serving before they are needed", () => {
  const chains = new Map<string, number>();
  const chainOf = (file: string): number => {
    if (!chains.has(file)) {
      const code = listImports(
        file,
        /(?:^(?:import|export) (?!type )[^;]*?\bfrom |^import )"(\.[^"]+\.ts)"/gm,
      );
      chains.set(file, 1 + Math.max(0, ...code.map(chainOf)));
    }
    return chains.get(file)!;
  };
  const longest = chainOf("tasks/partition.ts");
  assert(chains.size <= 170 && longest <= 25, `${chains.size} files, ${longest} in a chain`);
  const early = [...chains.keys()].filter((file) =>
    /^pipeline\/(training|evaluation|serving|cost|doctor)\//.test(file)
  );
  assertEquals(early, []);
});
