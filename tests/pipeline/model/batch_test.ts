import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import { shiftTargets } from "../../../pipeline/model/batch.ts";

fc.configureGlobal({ seed: 1 });

/** Runs shiftTargets() on arrays full of leftovers. */
function shift(
  tokens: number[],
  lengths: number[],
  models: number,
  length: number,
  sum?: boolean,
  begins?: number[],
) {
  const targets = new Uint32Array(tokens.length).fill(77);
  const weights = new Float32Array(tokens.length).fill(77);
  const batch = {
    ...{ tokens: Uint32Array.from(tokens), lengths: Uint32Array.from(lengths) },
    begins: begins && Uint32Array.from(begins),
  };
  const predicted = shiftTargets(batch, models, length, 10, targets, weights, { sum });
  return { targets: [...targets], weights: [...weights], predicted: [...predicted] };
}

Deno.test("shiftTargets() gives each token its successor and its part of the mean of its model, or of the sum, and masks the rest", () => {
  assertEquals(shift([1, 2, 3, 4, 5, 6, 9, 9], [4, 2], 1, 4), {
    targets: [2, 3, 4, 0, 6, 0, 0, 0],
    weights: [0.25, 0.25, 0.25, 0, 0.25, 0, 0, 0],
    predicted: [4],
  });
  const two = shift([1, 2, 3, 4, 5, 6], [3, 2], 2, 3);
  assertEquals([two.weights, two.predicted], [[0.5, 0.5, 0, 1, 0, 0], [2, 1]]);
  assertEquals(shift([1, 2, 3, 4, 5, 6], [3, 2], 2, 3, true).weights, [1, 1, 0, 1, 0, 0]);
  const nothing = { targets: [0, 0, 0, 0], weights: [0, 0, 0, 0], predicted: [0] };
  assertEquals(shift([1, 2, 3, 4], [0, 1], 1, 2), nothing); // empty sequences and single tokens
});

Deno.test("shiftTargets() counts every row from its beginning on, in the mean over the rows of its model", () => {
  const tokens = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];
  const result = shift(tokens, [4, 2, 3, 2], 2, 4, false, [2, 0, 9, 1]);
  assertEquals(result.targets, [0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]);
  const third = Math.fround(1 / 3);
  assertEquals(result.weights, [0, third, third, 0, third, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
  assertEquals(result.predicted, [3, 1]);
});

Deno.test("shiftTargets() has weights that add up to one per model, and never looks at padding", () => {
  const batches = fc.record({
    models: fc.integer({ min: 1, max: 3 }),
    batch: fc.integer({ min: 1, max: 4 }),
    length: fc.integer({ min: 2, max: 6 }),
  }).chain(({ models, batch, length }) =>
    fc.record({
      models: fc.constant(models),
      length: fc.constant(length),
      lengths: fc.array(fc.integer({ min: 0, max: length }), {
        minLength: models * batch,
        maxLength: models * batch,
      }),
      tokens: fc.array(fc.nat(9), { minLength: models * batch * length, maxLength: models * batch * length }),
    })
  );
  fc.assert(fc.property(batches, ({ models, length, lengths, tokens }) => {
    const result = shift(tokens, lengths, models, length);
    const size = tokens.length / models;
    result.predicted.forEach((predicted, model) => {
      const total = result.weights.slice(model * size, (model + 1) * size).reduce((a, b) => a + b, 0);
      assertAlmostEquals(total, predicted > 0 ? 1 : 0, 1e-6);
    });
    const other = tokens.map((token, i) => i % length < lengths[Math.floor(i / length)] ? token : 9 - token);
    assertEquals(shift(other, lengths, models, length), result);
  }));
});

Deno.test("shiftTargets() refuses a token id that is not below the vocabulary, by its place", () => {
  const message = "sequence 1, position 2 holds 10, the vocabulary is 10";
  assertThrows(() => shift([1, 2, 3, 4, 5, 10], [3, 3], 1, 3), InputError, message);
  assertThrows(() => shift([0xffffffff, 0], [2], 1, 2), InputError, "position 0 holds 4294967295");
});
