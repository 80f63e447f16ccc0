import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { initialWeights, isLaidOutAlike } from "../../../pipeline/model/parameters.ts";

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

Deno.test("isLaidOutAlike() tells banks whose tensors lie in segments as those of one model do", () => {
  const alike = (limit: number) => [1, 2, 20, 99].map((models) => isLaidOutAlike(CONFIG, models, limit));
  assertEquals(alike(2 ** 30), [true, true, true, true]);
  assertEquals(alike(2 ** 16), [true, true, false, false]); // 20 take two segments, 99 have no room for a tensor
});
