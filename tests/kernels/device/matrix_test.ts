import { assertEquals, assertThrows } from "@std/assert";
import type { GpuBuffer } from "../../../kernels/device/gpu.ts";
import { padded, placement } from "../../../kernels/device/matrix.ts";

const buffer = (values: number, storage: "f32" | "bf16" = "f32") =>
  ({ label: "weights", bytes: values * (storage === "f32" ? 4 : 2), storage }) as GpuBuffer;

Deno.test("padded() rounds up to whole vec4s", () => {
  assertEquals([0, 1, 4, 5, 8].map(padded), [0, 4, 4, 8, 8]);
});

Deno.test("placement() counts vec4s, and takes matrices that just fit", () => {
  for (const storage of ["f32", "bf16"] as const) {
    // Two models of 3 rows by 5 columns: 8 values before the first, 40 from one to the next.
    const matrix = { buffer: buffer(8 + 40 + 2 * 12 + 8, storage), offset: 8, stride: 12, model: 40 };
    assertEquals(placement("copy", "a", matrix, 3, 5, 2), [2, 3, 10]);
    const short = { ...matrix, buffer: buffer(8 + 40 + 2 * 12 + 7, storage) };
    assertThrows(() => placement("copy", "a", short, 3, 5, 2), RangeError, 'a must lie inside "weights"');
  }
});
