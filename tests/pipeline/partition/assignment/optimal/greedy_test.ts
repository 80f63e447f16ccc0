import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { equalRooms } from "../../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../../../../pipeline/partition/assignment/balanced.ts";
import { GreedyCost } from "../../../../../pipeline/partition/assignment/optimal/greedy.ts";
import { StridedSample } from "../../../../../pipeline/partition/assignment/optimal/sample.ts";
import { Survey } from "../../../../../pipeline/partition/assignment/optimal/survey.ts";
import { uniform } from "../../../../../pipeline/random.ts";

const MOST_PASSES = 5; // three by the sample, one of all that are open, one that sums

interface Rows {
  costs: Float32Array;
  experts: number;
  predicted: Uint32Array;
}

/** Sums the greedy rule's costs in passes over groups of rows, with a sample of so many, and counts the passes. */
function inPasses({ costs, experts, predicted }: Rows, group: number, sampled: number) {
  const rows = predicted.length;
  const groups = Array.from({ length: Math.ceil(rows / group) }, (_, i) => ({
    experts,
    costs: costs.subarray(i * group * experts, (i + 1) * group * experts),
    predicted: predicted.subarray(i * group, (i + 1) * group),
  }));
  const survey = new Survey(), sample = new StridedSample(sampled);
  for (const rows of groups) survey.add(rows), sample.add(rows);
  const greedy = new GreedyCost(survey.turns(), equalRooms(rows, experts), sample);
  let passes = 0;
  for (; greedy.cost === undefined; passes++) {
    groups.forEach((rows) => greedy.add(rows));
    greedy.endPass();
  }
  return { cost: greedy.cost, passes };
}

function direct({ costs, experts, predicted }: Rows): number {
  return assignBalanced(costs, experts, predicted).reduce((sum, e, row) => sum + costs[row * experts + e], 0);
}

Deno.test("GreedyCost meets the greedy assignment, ties included, whatever the sample says", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 30 }),
    fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat()), { minLength: 1, maxLength: 60 }),
    fc.integer({ min: 1, max: 20 }),
    fc.constantFrom(2, 8, 64),
    (experts, drawn, group, sampled) => {
      const rows = {
        experts,
        predicted: Uint32Array.from(drawn, ([tokens]) => tokens),
        costs: Float32Array.from(
          { length: drawn.length * experts },
          (_, i) => (Math.imul(drawn[Math.floor(i / experts)][1] + i % experts, 0x9e3779b1) >>> 28) / 4,
        ),
      };
      const { cost, passes } = inPasses(rows, group, sampled);
      assertEquals(cost, direct(rows));
      assert(passes <= MOST_PASSES, `${passes}`);
    },
  ));
});

Deno.test("GreedyCost takes one pass of lists and one of sums where the sample is like the rows", () => {
  const rows = 40_000, experts = 12;
  const one = {
    experts,
    predicted: new Uint32Array(rows).fill(1),
    costs: Float32Array.from(
      { length: rows * experts },
      (_, i) => Math.floor(512 * uniform(1, "cost", i)) / 512 - (i % experts) / 32,
    ),
  };
  assertEquals(inPasses(one, 4096, 8192), { cost: direct(one), passes: 2 });
});

Deno.test("GreedyCost goes on where experts closed at other turns than the sample says", () => {
  // Rows that the sample holds want expert 0 most, the others expert 1 most and expert 0 least.
  const rows = 4096, experts = 9;
  const one = {
    experts,
    predicted: new Uint32Array(rows).fill(1),
    costs: Float32Array.from({ length: rows * experts }, (_, i) => {
      const row = Math.floor(i / experts), e = i % experts;
      return row / 4096 + (e === (row % 64 === 0 ? 0 : 1) ? 0 : e === 0 ? 99 : 1 + e);
    }),
  };
  const { cost, passes } = inPasses(one, 500, 64);
  assertEquals(cost, direct(one));
  assert(passes > 2 && passes <= MOST_PASSES, `${passes}`);
});
