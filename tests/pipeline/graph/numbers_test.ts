import { assertEquals } from "@std/assert";
import { binaryBytes, decimalBytes, engineering } from "../../../pipeline/graph/numbers.ts";

Deno.test("sizes and numbers go on to the next unit where they would be rounded to a whole one of it", () => {
  assertEquals([1023, 2 ** 20 - 1, 1.234 * 2 ** 30].map(binaryBytes), [
    "1,023 B",
    "1 MiB",
    "1.23 GiB",
  ]);
  assertEquals([999_949, 999_999, 5.625e6].map((size) => decimalBytes(size)), [
    "999.9 kB",
    "1 MB",
    "5.625 MB",
  ]);
  assertEquals(decimalBytes(999_949, 3), "1 MB");
  const numbers = [999, 999_994, 999_999, 31.02e18].map(engineering);
  assertEquals(numbers, ["999.00", "999.99e3", "1.00e6", "31.02e18"]);
});
