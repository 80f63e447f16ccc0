import { assertEquals } from "@std/assert";
import { shortSourceName } from "../../tasks/cli/layout.ts";

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
