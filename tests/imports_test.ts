import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { ROOT } from "./tasks/support.ts";

/** The folders and files of `pipeline/`, from the lowest: each imports those before it alone. */
const ORDER = [
  "std",
  "random.ts",
  "settings",
  "run",
  "rows",
  "text",
  "model",
  "checkpoints",
  "training",
  "partition",
  "serving",
  "evaluation",
  "cost",
  "stages",
  "report",
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
  const found = [...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom "(\.[^"]+\.ts)"/gm)];
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

Deno.test("no file imports one of a layer above it, and tasks import mod.ts alone", () => {
  assertEquals(FILES.filter((file) => layerOf(file) === 0 && !file.startsWith("kernels/")), []);
  const upward = FILES.flatMap((file) =>
    IMPORTS.get(file)!.filter((path) =>
      layerOf(path) > layerOf(file) ||
      file.startsWith("tasks/") && !path.startsWith("tasks/") && path !== "mod.ts"
    ).map((path) => `${file} imports ${path}`)
  );
  assertEquals(upward, []);
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
