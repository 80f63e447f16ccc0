// The published configuration has no lock file: the main job must work without one.

import { assertEquals } from "@std/assert";
import { commandOf, denoIn, inFolder, ROOT, SMALL } from "./tasks/support.ts";

/** Writes the project's configuration without its lock into a folder, and gives its path. */
async function withoutLock(folder: string): Promise<string> {
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const imports = Object.entries<string>(config.imports).map((
    [name, target],
  ) => [name, target.startsWith("./") ? new URL(target, `file://${ROOT}`).href : target]);
  const { compilerOptions, permissions } = config;
  const path = `${folder}/deno.json`;
  const text = JSON.stringify({
    imports: Object.fromEntries(imports),
    lock: false,
    compilerOptions,
    permissions,
  });
  await Deno.writeTextFile(path, text);
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
