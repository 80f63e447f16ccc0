import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { assignArgmax } from "../../../../pipeline/partition/assignment/argmax.ts";

Deno.test("assignArgmax() gives the lowest NLL, prices included, and the lower id of equals", () => {
  const nll = Float32Array.of(3, 1, 2, 1, 1, 0, 2, 2, 2);
  assertEquals(assignArgmax(nll, 3), Uint16Array.of(1, 2, 0));
  assertEquals(assignArgmax(nll, 3, [0, 2, 1]), Uint16Array.of(0, 0, 0));
  assertEquals(assignArgmax(new Float32Array(), 3), new Uint16Array());
});

Deno.test("assignArgmax() refuses values that are not finite and impossible numbers of experts", () => {
  for (const value of [NaN, Infinity, -Infinity]) {
    const nll = Float32Array.of(1, 2, 3, 4, 5, value);
    assertThrows(() => assignArgmax(nll, 2), InputError, `nll of row 2, expert 1 is ${value}`);
  }
  for (const experts of [0, -1, 1.5, NaN, 65537]) {
    const what = `use experts as it must be an integer from 1 to 65535: it is ${experts}`;
    assertThrows(() => assignArgmax(new Float32Array(6), experts), InputError, what);
  }
});
