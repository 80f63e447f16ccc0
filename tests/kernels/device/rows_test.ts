import { assert, assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { rowPlan } from "../../../kernels/device/rows.ts";

/** Plans rows on a device that runs this form. */
function planOf(form: Gpu["variants"]["rows"], rows: number, columns: number) {
  const gpu = { variants: { rows: form } } as Gpu;
  return rowPlan(gpu, { rows, columns }, "a row per invocation", "a row per workgroup");
}

Deno.test("rowPlan() has an invocation for every row, and less than a workgroup too many", () => {
  for (const form of ["invocation", "subgroup"] as const) {
    for (const rows of [1, 15, 16, 17, 1000]) {
      const { code, constants, workgroups } = planOf(form, rows, 96);
      assertEquals(code, "a row per invocation");
      const invocations = workgroups * constants!.WG;
      assert(invocations >= rows && invocations - rows < constants!.WG, `${rows} rows`);
    }
  }
});

Deno.test("rowPlan() has a workgroup for every row, of a power of two of lanes that the adapter has", () => {
  for (const columns of [1, 96, 128, 129, 256, 1000, 1024, 100_000]) {
    const { code, constants, workgroups } = planOf("workgroup", 7, columns);
    assertEquals([code, workgroups], ["a row per workgroup", 7]);
    const lanes = constants!.WG;
    assert(lanes >= 32 && lanes <= 256, `${lanes} lanes`);
    assertEquals(Math.log2(lanes) % 1, 0);
    const vectors = Math.ceil(columns / 4);
    assert(lanes >= Math.min(256, vectors), `${columns} columns: a vec4 for every lane where that can be`);
    assert(lanes === 32 || lanes < 2 * vectors, `${columns} columns: less than half of the lanes idle`);
  }
});
