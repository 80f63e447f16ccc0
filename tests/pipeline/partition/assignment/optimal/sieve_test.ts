import { assert, assertEquals } from "@std/assert";
import { Sieve, spread } from "../../../../../pipeline/partition/assignment/optimal/sieve.ts";

const COSTS = Float32Array.of(0, 9, 4, 5, 8, 1, 3, 3);

function sieveOf(reach: number, groups = [4]): Sieve {
  const sieve = new Sieve(4, [2, 2], Float64Array.of(0, 1), reach);
  for (let i = 0, row = 0; row < 4; row += groups[i++]) {
    sieve.add({ costs: COSTS.slice(2 * row, 2 * (row + groups[i])), experts: 2 });
  }
  return sieve;
}

Deno.test("a Sieve settles rows beyond its reach and keeps the others, however they come in groups", () => {
  // Margins at the prices are 10, 2, 6 and 1.
  for (const groups of [[4], [1, 3], [2, 1, 1]]) {
    const sieve = sieveOf(2, groups);
    assertEquals([sieve.contested.rows, sieve.left], [2, [1, 1]]);
    assertEquals(sieve.bound, 0 + 4 + 2 + 3 - 2);
    assertEquals([...sieve.experts([1, 0].values())], [0, 1, 1, 0]);
  }
  assertEquals(sieveOf(0.5).left, [-1, 1]);
  assertEquals(sieveOf(Infinity).contested.rows, 4);
});

Deno.test("a Sieve holds at prices whose changes lie within its reach, whatever they have in common", () => {
  const sieve = sieveOf(2);
  assert(sieve.holdsAt(Float64Array.of(100, 103)));
  assert(!sieve.holdsAt(Float64Array.of(0, 3.01)));
  assertEquals(spread(Float64Array.of(5, 1, 4), Float64Array.of(4, 1, 6)), 3);
});

Deno.test("a Sieve tells better prices from the rows near the boundary", () => {
  // Expert 0 has three rows at these prices, so its price rises.
  const [first, second] = sieveOf(2).better;
  assert(first - second > -1, `${first}, ${second}`);
});
