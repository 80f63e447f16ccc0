import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../kernels/mod.ts";
import { parseBytes, partParser } from "../../tasks/options.ts";

Deno.test("parseBytes() reads sizes in powers of 1,024, and refuses anything else", () => {
  assertEquals(parseBytes(""), undefined);
  assertEquals(["7", "512MiB", "2GiB", "1.5KiB"].map(parseBytes), [7, 512 * 2 ** 20, 2 ** 31, 1536]);
  for (const text of ["2GB", "-1", "GiB", "1 GiB", "2gib", "1e9"]) {
    assertThrows(() => parseBytes(text), InputError, `it is "${text}"`);
  }
});

Deno.test("partParser() reads parts, and tells valid ones of as many", () => {
  const part = partParser("Cannot as it must");
  assertEquals([part(""), part("1/4"), part("4/4")], [undefined, { index: 1, of: 4 }, { index: 4, of: 4 }]);
  const cases = {
    "0/16": "of 16 are 1/16 … 16/16",
    two: "of 4 are 1/4 … 4/4",
    "1/0": "of 4 are",
    "2/1": "1 is 1/1",
  };
  for (const [text, remedy] of Object.entries(cases)) {
    const error = assertThrows(() => part(text), InputError, `Cannot as it must: it is "${text}"`);
    assertStringIncludes(String(error.remedy), remedy);
  }
});
