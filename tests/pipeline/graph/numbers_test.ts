import { assertEquals } from "@std/assert";
import {
  binaryBytes,
  decimalBytes,
  engineering,
  unbrokenBytes,
} from "../../../pipeline/graph/numbers.ts";

Deno.test("sizes and numbers go on to the next unit where they would be rounded to a whole one of it", () => {
  assertEquals([1023, 2 ** 20 - 1, 1.234 * 2 ** 30].map(binaryBytes), [
    "1,023 B",
    "1 MiB",
    "1.23 GiB",
  ]);
  assertEquals([999_949, 999_999, 5.625e6].map(decimalBytes), [
    "999.9 kB",
    "1 MB",
    "5.625 MB",
  ]);
  assertEquals([999_499, 999_949, 0].map(unbrokenBytes), ["999\u00a0kB", "1\u00a0MB", "0\u00a0B"]);
  const numbers = [999, 999_994, 999_999, 31.02e18].map(engineering);
  assertEquals(numbers, ["999.00", "999.99e3", "1.00e6", "31.02e18"]);
});
