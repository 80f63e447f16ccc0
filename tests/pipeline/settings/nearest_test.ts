import { assertEquals } from "@std/assert";
import { nearest } from "../../../pipeline/settings/nearest.ts";

Deno.test("nearest() finds the name with the fewest edits, the first of equals, and none among none", () => {
  const names = ["experts", "vocab-size", "prefix", "preset"];
  assertEquals(nearest("expert", names), "experts");
  assertEquals(nearest("vocab-siez", names), "vocab-size");
  assertEquals(nearest("pre", names), "prefix"); // three letters more, as preset
  assertEquals(nearest("pre", []), "");
});
