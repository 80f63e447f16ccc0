import { assertEquals } from "@std/assert";
import { keepMeasured, measuredDevices } from "../../../pipeline/run/measured.ts";
import { withCache } from "./measured_support.ts";

const FIGURES = { gflops: 60e3, gbytes: 2e3, utilisation: 0.4, at: "2026-01-01T00:00:00.000Z" };

Deno.test("keepMeasured() keeps the figures of each device, and a damaged file holds none", () =>
  withCache(async (folder) => {
    assertEquals(await measuredDevices(), {});
    const path = await keepMeasured("one", FIGURES);
    assertEquals(path, `${folder}/devices.json`);
    await keepMeasured("two", { ...FIGURES, gflopsF16: 120e3 });
    await keepMeasured("one", { ...FIGURES, gflops: 50e3 });
    assertEquals(await measuredDevices(), {
      one: { ...FIGURES, gflops: 50e3 },
      two: { ...FIGURES, gflopsF16: 120e3 },
    });
    for (const text of ["{", '{"one": {"gflops": -1}}', '{"one": 3}']) {
      await Deno.writeTextFile(path!, text);
      assertEquals(await measuredDevices(), {});
    }
    await keepMeasured("one", FIGURES);
    assertEquals(await measuredDevices(), { one: FIGURES });
  }));

Deno.test("keepMeasured() gives no file where the cache folder cannot be written", () =>
  withCache(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    Deno.env.set("SMALLTALK_CACHE", `${folder}/file/cache`);
    assertEquals(await keepMeasured("one", FIGURES), undefined);
    assertEquals(await measuredDevices(), {});
  }));
