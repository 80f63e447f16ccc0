import { assertEquals } from "@std/assert";
import { printable } from "../../../pipeline/run/printable.ts";

Deno.test("printable() leaves nothing that a document may not hold or that turns text around", () => {
  assertEquals(printable("a\u0000b\nc\u202ed\u0085\ud800é😀"), "a\ufffdb\ufffdc\ufffdd\ufffd\ufffdé😀");
});
