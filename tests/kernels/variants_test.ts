import { assertEquals } from "@std/assert";
import { openGpu } from "../../kernels/gpu.ts";
import { chooseVariants, VARIANTS, type Variants } from "../../kernels/variants.ts";
import { gpu } from "./support.ts";

Deno.test("chooseVariants() looks up the table and takes what it is told, but falls back without subgroups of 8", () => {
  const general: Variants = { matmul: "registers", attention: "query" };
  const fast: Variants = { matmul: "subgroup", attention: "subgroup" };
  for (const kind of ["software", "gpu"] as const) {
    assertEquals(chooseVariants(kind, true), VARIANTS[kind]);
    assertEquals(chooseVariants(kind, true, general), general);
    assertEquals(chooseVariants(kind, true, fast), fast);
    assertEquals(chooseVariants(kind, false, fast), general);
  }
  assertEquals(VARIANTS.gpu, general);
});

Deno.test("openGpu() takes the forms of kernels that it is told to", async () => {
  const own = await openGpu({ variants: { matmul: "registers" } });
  assertEquals(own.variants, { ...gpu.variants, matmul: "registers" });
  own.close();
});
