import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nearest } from "../../../../../pipeline/partition/assignment/optimal/nearest.ts";
import {
  halfOf,
  largest,
  samplePrices,
  sampleSize,
  StridedSample,
  thinned,
  unweighed,
} from "../../../../../pipeline/partition/assignment/optimal/sample.ts";
import { uniform } from "../../../../../pipeline/random.ts";

Deno.test("a StridedSample holds rows at a fixed stride, however they come in groups", () => {
  for (const rows of [0, 1, 7, 8, 9, 15, 16, 17, 100, 1000]) {
    const costs = Float32Array.from({ length: 2 * rows }, (_, i) => i);
    for (const group of [1, 3, 8, 1000]) {
      const sample = new StridedSample(8);
      for (let at = 0; at < rows; at += group) {
        const predicted = Uint32Array.from({ length: Math.min(group, rows - at) }, (_, i) => at + i);
        sample.add({ experts: 2, costs: costs.slice(2 * at, 2 * (at + group)), predicted });
      }
      let stride = 1;
      while (Math.ceil(rows / stride) > 8) stride *= 2;
      const wanted = Array.from({ length: Math.ceil(rows / stride) }, (_, i) => i * stride);
      assertEquals([sample.seen, sample.stride], [rows, stride]);
      assertEquals([...sample.rows.predicted ?? []], wanted);
      assertEquals([...sample.rows.costs], wanted.flatMap((row) => [2 * row, 2 * row + 1]));
    }
  }
});

Deno.test("sampleSize() gives 32,768 to 262,144 rows, fewer where there are many experts", () => {
  assertEquals([1, 2, 32, 33, 64, 1024].map(sampleSize), [262144, 262144, 262144, 131072, 131072, 32768]);
});

Deno.test("thinned() and halfOf() give rows of all parts of a sample", () => {
  const sample = { experts: 2, costs: Float32Array.from({ length: 2 * 40_000 }, (_, i) => i) };
  const thin = thinned(sample);
  assertEquals(thin.costs.length, 2 * Math.ceil(40_000 / 3));
  assertEquals([...thin.costs.subarray(0, 6)], [0, 1, 6, 7, 12, 13]);
  const half = halfOf(sample);
  assertEquals([half.rows, half.groups], [20_032, 20_032]); // the last block of 64 is one of these
  const rows = [...half.blocks()].flatMap(({ costs }) => [...costs].filter((_, i) => i % 2 === 0));
  assertEquals(rows.slice(62, 66), [124, 126, 256, 258]);
  assertEquals([rows.length, unweighed(sample).rows], [20_032, 40_000]);
});

Deno.test("largest() finds what sorting finds", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 40 }),
    fc.nat(),
    (values, nat) => {
      const n = 1 + nat % values.length;
      assertEquals(largest(Float64Array.from(values), n), values.toSorted((a, b) => b - a)[n - 1]);
    },
  ));
});

const draw = (rows: number, experts: number, wish: (e: number) => number) =>
  Float32Array.from(
    { length: rows * experts },
    (_, i) => 100 + 5 * uniform(1, "costs", i) - wish(i % experts),
  );

Deno.test("samplePrices() gives every expert its share of the sample, uneven rooms too", () => {
  const sample = { experts: 4, costs: draw(4000, 4, (e) => e) };
  for (const rooms of [[1000, 1000, 1000, 1000], [700, 1300, 1900, 100]]) {
    const { expert } = nearest(sample, samplePrices(sample, rooms));
    const loads = [0, 0, 0, 0];
    for (const e of expert) loads[e]++;
    assert(loads.every((load, e) => Math.abs(load - rooms[e]) <= 12), `${loads} for ${rooms}`);
  }
});

Deno.test("samplePrices() takes one expert, no rows, and experts without room", () => {
  assertEquals(samplePrices({ experts: 1, costs: Float32Array.of(1, 2) }, [2]), new Float64Array(1));
  assertEquals(samplePrices({ experts: 2, costs: new Float32Array() }, [0, 0]), new Float64Array(2));
  const prices = samplePrices({ experts: 3, costs: Float32Array.of(5, 4, 1) }, [1, 0, 0]);
  assert(prices.every(Number.isFinite), `${prices}`);
});
