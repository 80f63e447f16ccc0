import { assert, assertEquals } from "@std/assert";
import { type Choice, choicesOf, reliabilityOf } from "../../../pipeline/evaluation/reliability.ts";
import { randomIntegers } from "../../kernels/support.ts";

Deno.test("reliabilityOf() counts right choices and averages what wrong ones lose, of all and by margin", () => {
  const choices = Array.from({ length: 20 }, (_, i): Choice => ({ margin: i, loss: i < 10 ? i % 2 : 0 }));
  choices[2].loss = 4;
  const { sequences, right, loss, bins } = reliabilityOf(choices.toReversed());
  assertEquals([sequences, right, loss], [20, 14 / 20, 9 / 6]);
  assertEquals(bins.length, 10);
  assertEquals(bins[0], { from: 0, to: 1, sequences: 2, right: 0.5, loss: 1 });
  assertEquals(bins[1], { from: 2, to: 3, sequences: 2, right: 0, loss: 2.5 });
  assertEquals(bins[9], { from: 18, to: 19, sequences: 2, right: 1, loss: null });
});

Deno.test("reliabilityOf() puts every sequence into one bin, equal margins into the same, however many there are", () => {
  for (const [count, values] of [[1, 1], [3, 9], [9, 2], [95, 4], [1000, 1000], [50, 1]]) {
    const choices = Array.from(
      randomIntegers(count, values, `margins ${count}`),
      (margin, i) => ({ margin, loss: i % 3 }),
    );
    const { bins, right } = reliabilityOf(choices);
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

Deno.test("choicesOf() takes an expert that is as good as the best for right", () => {
  const block = {
    rows: 3,
    document: new Uint32Array(3),
    source: new Uint32Array(3),
    predicted: new Uint32Array(3),
    routes: Uint16Array.of(0, 1, 1, 0, 0, 0), // [rows, prefixes]
    margin: Float64Array.of(1, 2, 3),
    nll: Float32Array.of(5, 5, 7, 4, 2, 2.5), // [rows, E]
  };
  assertEquals([...choicesOf([block], 1)], [{ margin: 1, loss: 0 }, { margin: 2, loss: 3 }, {
    margin: 3,
    loss: 0,
  }]);
});
