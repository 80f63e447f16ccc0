import { assert, assertEquals } from "@std/assert";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import { task } from "../../tasks/support.ts";
import { compiledText, examine } from "./compiled.ts";

/** What is unrolled so that nothing private leaves the registers. */
const UNROLLED = /^(matmul|attention_(forward|backward_(query|key))$)/;

for (const matmul of ["workgroup", "workgroup_f16"] as const) {
  Deno.test(`the forms for GPUs compile to valid SPIR-V, and what is unrolled stays in registers, with matmul=${matmul}`, async () => {
    const result = await examine({ ...VARIANTS.gpu, matmul }, "navi31");
    assert(result.texts.length > 40, `${result.texts.length}`);
    for (const { label, sizes, invalid, dynamic, statistics } of result.texts) {
      const what = `${label} of ${sizes.join(", ")}`;
      assertEquals(invalid ?? "", "", what);
      if (UNROLLED.test(label)) assertEquals(dynamic, [], what);
      // RADV compiles for a card that is not there; where it is not installed there is nothing to look at.
      for (const name of ["Spilled VGPRs", "Scratch size"]) {
        assertEquals(statistics?.[name] ?? 0, 0, `${what}: ${name}`);
      }
    }
    assert(compiledText(result).includes("attention_forward"));
  });
}

Deno.test("bench:compiled refuses a flag that is not its own, and says what it does", async () => {
  const { code, err } = await task("bench:compiled", ["--of"]);
  assertEquals(code, 2);
  assert(err.includes("--of must be one of its flags"), err);
  assert((await task("bench:compiled", ["--help"])).out.startsWith("Usage: deno task bench:compiled"));
});
