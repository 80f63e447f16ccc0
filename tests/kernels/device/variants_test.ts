import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  chooseVariants,
  KERNEL_VARIANTS,
  parseVariants,
  variantRevision,
  VARIANTS,
  type Variants,
} from "../../../kernels/device/variants.ts";
import { gpu, runnableVariants } from "../support.ts";

const EVERYTHING = { subgroupsOf8: true, f16: true };
const NOTHING = { subgroupsOf8: false, f16: false };

Deno.test("chooseVariants() looks up the table, takes what it is reported, and falls back without subgroups of 8", () => {
  const reported: Variants = {
    matmul: "workgroup_f16",
    attention: "query",
    rows: "workgroup",
    loss: "workgroup",
  };
  for (const kind of ["software", "gpu"] as const) {
    assertEquals(chooseVariants(kind, EVERYTHING), VARIANTS[kind]);
    assertEquals(chooseVariants(kind, EVERYTHING, reported), reported);
    assertEquals(chooseVariants(kind, NOTHING, { rows: undefined }), {
      ...VARIANTS.gpu,
      ...kind === "software" ? { matmul: "registers", attention: "query", rows: "invocation" } : {},
    });
  }
  const forGpus = {
    matmul: "workgroup",
    attention: "workgroup",
    rows: "workgroup",
    loss: "chunks",
  } as const;
  assertEquals(VARIANTS.gpu, forGpus);
});

Deno.test("chooseVariants() refuses a wish that the adapter cannot run, by name and with what it can", () => {
  const refused = (offers: typeof NOTHING, wish: Partial<Variants>, message: string) =>
    assertThrows(() => chooseVariants("gpu", offers, wish), InputError, message);
  refused(NOTHING, { matmul: "workgroup_f16" }, "must offer shader-f16");
  refused(
    NOTHING,
    { attention: "subgroup" },
    "subgroups of 8: this one does not; others are query, workgroup",
  );
  refused(EVERYTHING, { matmul: "fast" as "registers" }, "matmul=fast");
});

Deno.test("parseVariants() reads kernels and variants, and names what there is where it is another", () => {
  assertEquals(parseVariants(""), {});
  assertEquals(parseVariants("matmul=workgroup, attention=query"), {
    matmul: "workgroup",
    attention: "query",
  });
  for (const [kernel, variants] of Object.entries(KERNEL_VARIANTS)) {
    for (const variant of variants) {
      assertEquals(parseVariants(`${kernel}=${variant}`), { [kernel]: variant });
    }
  }
  const wrong =
    "matmul|matmul=|matmul=fast|conv=tiles|rows=query|toString=x|rows=workgroup=x|matmul=workgroup,|,";
  for (const text of wrong.split("|")) {
    assertThrows(() => parseVariants(text), InputError, "as it must be one of matmul=registers|");
  }
  const twice = "matmul=workgroup,matmul=registers";
  assertThrows(() => parseVariants(twice), InputError, "matmul is named twice");
});

Deno.test("every adapter runs the variants that need nothing of it, and all of its table", async () => {
  for (const kernel of Object.keys(KERNEL_VARIANTS) as (keyof Variants)[]) {
    const variants = (await runnableVariants(kernel)).map(({ variant }) => variant);
    for (const variant of [VARIANTS.gpu[kernel], gpu.variants[kernel]]) {
      assert(variants.includes(variant), `${kernel}=${variant}`);
    }
  }
});

Deno.test("variantRevision() tells states apart that variants for GPUs of another revision made", () => {
  assertEquals([VARIANTS.software, VARIANTS.gpu].map((own) => "forms" in variantRevision(own)), [
    false,
    true,
  ]);
});
