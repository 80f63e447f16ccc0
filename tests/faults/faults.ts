/**
 * Makes Vulkan's driver fail for tests: compiles a layer that stands between Deno and the driver
 * (`layer.c`), and gives the variables by which a process gets it.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";

/** What fails; `layer.c` says what each means. */
export interface Faults {
  wait?: number;
  submit?: number;
  query?: number;
  once?: string;
  largest?: number;
  budget?: number;
  shrink?: number;
  counts?: string;
}

const SOURCE = fileURLToPath(new URL("layer.c", import.meta.url));
const NAME = "VK_LAYER_SMALLTALK_faults";

/** Compiles the layer into a folder. Gives what went wrong, "" where nothing did. */
async function compileLayer(folder: string): Promise<string> {
  const library = `${folder}/layer.so`;
  const args = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE];
  try {
    const { code, stderr } = await new Deno.Command("cc", { args }).output();
    if (code !== 0) return new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "there is no C compiler";
    throw error;
  }
  const layer = {
    name: NAME,
    type: "GLOBAL",
    library_path: library,
    api_version: "1.3.0",
    implementation_version: "1",
    description: "makes the driver fail",
  };
  const manifest = JSON.stringify({ file_format_version: "1.2.0", layer });
  await Deno.writeTextFile(`${folder}/layer.json`, manifest);
  return "";
}

const folder = await Deno.makeTempDir({ prefix: "faults-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const problem = await compileLayer(folder);
const required = Deno.env.get("SMALLTALK_REQUIRE_FAULTS") === "1";

/** Whether tests that need the layer are left out. */
export const IGNORED = problem !== "" && !required;

if (IGNORED) {
  console.log(
    `the tests of a driver that fails are left out (apt-get install gcc libc6-dev libvulkan-dev): ${problem}`,
  );
}

/** Gives the environment of a process whose driver fails so. */
export function withFaults(faults: Faults): Record<string, string> {
  assertEquals(problem, "", "SMALLTALK_REQUIRE_FAULTS is 1, but the layer does not compile");
  const variables = Object.entries(faults).map(([name, value]) =>
    [`FAULT_${name.toUpperCase()}`, String(value)] as const
  );
  return { ...Object.fromEntries(variables), VK_LAYER_PATH: folder, VK_INSTANCE_LAYERS: NAME };
}

/** How often a process did what the layer counts. */
export async function readCounts(
  path: string,
): Promise<Record<"wait" | "submit" | "query", number>> {
  const counts = JSON.parse(await Deno.readTextFile(path));
  assert(counts.submit > 0, "the layer saw no submit");
  return counts;
}
