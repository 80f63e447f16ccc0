import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  assignArgmax,
  checkCosts,
  Sum,
} from "../../../../pipeline/partition/assignment/assignment.ts";

Deno.test("checkCosts() counts rows and reports where a cost is not finite", () => {
  assertEquals(checkCosts(new Float32Array(6), 3), 2);
  assertThrows(
    () => checkCosts(new Float32Array(6), 4),
    RangeError,
    "nll has 6 values, experts is 4",
  );
  const error = assertThrows(
    () => checkCosts(Float32Array.of(1, NaN), 2, "a.arrow, batch 3"),
    InputError,
  );
  assertEquals([error.where, error.message.includes("row 0, expert 1 is NaN")], [
    "a.arrow, batch 3",
    true,
  ]);
});

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

Deno.test("a Sum keeps what plain addition loses", () => {
  const tenths = new Sum();
  let plain = 0;
  for (let i = 0; i < 1e6; i++) tenths.add(1000.1), plain += 1000.1;
  assert(Math.abs(tenths.value - 1000.1e6) < 1e-6 && Math.abs(plain - 1000.1e6) > 1e-6);
  const sum = new Sum();
  for (const x of [1e16, 1, 1, -1e16]) sum.add(x);
  assertEquals(sum.value, 2);
});
