import { assertEquals } from "@std/assert";
import { Choice } from "../../../../../pipeline/partition/assignment/optimal/choice.ts";
import { Contested } from "../../../../../pipeline/partition/assignment/optimal/contested.ts";
import { unweighed } from "../../../../../pipeline/partition/assignment/optimal/sample.ts";

const COSTS = Float32Array.of(0, 2, 9, 0, 2, 9, 7, 4, 5, 3, 3, 1);

Deno.test("a Choice counts groups by their rows: loads, cost, bound, and who is near whom", () => {
  const contested = new Contested(3);
  for (let row = 0; row < 4; row++) contested.add(COSTS, 3 * row);
  const plain = unweighed({ costs: COSTS, experts: 3 });
  for (const rows of [contested, plain]) {
    const choice = new Choice(rows, Float64Array.of(1, 0, 0));
    assertEquals([choice.loads, choice.cost], [[2, 1, 1], 5]);
    assertEquals(choice.excess([1, 1, 2]), 2);
    // 1 + 1 + 4 + 1 with prices, less 1 for each place of expert 0.
    assertEquals(choice.bound([1, 1, 2]), 6);
    assertEquals([...choice.near(1)], [0, 2, 0, 0, 0, 1, 0, 0, 0]);
    assertEquals([...choice.near(2)], [0, 2, 0, 0, 0, 1, 0, 1, 0]);
  }
});

Deno.test("a Choice finds the margin of a place", () => {
  const choice = new Choice(unweighed({ costs: COSTS, experts: 3 }), new Float64Array(3));
  assertEquals([...choice.margin], [2, 2, 1, 2]);
  assertEquals([1, 1.5, 4, 9].map((place) => choice.closest(place)), [1, 2, 2, 2]);
  const none = new Choice(unweighed({ costs: new Float32Array(), experts: 3 }), new Float64Array(3));
  assertEquals([none.closest(1), none.cost, none.loads], [0, 0, [0, 0, 0]]);
});
