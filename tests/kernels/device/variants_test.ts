import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";
import {
  chooseVariants,
  FORMS,
  parseVariants,
  revisionOf,
  VARIANTS,
  type Variants,
} from "../../../kernels/device/variants.ts";
import { formsOf, gpu } from "../support.ts";

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
  const forGpus = { matmul: "workgroup", attention: "workgroup", rows: "workgroup", loss: "chunks" } as const;
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

Deno.test("parseVariants() reads kernels and forms, and names what there is where it is another", () => {
  assertEquals(parseVariants(""), {});
  assertEquals(parseVariants("matmul=workgroup, attention=query"), {
    matmul: "workgroup",
    attention: "query",
  });
  for (const [kernel, forms] of Object.entries(FORMS)) {
    for (const form of forms) assertEquals(parseVariants(`${kernel}=${form}`), { [kernel]: form });
  }
  const wrong =
    "matmul|matmul=|matmul=fast|conv=tiles|rows=query|toString=x|rows=workgroup=x|matmul=workgroup,|,";
  for (const text of wrong.split("|")) {
    assertThrows(() => parseVariants(text), InputError, "as it must be one of matmul=registers|");
  }
  const twice = "matmul=workgroup,matmul=registers";
  assertThrows(() => parseVariants(twice), InputError, "matmul is named twice");
});

Deno.test("openGpu() takes the forms of kernels that it is reported to, and refuses unknown ones", async () => {
  const own = await openGpu({ variants: { matmul: "registers" } });
  assertEquals(own.variants, { ...gpu.variants, matmul: "registers" });
  own.close();
});

Deno.test("every adapter runs the forms that need nothing of it, and all of its table", async () => {
  for (const kernel of Object.keys(FORMS) as (keyof Variants)[]) {
    const forms = (await formsOf(kernel)).map(({ form }) => form);
    for (const form of [VARIANTS.gpu[kernel], gpu.variants[kernel]]) {
      assert(forms.includes(form), `${kernel}=${form}`);
    }
  }
});

Deno.test("revisionOf() tells states apart that forms for GPUs of another revision made, and leaves others as they are", () => {
  const mixed = { ...VARIANTS.software, matmul: "workgroup_f16" } as const;
  const tiled = { ...VARIANTS.software, loss: "workgroup" } as const;
  const forms = { forms: 3 };
  assertEquals([VARIANTS.software, VARIANTS.gpu, mixed, tiled].map(revisionOf), [{}, forms, forms, forms]);
});
