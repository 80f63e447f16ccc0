import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { checkCosts, equalRooms } from "../../../../pipeline/partition/assignment/assignment.ts";

Deno.test("equalRooms() hands out every row, to the first experts one more", () => {
  assertEquals(equalRooms(7, 3), [3, 2, 2]);
  assertEquals(equalRooms(6, 3), [2, 2, 2]);
  assertEquals(equalRooms(2, 4), [1, 1, 0, 0]);
  assertEquals(equalRooms(0, 2), [0, 0]);
});

Deno.test("checkCosts() counts rows and reports where a cost is not finite", () => {
  assertEquals(checkCosts(new Float32Array(6), 3), 2);
  assertThrows(() => checkCosts(new Float32Array(6), 4), RangeError, "nll has 6 values, experts is 4");
  const error = assertThrows(() => checkCosts(Float32Array.of(1, NaN), 2, "a.arrow, batch 3"), InputError);
  assertEquals([error.where, error.message.includes("row 0, expert 1 is NaN")], ["a.arrow, batch 3", true]);
});
