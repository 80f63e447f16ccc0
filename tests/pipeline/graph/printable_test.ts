import { assertEquals } from "@std/assert";
import { printable, printableLines } from "../../../pipeline/graph/printable.ts";

Deno.test("printable() leaves nothing that a document may not hold or that turns text around", () => {
  assertEquals(
    printable("a\u0000b\nc\u202ed\u0085\ud800é😀"),
    "a\ufffdb\ufffdc\ufffdd\ufffd\ufffdé😀",
  );
});

Deno.test("printableLines() leaves line breaks and tabs, and nothing else that a terminal obeys", () => {
  const [text, shown] = [
    "a\r\n\tb\u001b[31mc\rd\u0007\u009b\u202e\u2066é😀",
    "a\r\n\tb?[31mc?d????é😀",
  ];
  assertEquals(printableLines(text), shown.replaceAll("?", "\ufffd"));
  assertEquals(["😀".slice(0, 1), "😀".slice(1)].map(printableLines).join(""), "😀"); // in pieces
});
