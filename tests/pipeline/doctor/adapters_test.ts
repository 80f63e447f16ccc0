import { assertEquals } from "@std/assert";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { otherAdapters } from "../../../pipeline/doctor/adapters.ts";
import { readSystem } from "../../../pipeline/doctor/system.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("otherAdapters() finds by one of the drivers the adapter that is handed out, and none by a file that is not there", async () => {
  const gpu = await openGpu();
  const { drivers } = await readSystem();
  const found = await otherAdapters([...drivers.map(({ path }) => path), "/none.json"]);
  assertEquals(found!.slice(0, drivers.length).some(({ adapter }) => adapter === gpu.adapter), true);
  assertEquals(found!.at(-2), { by: "/none.json", adapter: null });
  assertEquals(found!.at(-1)!.by, "OpenGL");
  gpu.close();
});

Deno.test("otherAdapters() asks also where the environment names libraries, with which Deno starts no program", async () => {
  const code =
    `import { otherAdapters } from "${new URL("../../../pipeline/doctor/adapters.ts", import.meta.url)}";` +
    " console.log(JSON.stringify(await otherAdapters([])));";
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/ask.ts`, code);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-config", "--allow-read", "--allow-run=deno", `${folder}/ask.ts`],
      env: { LD_LIBRARY_PATH: folder, NO_COLOR: "1" },
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assertEquals(JSON.parse(out || "null")?.map(({ by }: { by: string }) => by), ["OpenGL"], err);
  });
});
