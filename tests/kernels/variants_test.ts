import { assertEquals } from "@std/assert";
import { openGpu } from "../../kernels/gpu.ts";
import { chooseVariants, VARIANTS } from "../../kernels/variants.ts";
import { gpu } from "./support.ts";

Deno.test("chooseVariants() looks up the table, and falls back where subgroups are not of 8", () => {
  for (const kind of ["software", "gpu"] as const) {
    assertEquals(chooseVariants(kind, true), VARIANTS[kind]);
    assertEquals(chooseVariants(kind, false), { ...VARIANTS[kind], matmul: "registers" });
    assertEquals(chooseVariants(kind, true, { matmul: "registers" }).matmul, "registers");
    assertEquals(chooseVariants(kind, true, { matmul: "subgroup" }).matmul, "subgroup");
    assertEquals(chooseVariants(kind, false, { matmul: "subgroup" }).matmul, "registers");
  }
});

Deno.test("openGpu() takes the forms of kernels that it is told to", async () => {
  const own = await openGpu({ variants: { matmul: "registers" } });
  assertEquals(own.variants, { ...gpu.variants, matmul: "registers" });
  own.close();
});
