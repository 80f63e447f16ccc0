import { assert, assertEquals } from "@std/assert";
import { equalRooms } from "../../../../../pipeline/partition/assignment/assignment.ts";
import { Contested } from "../../../../../pipeline/partition/assignment/optimal/contested.ts";
import { unweighed } from "../../../../../pipeline/partition/assignment/optimal/sample.ts";
import { expertsOf, fitPrices, solve } from "../../../../../pipeline/partition/assignment/optimal/solve.ts";
import { uniform } from "../../../../../pipeline/random.ts";

const draw = (rows: number, experts: number, levels = 0) =>
  Float32Array.from({ length: rows * experts }, (_, i) => {
    const value = uniform(3, "cost", i) - (i % experts) / 9;
    return levels ? Math.floor(levels * value) : value;
  });

function contestedOf(costs: Float32Array, experts: number): Contested {
  const contested = new Contested(experts);
  for (let begin = 0; begin < costs.length; begin += experts) contested.add(costs, begin);
  return contested;
}

Deno.test("fitPrices() brings loads to rooms, fractions of rows too", () => {
  const experts = 5, rows = 20_000;
  const sample = unweighed({ costs: draw(rows, experts), experts });
  const rooms = [0.1, 0.3, 0.2, 0.25, 0.15].map((share) => rows * share + 0.25);
  const choice = fitPrices(sample, rooms, new Float64Array(experts), 4 * experts);
  assert(choice.excess(rooms) <= 4 * experts, `${choice.loads}`);
});

Deno.test("fitPrices() stops where rows are alike, as only a repair can part them", () => {
  const sample = unweighed({ costs: new Float32Array(400).fill(2), experts: 4 });
  assertEquals([...fitPrices(sample, [25, 25, 25, 25], new Float64Array(4), 0).loads], [100, 0, 0, 0]);
});

Deno.test("solve() fills rooms, and its prices prove that no other way costs less", () => {
  for (const levels of [0, 6]) {
    const experts = 7, rows = 9000;
    const costs = draw(rows, experts, levels);
    const contested = contestedOf(costs, experts);
    const rooms = equalRooms(rows, experts);
    const solution = solve(contested, rooms, new Float64Array(experts))!;
    const loads = new Array(experts).fill(0);
    let cost = 0, bound = -rooms.reduce((sum, room, e) => sum + room * solution.prices[e], 0), row = 0;
    for (const e of expertsOf(contested, solution)) {
      loads[e]++;
      cost += costs[row * experts + e];
      bound += Math.min(...solution.prices.map((price, f) => price + costs[row * experts + f]));
      row++;
    }
    assertEquals(loads, rooms);
    assert(Math.abs(cost - bound) < 1e-7, `${cost}, ${bound}`);
  }
});

Deno.test("solve() says where a room is below 0", () => {
  assertEquals(solve(contestedOf(Float32Array.of(1, 2), 2), [-1, 2], new Float64Array(2)), undefined);
});
