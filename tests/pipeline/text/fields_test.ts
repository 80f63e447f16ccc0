import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { asLabel } from "../../../pipeline/text/fields.ts";

Deno.test("asLabel() refuses labels that are too long or nested too deeply, in one line", () => {
  const refused = (value: unknown) =>
    assertThrows(() => asLabel(value, "", "a.jsonl, line 3,"), InputError).message;
  const rule = "Cannot read a.jsonl, line 3, as its source must have at most 65536 characters";
  const remedy = "name what holds it with sourceField";
  assertEquals(asLabel("x".repeat(65_536), "", "").length, 65_536);
  assertEquals(refused("x".repeat(65_537)), `${rule}: it has 65537; ${remedy}`);
  assertEquals(
    refused(JSON.parse("[".repeat(200_000) + "]".repeat(200_000))),
    `${rule}: it is nested too deeply; ${remedy}`,
  );
});
