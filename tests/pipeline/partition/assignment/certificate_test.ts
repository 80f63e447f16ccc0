import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Certificate } from "../../../../pipeline/partition/assignment/certificate.ts";

Deno.test("a Certificate sums what rows cost, what no assignment undercuts, and who got how many", () => {
  // Rooms 1, 1, 1. The best is 0, 1, 2 for 0 + 1 + 2; prices 1, 0, 0 let every row choose so.
  const certificate = new Certificate([1, 0, 0]);
  certificate.add({ costs: Float32Array.of(0, 1, 9, 0, 1, 2), experts: 3 }, Uint16Array.of(0, 1));
  certificate.add({ costs: Float32Array.of(5, 4, 2), experts: 3 }, Uint16Array.of(2));
  assertEquals([certificate.rows, certificate.cost, certificate.loads], [3, 3, [1, 1, 1]]);
  assertEquals(certificate.bound([1, 1, 1]), 3);
  // Other prices bound the cost as well, less tightly.
  const loose = new Certificate([0, 3, 0]);
  loose.add({ costs: Float32Array.of(0, 1, 9, 0, 1, 2, 5, 4, 2), experts: 3 }, Uint16Array.of(0, 1, 2));
  assertEquals(loose.bound([1, 1, 1]), 2 - 3);
});

Deno.test("a Certificate of a wrong assignment shows the gap", () => {
  const certificate = new Certificate([0, 0]);
  certificate.add({ costs: Float32Array.of(0, 5, 5, 0), experts: 2 }, Uint16Array.of(1, 0));
  assertAlmostEquals(certificate.cost - certificate.bound([1, 1]), 10, 1e-12);
});
