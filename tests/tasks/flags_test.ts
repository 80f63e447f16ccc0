import { assertEquals, assertStringIncludes } from "@std/assert";
import { listFields } from "../../tasks/command.ts";
import { unknownFlag } from "../../tasks/arguments.ts";
import { listPackages } from "../../tasks/bundle.ts";
import { TASK as EXPORT } from "../../tasks/export.ts";
import { flagsTable, TABLE } from "./flags_table.ts";
import { exists } from "../../pipeline/run/files.ts";
import { copyFolder, denoIn, importedBy, inFolder, ROOT } from "./support.ts";

const OWN = Object.values(listFields(EXPORT)).map(({ flag }) => flag);

/** What is said of a word after "--help"'s remedy and the first words are gone. */
async function said(word: string): Promise<string> {
  const { message } = await unknownFlag("export", OWN, word);
  const [, fact] = /^Cannot run task "export" as every flag must be one of its own: (.*); see --help$/.exec(
    message,
  )!;
  return fact;
}

Deno.test("unknownFlag() names a flag only if it is near, and the tasks that have the very flag", async () => {
  assertEquals(await said("--expret"), "--expret is not, the nearest is --expert");
  assertEquals(await said("--prompt=x"), '--prompt is not, but task "generate" takes --prompt');
  assertEquals(await said("--group"), '--group is not, but task "train-routers" takes --group');
  assertEquals(
    await said("--executor"),
    '--executor is not, but task "submit" takes --executor',
  );
  assertEquals(await said("--nothing-like-it"), "--nothing-like-it is not");
  assertEquals(await said("-o"), "-o is not");
});

Deno.test("flags.json has the flags of every task", async () => {
  const table = JSON.parse(await Deno.readTextFile(TABLE));
  assertEquals(table, await flagsTable(), "write it anew with: deno run -A tests/tasks/flags_table.ts");
});

Deno.test("an unknown flag is reported where the packages of this task alone are there", () =>
  inFolder(async (folder) => {
    const { npmCache } = JSON.parse(await denoIn(ROOT, ["info", "--json"]));
    const lock = JSON.parse(await Deno.readTextFile(`${ROOT}deno.lock`));
    for (const named of listPackages(lock, await importedBy("tasks/assign.ts"))) {
      const [, name, version] = /^(.+)@(.+)$/.exec(named)!;
      const [from, to] = [npmCache, `${folder}/npm`].map((cache) => `${cache}/registry.npmjs.org/${name}`);
      await Deno.mkdir(to, { recursive: true });
      copyFolder(`${from}/${version}`, `${to}/${version}`);
      const index = "registry.json"; // `deno install` fetches it only where the lock does not say enough
      if (await exists(`${from}/${index}`)) await Deno.copyFile(`${from}/${index}`, `${to}/${index}`);
    }
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--cached-only", "--allow-read", "tasks/assign.ts", "--prompt", "x"],
      cwd: ROOT,
      env: { DENO_DIR: folder, NO_COLOR: "1" },
    }).output();
    const err = new TextDecoder().decode(stderr);
    assertEquals(code, 2, err);
    assertStringIncludes(err, 'but task "generate" takes --prompt');
  }));
