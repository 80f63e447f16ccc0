import { assertEquals } from "@std/assert";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { otherAdapters } from "../../../pipeline/doctor/adapters.ts";
import { readSystem } from "../../../pipeline/doctor/system.ts";

Deno.test("otherAdapters() finds by one of the drivers the adapter that is handed out, and none by a file that is not there", async () => {
  const gpu = await openGpu();
  const { drivers } = await readSystem();
  const found = await otherAdapters([...drivers.map(({ path }) => path), "/none.json"]);
  assertEquals(found!.slice(0, drivers.length).some(({ adapter }) => adapter === gpu.adapter), true);
  assertEquals(found!.at(-2), { by: "/none.json", adapter: null });
  assertEquals(found!.at(-1)!.by, "OpenGL");
  gpu.close();
});
