import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nearest } from "../../../../../pipeline/partition/assignment/optimal/nearest.ts";

Deno.test("nearest() finds what sorting finds, the lower id first among equals", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 6 }),
    fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 6, maxLength: 60 }),
    fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 6, maxLength: 6 }),
    (experts, values, prices) => {
      const rows = Math.floor(values.length / experts);
      const costs = Float32Array.from(values.slice(0, rows * experts));
      const found = nearest({ costs, experts }, Float64Array.from(prices.slice(0, experts)));
      for (let row = 0; row < rows; row++) {
        const sums = Array.from({ length: experts }, (_, e) => values[row * experts + e] + prices[e]);
        const order = [...sums.keys()].sort((a, b) => sums[a] - sums[b] || a - b);
        assertEquals([found.expert[row], found.value[row]], [order[0], sums[order[0]]]);
        assertEquals([found.next[row], found.margin[row]], [
          order[1] ?? 0,
          order.length === 1 ? Infinity : sums[order[1]] - sums[order[0]],
        ]);
      }
    },
  ));
});

Deno.test("nearest() fills a former result again where it has room", () => {
  const prices = new Float64Array(2);
  const former = nearest({ costs: Float32Array.of(1, 2, 3, 4), experts: 2 }, prices);
  const found = nearest({ costs: Float32Array.of(9, 5), experts: 2 }, prices, former);
  assert(found === former);
  assertEquals([found.expert[0], found.value[0], found.margin[0]], [1, 5, 4]);
  assertEquals(nearest({ costs: new Float32Array(6), experts: 2 }, prices, former).expert.length, 3);
});
