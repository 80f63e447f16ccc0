import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { asLabel, checkFields } from "../../../pipeline/text/fields.ts";

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

Deno.test("checkFields() lists names of a damaged file on one line, and neither long nor many ones whole", () => {
  const names = ["text\0\u0004\n x", "y".repeat(61), ...Array.from({ length: 30 }, (_, i) => `c${i}`)];
  const wanted = [{ name: "text", option: "textColumn" }];
  const check = () => checkFields("a.arrow", ["it must have a column", "it"], names, wanted);
  const { message } = assertThrows(check, InputError);
  assertEquals(
    message,
    `Cannot read a.arrow as it must have a column "text": it has "text x", "${"y".repeat(60)}…", ${
      Array.from({ length: 18 }, (_, i) => `"c${i}"`).join(", ")
    } and 12 more; name it with textColumn`,
  );
});
