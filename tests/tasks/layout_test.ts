import { assertEquals } from "@std/assert";
import {
  bytes,
  count,
  decimalBytes,
  interval,
  percent,
  perplexity,
  ranges,
  roughBytes,
  sourceName,
  table,
} from "../../tasks/layout.ts";

Deno.test("sizes keep their digits: of two, of ten, and rough", () => {
  const sizes = [0, 1000, 2 ** 20 + 1, 1.5 * 2 ** 30, 20 * 2 ** 40];
  assertEquals(sizes.map(bytes), ["0 B", "1,000 B", "1 MiB", "1.5 GiB", "20 TiB"]);
  assertEquals([5.625e6, 10.4e9, 12].map(decimalBytes), ["5.625 MB", "10.4 GB", "12 B"]);
  assertEquals(sizes.map(roughBytes), ["0 MiB", "1 MiB", "2 MiB", "1.5 GiB", "20480.0 GiB"]);
  assertEquals([count(1234567.4), percent(0.0123)], ["1,234,567", "1.2%"]);
});

Deno.test("table() aligns texts to the left at both ends and numbers to the right", () => {
  assertEquals(
    table("model | tokens |", [["a", 1000, "x"], ["long name", "none", ""]]),
    "model      tokens\na           1,000  x\nlong name    none",
  );
  assertEquals(table(["of", "a|b", ""], [["x", 1, ""]]), "of  a|b\nx     1"); // names may hold what parts a head
});

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

Deno.test("ranges() shortens names that follow one another", () => {
  assertEquals(
    ranges(["expert-00", "expert-01", "expert-02", "expert-09", "dense"]),
    "expert-00 … 02, 09, dense",
  );
  assertEquals(
    ranges(["expert-99", "expert-100", "dense", "dense-steps"]),
    "expert-99 … 100, dense, dense-steps",
  );
  assertEquals(ranges(["0", "1", "2", "7", "9", "10"]), "0 … 2, 7, 9 … 10");
  assertEquals(ranges([]), "");
});

Deno.test("perplexity() keeps huge ones short and leaves a place for none, interval() joins two", () => {
  assertEquals([45.254, 999.994, 1234.5, 1e12].map(perplexity), ["45.25", "999.99", "1235", "1.000e+12"]);
  assertEquals([null, undefined].map(perplexity), ["-", "-"]);
  assertEquals(interval(4.2, 12_345_678), "4.20 to 1.235e+7");
});
