import { assertEquals } from "@std/assert";
import { bytes, decimalBytes, scientific, sourceName } from "../../tasks/cli/layout.ts";

Deno.test("sourceName() keeps any label on one line of a table, short, and from the terminal", () => {
  assertEquals(
    ["code", "", "a\nb\t\x1b[31mc\u009b", "😀".repeat(40), "😀".repeat(50) + "the end"].map(
      sourceName,
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

Deno.test("sizes and numbers go on to the next unit where they would be rounded to a whole one of it", () => {
  assertEquals([1023, 2 ** 20 - 1, 1.234 * 2 ** 30].map(bytes), ["1,023 B", "1 MiB", "1.23 GiB"]);
  assertEquals([999_949, 999_999, 5.625e6].map(decimalBytes), ["999.9 kB", "1 MB", "5.625 MB"]);
  const numbers = [999, 999_994, 999_999, 31.02e18].map(scientific);
  assertEquals(numbers, ["999.00", "999.99e3", "1.00e6", "31.02e18"]);
});
