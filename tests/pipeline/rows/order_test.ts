import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { randomBits } from "../../../pipeline/random.ts";
import { Order, type OrderOptions } from "../../../pipeline/rows/order.ts";

/** The network in BigInt, as the paper writes it, forwards and backwards. */
function reference(n: bigint, { seed, purpose, epoch = 0 }: OrderOptions) {
  const half = (BigInt(Math.max(2, (n - 1n).toString(2).length)) + 1n) / 2n;
  const mask = (1n << half) - 1n;
  const mix = (right: bigint, round: number) => {
    const bits = randomBits(seed, purpose, BigInt(epoch) * 6n + BigInt(round >> 1));
    let x = right ^ (round % 2 === 0 ? bits & 0xffffffffn : bits >> 32n);
    x = BigInt.asUintN(32, x * 0x85ebca6bn);
    x = BigInt.asUintN(32, (x ^ x >> 13n) * 0xc2b2ae35n);
    return (x ^ x >> 16n) & mask;
  };
  const rounds = Array.from({ length: 12 }, (_, round) => round);
  const walk = (pass: (i: bigint) => bigint) => (i: bigint) => {
    do i = pass(i); while (i >= n);
    return i;
  };
  return {
    at: walk((i) => {
      let [left, right] = [i >> half, i & mask];
      for (const round of rounds) [left, right] = [right, left ^ mix(right, round)];
      return left << half | right;
    }),
    resolvePlace: walk((i) => {
      let [left, right] = [i >> half, i & mask];
      for (const round of rounds.toReversed()) [left, right] = [right ^ mix(left, round), left];
      return left << half | right;
    }),
  };
}

const all = (n: number, options: OrderOptions) => {
  const order = new Order(n, options);
  return Uint32Array.from({ length: n }, (_, i) => order.at(i));
};

Deno.test("Order holds every number once, for every small n and for some of each size", () => {
  const sizes = [
    ...Array(300).keys().map((i) => i + 1),
    1023,
    1024,
    1025,
    4095,
    4096,
    4097,
    100_003,
  ];
  for (const n of sizes) {
    const sorted = all(n, { seed: n, purpose: "p" }).sort();
    assert(sorted.every((value, i) => value === i), `n is ${n}`);
  }
});

Deno.test("Order equals its BigInt form up to 2^52, and that form finds the place of each number again", () => {
  const seed = fc.nat().map((low) => low * 2 ** 21 + low % 2 ** 21);
  const sizes = fc.tuple(
    fc.integer({ min: 0, max: 52 }),
    fc.double({ min: 0.5, max: 1, noNaN: true }),
  )
    .map(([bits, part]) => Math.max(1, Math.round(2 ** bits * part)));
  fc.assert(
    fc.property(
      sizes,
      seed,
      fc.nat(1e6),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (n, seed, epoch, part) => {
        const i = Math.min(n - 1, Math.floor(part * n));
        const options = { seed, purpose: "reference", epoch };
        const value = new Order(n, options).at(i);
        const { at, resolvePlace } = reference(BigInt(n), options);
        assert(value >= 0 && value < n);
        assertEquals(BigInt(value), at(BigInt(i)));
        assertEquals(resolvePlace(BigInt(value)), BigInt(i));
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("Order depends on seed, purpose, epoch and n, and keeps its values from one version to the next", () => {
  const seen = [[1, "a", 0], [2, "a", 0], [1, "b", 0], [1, "a", 1], [2 ** 32 + 1, "a", 0]] as const;
  const orders = seen.map(([seed, purpose, epoch]) => all(50, { seed, purpose, epoch }).join());
  assertEquals(new Set(orders).size, seen.length);
  // Any change here changes the order of every training.
  assertEquals([...all(10, { seed: 0, purpose: "" })], [8, 7, 5, 1, 6, 9, 3, 2, 0, 4]);
  assertEquals(
    new Order(2 ** 52, { seed: 1, purpose: "p", epoch: 3 }).at(2 ** 51),
    208_260_252_486_010,
  );
});

Deno.test("Order refuses a size that is no integer from 1 to 2^52, and a place that is not in it", () => {
  for (const n of [0, -1, 1.5, 2 ** 52 + 1, NaN]) {
    assertThrows(() => new Order(n, { seed: 0, purpose: "p" }), RangeError, `n is ${n}`);
  }
  const order = new Order(10, { seed: 0, purpose: "p" });
  for (const i of [-1, 10, NaN]) assertThrows(() => order.at(i), RangeError, `i is ${i}`);
});

Deno.test("Order puts items everywhere equally often, over consecutive seeds, and orders of neighbours have nothing in common", () => {
  const n = 8;
  const seeds = 20_000;
  const degrees = (n - 1) ** 2;
  const places = new Uint32Array(n * n);
  const moves = new Uint32Array(n * n);
  let order = all(n, { seed: 0, purpose: "statistics" });
  for (let seed = 1; seed <= seeds; seed++) {
    const next = all(n, { seed, purpose: "statistics" });
    for (let i = 0; i < n; i++) {
      places[i * n + next[i]]++;
      moves[order[i] * n + next[i]]++;
    }
    order = next;
  }
  for (const counts of [places, moves]) {
    const squares = counts.reduce((sum, seen) => sum + (seen - seeds / n) ** 2 / (seeds / n), 0);
    // Rows and columns have fixed sums.
    const deviation = (squares * (n - 1) / n - degrees) / Math.sqrt(2 * degrees);
    assert(Math.abs(deviation) < 4, `${deviation}`);
  }
});
