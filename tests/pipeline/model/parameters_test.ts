import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { initialWeights, modelsPerBank } from "../../../pipeline/model/parameters.ts";

const CONFIG: ModelConfig = { vocabulary: 11, hidden: 6, layers: 3, heads: 3, context: 16 };

Deno.test("initialWeights() is a function of shape and seed", () => {
  assertEquals(initialWeights(CONFIG, 7), initialWeights(CONFIG, 7));
  assertNotEquals(initialWeights(CONFIG, 7), initialWeights(CONFIG, 8));
  const deeper = initialWeights({ ...CONFIG, layers: 5 }, 7); // names decide, not what came before
  const name = "gpt_neox.layers.2.mlp.dense_h_to_4h.weight";
  assertEquals(deeper.get(name), initialWeights(CONFIG, 7).get(name));
});

Deno.test("initialWeights() draws normal(0, 0.02), smaller where it writes into the residual stream, biases 0, gains 1", () => {
  const config = { vocabulary: 500, hidden: 64, layers: 8, heads: 4, context: 16 };
  const weights = initialWeights(config, 1);
  assertEquals([...weights.keys()], parameterSpecs(config).map(({ name }) => name));
  for (const { name, shape } of parameterSpecs(config)) {
    const values = weights.get(name)!;
    assertEquals(values.length, shape.reduce((a, b) => a * b, 1));
    if (shape.length === 1) {
      assertEquals([...new Set(values)], [name.endsWith("norm.weight") ? 1 : 0], name);
      continue;
    }
    const residual = name.includes("attention.dense") || name.includes("dense_4h_to_h");
    const deviation = 0.02 / (residual ? Math.sqrt(2 * 8) : 1);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const square = values.reduce((sum, value) => sum + value ** 2, 0) / values.length;
    // 4,096 values or more: five standard errors of their mean and deviation.
    assert(Math.abs(mean) < 5 * deviation / Math.sqrt(values.length), `mean of ${name} is ${mean}`);
    const error = Math.abs(Math.sqrt(square) / deviation - 1);
    assert(error < 5 / Math.sqrt(2 * values.length), `deviation of ${name} is off by ${error}`);
  }
});

Deno.test("modelsPerBank() reports how many models fit, and refuses one that does not, by tensor and numbers", () => {
  const config = { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, context: 1024 };
  const shape = { models: 32, batch: 4, length: 256 };
  const embedding = 32_000 * 96 * 4;
  const limit = 128 * 1024 * 1024;
  assertEquals(modelsPerBank(config, shape, limit), 7); // 17.6 MB of weights each
  assertEquals(modelsPerBank(config, { ...shape, models: 4 }, limit), 4);
  assertEquals(modelsPerBank(config, shape, embedding), 1);
  const stacked = {
    ...config,
    sublayers: ["switch"],
    switch: { experts: 2, capacity: 1, balance: 0 },
  };
  assertEquals(modelsPerBank(stacked, shape, limit), 1);
  const refused = (batch: number, limit: number, pattern: RegExp) =>
    assertMatch(
      assertThrows(() => modelsPerBank(config, { ...shape, batch }, limit), InputError).message,
      pattern,
    );
  refused(
    4,
    embedding - 1,
    /tensor "gpt_neox.embed_in.weight" .* needs 12288000 bytes, .*; use a smaller model$/,
  );
  refused(
    4096,
    limit,
    /activations "inner" of mlp .* needs 1610612736 bytes, .*; use a smaller batch$/,
  );
});
