import { assert, assertEquals } from "@std/assert";
import { Choice } from "../../../../../pipeline/partition/assignment/optimal/choice.ts";
import { Contested } from "../../../../../pipeline/partition/assignment/optimal/contested.ts";
import { Holdings } from "../../../../../pipeline/partition/assignment/optimal/holdings.ts";
import { repair } from "../../../../../pipeline/partition/assignment/optimal/repair.ts";

/** Candidates of rows, each where it costs least at no price. */
function start(costs: number[][]) {
  const experts = costs[0].length;
  const contested = new Contested(experts);
  for (const row of costs) contested.add(Float32Array.from(row), 0);
  const choice = new Choice(contested, new Float64Array(experts));
  return { candidates: new Holdings(contested, choice, costs.length), loads: choice.loads };
}

Deno.test("repair() moves rows along the shortest path, through an expert that is full", () => {
  // To expert 2 directly costs 9; to expert 1, whose row goes on to expert 2, costs 1 + 2.
  const { candidates, loads } = start([[0, 1, 9], [0, 5, 9], [7, 0, 2]]);
  const { prices, rise } = repair(candidates, loads, [1, 1, 1], new Float64Array(3))!;
  assertEquals([rise, loads], [3, [1, 1, 1]]);
  assertEquals([candidates.held(0, 1), candidates.held(1, 0), candidates.held(2, 2)], [1, 1, 1]);
  // No row is better off elsewhere at the prices.
  const rows = [[0, 1, 9, 1], [0, 5, 9, 0], [7, 0, 2, 2]];
  for (const [a, b, c, own] of rows) {
    const sums = [a, b, c].map((cost, e) => cost + prices[e]);
    assertEquals(sums[own], Math.min(...sums));
  }
});

Deno.test("repair() moves equal rows together, and only as many as fit", () => {
  const { candidates, loads } = start(Array.from({ length: 1000 }, () => [0, 1, 2]));
  const { rise } = repair(candidates, loads, [300, 500, 200], new Float64Array(3))!;
  assertEquals(rise, 500 + 400);
  assertEquals([0, 1, 2].map((e) => candidates.held(0, e)), [300, 500, 200]);
});

Deno.test("repair() does nothing where loads fit, and says where candidates do not reach", () => {
  const fits = start([[0, 1], [1, 0]]);
  const { prices, rise } = repair(fits.candidates, fits.loads, [1, 1], Float64Array.of(0, 0.5))!;
  assertEquals([...prices, rise], [0, 0.5, 0]);
  const { candidates } = start([[0, 1]]);
  assert(repair(candidates, [0, 4], [2, 2], new Float64Array(2)) === undefined);
});
