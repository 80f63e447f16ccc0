import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { ROOT } from "./tasks/support.ts";

/** The folders and files of `pipeline/`, from the lowest: each imports those before it alone. */
const ORDER = [
  "std",
  "random.ts",
  "settings",
  "run",
  "graph",
  "rows",
  "text",
  "model",
  "checkpoints",
  "training",
  "partition",
  "serving",
  "evaluation",
  "cost",
  "doctor",
  "stages",
  "report",
  "comparison",
  "reproduction",
];

/** Lists the TypeScript files under a folder, by their paths in the project. */
function sources(folder: string): string[] {
  return Array.from(Deno.readDirSync(`${ROOT}${folder}`)).flatMap(({ name, isDirectory }) =>
    isDirectory ? sources(`${folder}/${name}`) : name.endsWith(".ts") ? [`${folder}/${name}`] : []
  );
}

/** Lists the files of the project that a file imports or exports from, types included. */
function importsOf(file: string): string[] {
  const text = Deno.readTextFileSync(`${ROOT}${file}`).replace(/\/\*[\s\S]*?\*\//g, "");
  const found = [
    ...text.matchAll(/(?:^(?:import|export)\b[^;]*?\bfrom |^import |\bimport\()"(\.[^"]+\.ts)"/gm),
  ];
  return found.map(([, path]) => relative(ROOT, join(ROOT, dirname(file), path)));
}

const FILES = [...sources("kernels"), ...sources("pipeline"), "mod.ts", ...sources("tasks")];
const IMPORTS = new Map(FILES.map((file) => [file, importsOf(file)]));

/** Gives the place of a file in the order of layers: kernels, the folders of pipeline, mod.ts, tasks. */
function layerOf(file: string): number {
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
  assertEquals(FILES.filter((file) => layerOf(file) === 0 && !file.startsWith("kernels/")), []);
  assertEquals(refused((file, path) => layerOf(path) > layerOf(file)), []);
});

Deno.test("tasks import tasks and entries; an entry gives what its own folder holds, and nothing below imports it", () => {
  assertEquals(ENTRIES.filter((entry) => !FILES.includes(entry)), []);
  const folderOf = (entry: string) => entry.slice(0, -"mod.ts".length);
  const isEntry = (path: string) => ENTRIES.includes(path);
  assertEquals(
    refused((file, path) => {
      if (file.startsWith("tasks/")) {
        return !path.startsWith("tasks/") && (!isEntry(path) || path === "mod.ts");
      }
      if (file === "mod.ts") return !isEntry(path);
      return isEntry(path) || isEntry(file) && !path.startsWith(folderOf(file));
    }),
    [],
  );
});

Deno.test("no file imports itself by a detour", () => {
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, trail: string[]) => {
    if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(" → "));
    if (done.has(file) || trail.includes(file)) return;
    for (const path of IMPORTS.get(file) ?? []) visit(path, [...trail, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  assertEquals(circles, []);
});
