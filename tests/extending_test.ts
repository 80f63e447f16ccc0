import { assertEquals } from "@std/assert";
import { ASSIGNMENTS, PARTITIONERS, STAGES } from "../mod.ts";
import { SUBLAYERS } from "../pipeline/model/sublayers/layer.ts";
import { ROOT } from "./tasks/support.ts";

Deno.test("the examples of how to add something type-check, run, and put it into the tables", async () => {
  const text = await Deno.readTextFile(`${ROOT}pipeline/EXTENDING.md`);
  const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  assertEquals(examples.length, 4);
  const tables = [STAGES, PARTITIONERS, ASSIGNMENTS, SUBLAYERS] as Map<string, unknown>[];
  const before = tables.map((table) => [...table.keys()]);
  // They stand as if they lay in pipeline/, whose files other tests list meanwhile.
  const placed = examples.map((code) => code.replaceAll(' from "./', ' from "../pipeline/'));
  const folder = await Deno.makeTempDir({ dir: ROOT, prefix: ".extending-" });
  const paths = examples.map((_, i) => `${folder}/example_${i}.ts`);
  try {
    for (const [i, path] of paths.entries()) await Deno.writeTextFile(path, placed[i]);
    const check = new Deno.Command(Deno.execPath(), { args: ["check", "-q", ...paths], cwd: ROOT });
    const { code, stderr } = await check.output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    for (const path of paths) await import(`file://${path}`);
    const added = tables.map((table, i) => [...table.keys()].filter((name) => !before[i].includes(name)));
    assertEquals(added, [["count"], ["first"], ["turn"], ["second mlp"]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
    tables.forEach((table, i) => {
      for (const name of table.keys()) if (!before[i].includes(name)) table.delete(name);
    });
  }
});
