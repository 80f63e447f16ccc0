import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { readDriver } from "../../../pipeline/graph/driver.ts";
import {
  makeAll,
  type Node,
  oneByOne,
  readManifest,
  Walk,
  type Work,
} from "../../../pipeline/graph/mod.ts";
import { writeManifest } from "../../../pipeline/graph/node.ts";
import { inFolder } from "../../tasks/support.ts";

const CARD = { adapter: "NVIDIA H100 80GB HBM3", kind: "gpu" } as const;
const LAVAPIPE = { adapter: "llvmpipe (LLVM 19.1.7, 256 bits)", kind: "software" } as const;

Deno.test("readDriver() takes NVIDIA's version from its library's name, and Mesa's from its package", () =>
  inFolder(async (root) => {
    assertEquals([await readDriver(CARD, root), await readDriver(LAVAPIPE, root)], [
      undefined,
      undefined,
    ]);
    await Deno.mkdir(`${root}/usr/lib64`, { recursive: true });
    await Deno.mkdir(`${root}/var/lib/dpkg`, { recursive: true });
    for (const version of ["0", "570.124.06"]) {
      await Deno.writeTextFile(`${root}/usr/lib64/libGLX_nvidia.so.${version}`, "");
    }
    const status = "Package: mesa-vulkan-drivers\nStatus: ok\nVersion: 25.0.7-2\n\n";
    await Deno.writeTextFile(`${root}/var/lib/dpkg/status`, status);
    assertEquals([await readDriver(CARD, root), await readDriver(LAVAPIPE, root)], [
      "NVIDIA 570.124.06",
      "Mesa 25.0.7-2",
    ]);
  }));

/** Three nodes of which each needs the one before, and computes on a device. */
const maker = oneByOne("toys", async (making, work) => {
  await work.gpu();
  await making.write("value.txt", making.node.name);
  return {};
});
const GRAPH = ["first", "second", "third"].map((name, i, names): Node => ({
  maker,
  name,
  needs: names.slice(Math.max(0, i - 1), i),
  settings: {},
  revision: 1,
}));

Deno.test("manifests note the driver's version, and a machine of another version is warned once", () =>
  inFolder(async (run) => {
    const events: { type: string; message?: unknown }[] = [];
    const work: Work = {
      run,
      gpu: () => Promise.resolve(LAVAPIPE as unknown as Gpu),
      workers: 1,
      emit: (event) => void events.push(event),
    };
    const make = (name: string) =>
      makeAll(work, new Walk(run, GRAPH), { task: "test", wanted: (node) => node.name === name });
    const driver = await readDriver(LAVAPIPE);
    await make("second");
    const warnings = () => events.filter(({ type }) => type === "warning");
    assertEquals(warnings(), []);
    const made = (await readManifest(`${run}/second`))!;
    assertEquals([made.made.adapter, made.made.driver], [LAVAPIPE.adapter, driver]);
    await writeManifest(`${run}/first`, (await readManifest(`${run}/first`))!, {
      ...LAVAPIPE,
      driver: "Mesa 1.2.3",
    });
    await Deno.remove(`${run}/second`, { recursive: true });
    await make("third");
    assertEquals(warnings().length, 1);
    assertStringIncludes(String(warnings()[0].message), `"second" is made with ${driver}`);
    assertStringIncludes(String(warnings()[0].message), "Mesa 1.2.3");
  }));
