import { assertEquals } from "@std/assert";
import { duration, printable, printableLines } from "../../../pipeline/run/printable.ts";

Deno.test("printable() leaves nothing that a document may not hold or that turns text around", () => {
  assertEquals(printable("a\u0000b\nc\u202ed\u0085\ud800é😀"), "a\ufffdb\ufffdc\ufffdd\ufffd\ufffdé😀");
});

Deno.test("printableLines() leaves line breaks and tabs, and nothing else that a terminal obeys", () => {
  const [text, shown] = ["a\r\n\tb\u001b[31mc\rd\u0007\u009b\u202e\u2066é😀", "a\r\n\tb?[31mc?d????é😀"];
  assertEquals(printableLines(text), shown.replaceAll("?", "\ufffd"));
  assertEquals(["😀".slice(0, 1), "😀".slice(1)].map(printableLines).join(""), "😀"); // in pieces
});

Deno.test("duration() takes the two largest units, and carries what rounding makes whole", () => {
  const cases: [seconds: number, text: string][] = [
    [0, "0 s"],
    [4.2e-5, "42 µs"],
    [0.0123, "12.3 ms"],
    [9.5, "9.5 s"],
    [59.4, "59.4 s"],
    [59.7, "1 min"],
    [250, "4 min 10 s"],
    [3599.6, "1 h"],
    [5400, "1 h 30 min"],
    [86_399, "1 d"],
    [2 * 86_400 + 3 * 3600 + 59, "2 d 3 h"],
    [40 * 86_400, "40 d"],
    [31_557_600 * 1234, "1,234 years"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});
