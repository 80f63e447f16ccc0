import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { assign, chunkOf, summaryOf } from "../../../pipeline/stages/assign.ts";

Deno.test("chunkOf() is what is set, or the largest multiple of the experts up to 65,536, one per expert at least", () => {
  assertEquals(chunkOf({ chunk: 48, experts: 4 }), 48);
  for (const experts of [1, 3, 4, 1000, 65_535, 100_000]) {
    const chunk = chunkOf({ chunk: 0, experts });
    assertEquals(chunk % experts, 0);
    assertEquals(chunk, experts > 65_536 ? experts : Math.floor(65_536 / experts) * experts);
  }
});

Deno.test("summaryOf() tells how far costs are above the bound, per sequence and as a share of what balancing costs", () => {
  // Unbalanced 100, bound 140, cost 150: balancing costs 50, of which 10 are not proven needed.
  const proof = { cost: 150, bound: 140, rows: 20, loads: [10, 10], unbalanced: 100 };
  const { gapPerSequence, gapShare, greedyGapShare, ...rest } = summaryOf(proof);
  assertEquals(rest, proof);
  assertAlmostEquals(gapPerSequence, 0.5, 1e-12);
  assertAlmostEquals(gapShare, 0.2, 1e-12);
  assertEquals(greedyGapShare, undefined);
  assertAlmostEquals(summaryOf({ ...proof, greedy: 165 }).greedyGapShare!, 0.5, 1e-12);
});

Deno.test("the stage assign refuses a method that there is not before anything runs", () => {
  const configuration = defaultConfiguration();
  const revisions = ["balanced", "argmax", "optimal"].map((method) =>
    assign.of({ ...configuration, method }).map(({ name, revision }) => [name, revision])
  );
  assertEquals(revisions, [[["assign", 1]], [["assign", 1]], [["assign", 3]]]);
  assertThrows(() => assign.of({ ...configuration, method: "fair" }), InputError, '"fair"');
});
