import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Certificate, Sum } from "../../../../pipeline/partition/assignment/certificate.ts";

Deno.test("a Certificate sums what rows cost, what no assignment undercuts, and who got how many", () => {
  // The best is 0, 1, 2 for 0 + 1 + 2; prices 1, 0, 0 let every row choose so.
  const certificate = new Certificate([1, 0, 0]);
  certificate.add({ costs: Float32Array.of(0, 1, 9, 0, 1, 2), experts: 3 }, Uint16Array.of(0, 1));
  certificate.add({ costs: Float32Array.of(5, 4, 2), experts: 3 }, Uint16Array.of(2));
  const sums = { rows: 3, cost: 3, loads: [1, 1, 1], bound: 3, unbalanced: 2 };
  assertEquals(certificate.proof, { ...sums, prices: [1, 0, 0] });
  // Other prices bound the cost as well, less tightly.
  const loose = new Certificate([0, 3, 0]);
  loose.add({ costs: Float32Array.of(0, 1, 9, 0, 1, 2, 5, 4, 2), experts: 3 }, Uint16Array.of(0, 1, 2));
  assertEquals(loose.proof.bound, 2 - 3);
});

Deno.test("a Certificate of a wrong assignment shows the gap", () => {
  const certificate = new Certificate([0, 0]);
  certificate.add({ costs: Float32Array.of(0, 5, 5, 0), experts: 2 }, Uint16Array.of(1, 0));
  assertAlmostEquals(certificate.proof.cost - certificate.proof.bound, 10, 1e-12);
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
