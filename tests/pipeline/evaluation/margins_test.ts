import { assert, assertEquals } from "@std/assert";
import { measureReliability } from "../../../pipeline/evaluation/margins.ts";
import { randomIntegers } from "../../kernels/support.ts";

Deno.test("measureReliability() puts every sequence into one bin, equal margins into the same, however many there are", () => {
  for (const [count, values] of [[1, 1], [3, 9], [9, 2], [95, 4], [1000, 1000], [50, 1]]) {
    const choices = Array.from(
      randomIntegers(count, values, `margins ${count}`),
      (margin, i) => ({ margin, loss: i % 3 }),
    );
    const { bins, right } = measureReliability(choices);
    assert(bins.length <= Math.min(10, count), `${bins.length} bins`);
    for (const { from, to, sequences, right } of bins) {
      const own = choices.filter(({ margin }) => margin >= from && margin <= to);
      assertEquals([own.length, own.filter(({ loss }) => loss === 0).length], [
        sequences,
        Math.round(right * sequences),
      ]);
    }
    assertEquals(bins.reduce((sum, { sequences }) => sum + sequences, 0), count);
    assertEquals(Math.round(right * count), choices.filter(({ loss }) => loss === 0).length);
  }
});
