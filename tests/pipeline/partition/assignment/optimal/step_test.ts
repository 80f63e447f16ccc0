import { assert, assertEquals } from "@std/assert";
import { priceStep } from "../../../../../pipeline/partition/assignment/optimal/step.ts";
import { uniform } from "../../../../../pipeline/random.ts";

Deno.test("priceStep() solves the Laplacian, with the price of expert 0 kept", () => {
  const experts = 5, width = 0.25;
  const near = Float64Array.from({ length: 25 }, (_, i) => Math.floor(50 * uniform(3, "near", i)));
  const excess = [10, -4, 7, -20, 7];
  const change = priceStep(near, width, excess);
  assertEquals(change[0], 0);
  for (let a = 0; a < experts; a++) {
    let leave = 0;
    for (let b = 0; b < experts; b++) {
      if (b === a) continue;
      const density = (near[a * experts + b] + near[b * experts + a]) / (2 * width);
      leave += density * (change[a] - change[b]);
    }
    assert(Math.abs(leave - excess[a]) < 1e-9, `${a}: ${leave}`);
  }
});

Deno.test("priceStep() keeps the price of an expert without a boundary, and one price of each group apart", () => {
  const near = new Float64Array(36);
  const set = (a: number, b: number, rows: number) => near[6 * a + b] = rows;
  set(0, 1, 8), set(3, 4, 2), set(4, 3, 2);
  const change = priceStep(near, 1, [-4, 4, 5, 3, -2, -6]);
  assertEquals([...change].map((x) => Math.round(x * 1e9) / 1e9), [0, 1, 0, 0, -1, 0]);
});
