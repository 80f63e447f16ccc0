import { assertEquals } from "@std/assert";
import { listPackages } from "../../tasks/bundle.ts";
import { flagsTable, TABLE } from "./flags_table.ts";
import { exists } from "../../pipeline/graph/files.ts";
import { copyFolder, denoIn, execute, importedBy, inFolder, refused, ROOT } from "./support.ts";

Deno.test("flags.json has the flags of every task", async () => {
  const table = JSON.parse(await Deno.readTextFile(TABLE));
  assertEquals(
    table,
    await flagsTable(),
    "write it anew with: deno run -A tests/tasks/flags_table.ts",
  );
});

Deno.test("an unknown flag is reported where the packages of this task alone are there", () =>
  inFolder(async (folder) => {
    const { npmCache } = JSON.parse(await denoIn(ROOT, ["info", "--json"]));
    const lock = JSON.parse(await Deno.readTextFile(`${ROOT}deno.lock`));
    for (const named of listPackages(lock, await importedBy("tasks/assign.ts"))) {
      const [, name, version] = /^(.+)@(.+)$/.exec(named)!;
      const [from, to] = [npmCache, `${folder}/npm`].map((cache) =>
        `${cache}/registry.npmjs.org/${name}`
      );
      await Deno.mkdir(to, { recursive: true });
      copyFolder(`${from}/${version}`, `${to}/${version}`);
      const index = "registry.json"; // `deno install` fetches it only where the lock does not say enough
      if (await exists(`${from}/${index}`)) {
        await Deno.copyFile(`${from}/${index}`, `${to}/${index}`);
      }
    }
    const args = ["run", "--cached-only", "--allow-read", "tasks/assign.ts", "--prompt", "x"];
    const outcome = execute(Deno.execPath(), args, { env: { DENO_DIR: folder } });
    await refused(outcome, 'but task "generate" takes --prompt');
  }));
