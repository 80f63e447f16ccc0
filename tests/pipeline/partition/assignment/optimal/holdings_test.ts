import { assertEquals } from "@std/assert";
import { Choice } from "../../../../../pipeline/partition/assignment/optimal/choice.ts";
import { Contested } from "../../../../../pipeline/partition/assignment/optimal/contested.ts";
import { Holdings } from "../../../../../pipeline/partition/assignment/optimal/holdings.ts";

/** Holdings of rows of two experts, of which so many groups may move. */
function holdings(rows: number[][], candidates: number): Holdings {
  const contested = new Contested(2);
  for (const row of rows) contested.add(Float32Array.from(row), 0);
  return new Holdings(contested, new Choice(contested, new Float64Array(2)), candidates);
}

Deno.test("Holdings begin with the groups whose choice is closest, the first of equals", () => {
  const rows = [[0, 3], [1, 0], [0, 3], [0, 1], [9, 2]];
  const movable = (candidates: number) => [0, 1, 2, 3].filter((g) => holdings(rows, candidates).mayMove(g));
  // Margins of the four groups are 3, 1, 1 and 7.
  assertEquals([1, 2, 3, 4, 9].map(movable), [[1], [1, 2], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]);
});

Deno.test("Holdings count who holds rows as they go from hand to hand", () => {
  const held = holdings([[0, 3], [0, 3], [1, 0]], 2);
  assertEquals([...held.holders()], [[0, 0], [1, 1]]);
  assertEquals([held.held(0, 0), held.held(0, 1), held.difference(0, 0, 1)], [2, 0, 3]);
  held.give(0, 1, 1), held.give(0, 0, -1);
  assertEquals([...held.holders()], [[0, 0], [1, 1], [0, 1]]);
  held.give(0, 0, -1);
  assertEquals([...held.holders()], [[1, 1], [0, 1]]);
});
