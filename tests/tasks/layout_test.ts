import { assertEquals } from "@std/assert";
import { sourceName } from "../../tasks/layout.ts";

Deno.test("sourceName() keeps any label on one line of a table, short, and from the terminal", () => {
  assertEquals(
    ["code", "", "a\nb\t\x1b[31mc\u009b", "😀".repeat(40), "😀".repeat(50) + "the end"].map(sourceName),
    [
      "code",
      "(none)",
      "a\ufffdb\ufffd\ufffd[31mc\ufffd",
      "😀".repeat(40),
      `${"😀".repeat(24)}…${"😀".repeat(8)}the end`,
    ],
  );
});
