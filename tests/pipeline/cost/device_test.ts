import { assertEquals } from "@std/assert";
import { ASSUMED_GPU, PLAIN_DEVICE } from "../../../pipeline/cost/cost.ts";
import { usualDevice, usualGpu } from "../../../pipeline/cost/device.ts";
import { keepMeasured } from "../../../pipeline/run/timing.ts";
import { withCache } from "../run/measured_support.ts";

Deno.test("usualDevice() is the one that was asked for, or the last, of those that were measured, or two cores", () =>
  withCache(async () => {
    assertEquals(await usualDevice(), PLAIN_DEVICE);
    assertEquals(await usualDevice("card"), PLAIN_DEVICE);
    const figures = { gbytes: 10, utilisation: 0.25 };
    await keepMeasured("card", { ...figures, gflops: 50e3, at: "2026-02-01T00:00:00.000Z" });
    await keepMeasured("processor", { ...figures, gflops: 50, at: "2026-01-01T00:00:00.000Z" });
    const card = { name: "card", flops: 50e12, utilisation: 0.25 };
    assertEquals(await usualDevice(), card);
    assertEquals(await usualDevice("another"), card);
    assertEquals(await usualDevice("processor"), { name: "processor", flops: 50e9, utilisation: 0.25 });
  }));

Deno.test("usualGpu() is the GPU that was measured last, or an assumed one, but no processor", () =>
  withCache(async () => {
    assertEquals(await usualGpu(), ASSUMED_GPU);
    const figures = { gbytes: 10, utilisation: 0.25 };
    await keepMeasured("processor", { ...figures, gflops: 50, at: "2026-01-01T00:00:00.000Z" });
    assertEquals(await usualGpu(), ASSUMED_GPU);
    await keepMeasured("card", { ...figures, gflops: 50e3, at: "2026-02-01T00:00:00.000Z" });
    assertEquals(await usualGpu(), { name: "card", flops: 50e12, utilisation: 0.25 });
  }));
