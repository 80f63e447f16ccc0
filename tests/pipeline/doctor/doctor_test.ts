import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import { examine, variantsText } from "../../../pipeline/doctor/doctor.ts";

Deno.test("examine() refuses a wish that this machine cannot fulfil, and ends when it is told to", async () => {
  await assertRejects(() => examine({ adapter: "no such card", quick: true }), InputError, '"no such card"');
  const steps: string[] = [];
  const stopping = new AbortController();
  const onStep = (what: string) => {
    steps.push(what);
    if (what === "memory") stopping.abort(new DOMException("stopped", "AbortError"));
  };
  await assertRejects(
    () => examine({ quick: true, onStep, signal: stopping.signal }),
    DOMException,
    "stopped",
  );
  assertEquals(steps, ["the system", "other adapters", "memory"]);
});

Deno.test("variantsText() names the form of each kernel", () => {
  assertEquals(variantsText(VARIANTS.gpu), "matmul=workgroup,attention=workgroup,rows=workgroup");
});
