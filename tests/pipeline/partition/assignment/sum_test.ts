import { assert, assertEquals } from "@std/assert";
import { Sum } from "../../../../pipeline/partition/assignment/sum.ts";

Deno.test("a Sum keeps what plain addition loses", () => {
  const sum = new Sum();
  for (const x of [1e16, 1, 1, -1e16]) sum.add(x);
  assertEquals(sum.value, 2);
  const tenths = new Sum();
  let plain = 0;
  for (let i = 0; i < 1e6; i++) tenths.add(1000.1), plain += 1000.1;
  assert(Math.abs(tenths.value - 1000.1e6) < 1e-6 && Math.abs(plain - 1000.1e6) > 1e-6);
  assertEquals(new Sum().value, 0);
});
