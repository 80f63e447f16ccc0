import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { equalRooms } from "../../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../../../../pipeline/partition/assignment/balanced.ts";
import { GreedyCost } from "../../../../../pipeline/partition/assignment/optimal/greedy.ts";

/** Sums the greedy rule's costs in passes over groups of rows, and counts the passes. */
function inPasses(costs: Float32Array, experts: number, predicted: Uint32Array, group: number, wide = false) {
  const greedy = new GreedyCost(equalRooms);
  let passes = 0;
  for (; greedy.cost === undefined; passes++) {
    for (let row = 0; row < predicted.length; row += group) {
      const end = Math.min(predicted.length, row + group);
      greedy.add({
        experts,
        costs: costs.subarray(row * experts, end * experts),
        predicted: predicted.subarray(row, end),
      });
    }
    greedy.endPass();
    greedy.wide ||= wide;
  }
  return { cost: greedy.cost, passes };
}

function direct(costs: Float32Array, experts: number, predicted: Uint32Array): number {
  return assignBalanced(costs, experts, predicted).reduce((sum, e, row) => sum + costs[row * experts + e], 0);
}

Deno.test("GreedyCost meets the greedy assignment, ties included, in few passes", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 30 }),
    fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat()), { minLength: 1, maxLength: 60 }),
    fc.integer({ min: 1, max: 20 }),
    (experts, rows, group) => {
      const predicted = Uint32Array.from(rows, ([tokens]) => tokens);
      const costs = Float32Array.from(
        { length: rows.length * experts },
        (_, i) => (Math.imul(rows[Math.floor(i / experts)][1] + i % experts, 0x9e3779b1) >>> 28) / 4,
      );
      const { cost, passes } = inPasses(costs, experts, predicted, group);
      assertEquals(cost, direct(costs, experts, predicted));
      assert(passes <= 2 + Math.ceil(experts / 4), `${passes}`);
    },
  ));
});

Deno.test("GreedyCost goes on where lists were too short, or takes the memory for one pass of lists", () => {
  // All rows want the experts in the same order, so a list of the eight best serves eight parts of the rows.
  const rows = 400, experts = 40;
  const costs = Float32Array.from({ length: rows * experts }, (_, i) => i % experts);
  const predicted = new Uint32Array(rows).fill(1);
  const sum = rows * (experts - 1) / 2;
  assertEquals(inPasses(costs, experts, predicted, 64), { cost: sum, passes: 5 });
  assertEquals(inPasses(costs, experts, predicted, 64, true), { cost: sum, passes: 3 });
});
