import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../kernels/errors.ts";
import fc from "fast-check";
import {
  normals,
  permutation,
  philox,
  randomBits,
  randomKeys,
  uniform,
} from "../../pipeline/random.ts";

// kat_vectors of Random123, "philox4x32 10": counter, key, result.
const PUBLISHED = [
  [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];

/** Philox4x32-10 in BigInt, as the paper writes it. */
function philoxReference(counter: number[], key: number[]): number[] {
  const mask = 0xffffffffn;
  let [c0, c1, c2, c3] = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * c0;
    const b = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(b >> 32n) ^ c1 ^ k0, b & mask, (a >> 32n) ^ c3 ^ k1, a & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [c0, c1, c2, c3].map(Number);
}

Deno.test("philox() gives the published test vectors", () => {
  for (const [counter, key, expected] of PUBLISHED) {
    assertEquals([...philox(counter, key)], expected);
  }
});

Deno.test("philox() equals its BigInt form for any counter and key", () => {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(fc.property(fc.tuple(u32, u32, u32, u32), fc.tuple(u32, u32), (counter, key) => {
    assertEquals([...philox(counter, key)], philoxReference(counter, key));
  }));
});

Deno.test("randomBits() depends on seed, purpose and index, and on nothing else", () => {
  assertEquals(randomBits(1, "a", 5), randomBits(1, "a", 5n));
  const all = [[1, "a", 5], [2, "a", 5], [1, "b", 5], [1, "a", 6], [2 ** 32 + 1, "a", 5], [
    1,
    "a",
    2 ** 32 + 5,
  ]] as const;
  assertEquals(
    new Set(all.map(([seed, purpose, index]) => randomBits(seed, purpose, index))).size,
    all.length,
  );
});

Deno.test("randomBits() keeps its values from one version to the next", () => {
  // Any change here changes every split, shuffle and initial weight of every run.
  assertEquals(randomBits(0, "", 0), 1920542117113462935n);
});

Deno.test("randomKeys() equals randomBits() of each index", () => {
  const indices = BigUint64Array.from([0n, 1n, 2n ** 32n, 2n ** 63n + 7n]);
  assertEquals([...randomKeys(3, "k", indices)], [...indices].map((i) => randomBits(3, "k", i)));
  assertEquals(
    [...randomKeys(3, "k", indices.subarray(1))],
    [...indices.subarray(1)].map((i) => randomBits(3, "k", i)),
  );
});

Deno.test("randomBits() refuses a seed that is not an integer from 0 to 2^53 - 1", () => {
  for (const seed of [-1, 0.5, 2 ** 53, NaN]) {
    assertThrows(() => randomBits(seed, "a", 0), InputError, `seed is ${seed}`);
  }
});

Deno.test("uniform() stays in [0, 1) with mean 1/2", () => {
  let sum = 0;
  for (let i = 0; i < 10_000; i++) {
    const u = uniform(7, "u", i);
    assert(u >= 0 && u < 1);
    sum += u;
  }
  assert(Math.abs(sum / 10_000 - 0.5) < 0.012); // four standard errors
});

Deno.test("permutation() holds every integer once", () => {
  fc.assert(fc.property(fc.nat(300), fc.nat(), (n, seed) => {
    assertEquals(
      [...permutation(n, seed, "p")].sort((a, b) => a - b),
      Array.from({ length: n }, (_, i) => i),
    );
  }));
});

Deno.test("permutation() puts each of the 24 orders of four in equal shares", () => {
  const counts = new Map<string, number>();
  const draws = 24_000;
  for (let seed = 0; seed < draws; seed++) {
    const order = permutation(4, seed, "p").join();
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assertEquals(counts.size, 24);
  const chi = [...counts.values()].reduce(
    (sum, n) => sum + (n - draws / 24) ** 2 / (draws / 24),
    0,
  );
  assert(chi < 49.7, `chi-squared ${chi}`); // 23 degrees of freedom, p = 0.001
});

Deno.test("normals() has the moments of the normal distribution, and a prefix stays itself", () => {
  const n = 100_000;
  const z = normals(n, 11, "z");
  const moment = (k: number) => z.reduce((sum, x) => sum + x ** k, 0) / n;
  assert(Math.abs(moment(1)) < 0.013); // four standard errors each
  assert(Math.abs(moment(2) - 1) < 0.018);
  assert(Math.abs(moment(4) - 3) < 0.13);
  assertEquals(normals(7, 11, "z"), z.slice(0, 7));
});
