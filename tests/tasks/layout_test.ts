import { assertEquals } from "@std/assert";
import { shortSourceName, table } from "../../tasks/cli/layout.ts";

Deno.test("shortSourceName() keeps any label on one line of a table, short, and from the terminal", () => {
  assertEquals(
    ["code", "", "a\nb\t\x1b[31mc\u009b", "😀".repeat(40), "😀".repeat(50) + "the end"].map(
      shortSourceName,
    ),
    [
      "code",
      "(none)",
      "a\ufffdb\ufffd\ufffd[31mc\ufffd",
      "😀".repeat(40),
      `${"😀".repeat(24)}…${"😀".repeat(8)}the end`,
    ],
  );
});

Deno.test("table() lays out more rows than a call takes arguments", () => {
  const rows = Array.from({ length: 200_000 }, (_, i) => [`row ${i}`, String(i), "last"]);
  const lines = table("name | number | text", rows).split("\n");
  assertEquals(lines.length, rows.length + 1);
  assertEquals(lines[0], "name        number  text");
  assertEquals(lines.at(-1), "row 199999  199999  last");
});
