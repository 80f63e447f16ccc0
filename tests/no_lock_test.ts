// The published configuration has no lock file: the main job must work without one.

import { assertEquals } from "@std/assert";
import { commandOf, denoIn, inFolder, ROOT, SMALL } from "./tasks/support.ts";

/** Writes the project's configuration without its lock into a folder, and gives its path. */
async function withoutLock(folder: string): Promise<string> {
  const { imports, compilerOptions, permissions } = JSON.parse(
    await Deno.readTextFile(`${ROOT}deno.json`),
  );
  for (const [name, target] of Object.entries<string>(imports)) {
    if (target.startsWith("./")) imports[name] = new URL(target, `file://${ROOT}`).href;
  }
  const path = `${folder}/deno.json`;
  await Deno.writeTextFile(
    path,
    JSON.stringify({ imports, lock: false, compilerOptions, permissions }),
  );
  return path;
}

Deno.test("without a lock file the main job runs", () =>
  inFolder(async (folder) => {
    const config = await withoutLock(folder);
    const [, ...words] = commandOf("partition");
    const run = ["--run", `${folder}/run`, "--corpus-characters", "3000", "--json"];
    const small = SMALL.filter((word, i) => ![word, SMALL[i - 1]].includes("--source-field"));
    const out = await denoIn(ROOT, ["run", "--config", config, ...words, ...small, ...run]);
    assertEquals(JSON.parse(out).experts.length, 2);
  }));
