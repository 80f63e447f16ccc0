import { assert, assertEquals } from "@std/assert";
import { hashes, inFolder, ROOT } from "./support.ts";
import { USAGE } from "./usage.ts";
import { makePlaces, usage } from "./usage_support.ts";

const FEWEST = 10;

Deno.test("every task refuses wrong usage as the table says, and touches nothing", () =>
  inFolder(async (folder) => {
    const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    const names = Object.keys(tasks).filter((name) => tasks[name].command.includes(` tasks/${name}.ts`));
    assertEquals(Object.keys(USAGE).sort(), names.sort());
    await makePlaces(folder);
    const before = await hashes(folder);
    const wrong: unknown[] = [];
    for (const [name, rows] of Object.entries(USAGE)) {
      assert(rows.length >= FEWEST, name);
      for (const [args, code, message] of rows) {
        const told = await usage(name, args, folder);
        const isTold = told.code === code && told.text.startsWith(`error: ${message}`) &&
          !told.text.includes("\n");
        if (!isTold) wrong.push({ task: `${name} ${args}`, told, expected: { code, message } });
      }
    }
    assertEquals(wrong, []);
    assertEquals(await hashes(folder), before);
  }));
