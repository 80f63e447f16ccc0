import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  largerDenseShape,
  type ModelConfig,
  modelShapes,
  parameterCount,
  parameterSpecs,
  validateModelConfig,
} from "../../../pipeline/model/shape.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

const GOOD: ModelConfig = { vocabulary: 11, hidden: 12, layers: 2, heads: 2, context: 16 };

Deno.test("validateModelConfig() refuses impossible shapes by name and value", () => {
  validateModelConfig(GOOD);
  validateModelConfig({ vocabulary: 1, hidden: 2, layers: 1, heads: 1, context: 1 });
  for (const name of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    for (const value of [0, -1, 1.5, NaN, Infinity, 1e9, 2 ** 53]) {
      const message = `Cannot build the router as ${name} must be a whole number from 1 to `;
      assertThrows(
        () => validateModelConfig({ ...GOOD, [name]: value }, "the router"),
        InputError,
        message,
      );
    }
  }
  validateModelConfig({ ...GOOD, sublayers: ["mlp", "attention"] });
  const refused: [Partial<ModelConfig>, string][] = [
    [{ heads: 5 }, "hidden must be divisible by heads: hidden is 12, heads is 5"],
    [{ heads: 4 }, "hidden / heads must be even for rotary positions: hidden is 12, heads is 4"],
    [{ hidden: 416, heads: 12 }, "hidden is 416, heads is 12"], // the paper's 64M router
    [
      { sublayers: ["mlp", "moe"] },
      'its sublayers must be some of attention, mlp, switch, grouped-attention, gated-mlp: one is "moe"',
    ],
  ];
  for (const [change, fact] of refused) {
    assertThrows(() => validateModelConfig({ ...GOOD, ...change }), InputError, fact);
  }
});

Deno.test("parameterCount() gives the paper's sizes", () => {
  const count = (hidden: number, layers: number, heads: number) => {
    const config = { vocabulary: 32_000, hidden, layers, heads, context: 1024 };
    validateModelConfig(config);
    return parameterCount(config);
  };
  // 12·L·H² + V·H of the paper, and 13·L·H + 2·H of biases and LayerNorms.
  const sizes = [[96, 12, 12, 4.4], [768, 12, 12, 109.5], [1024, 24, 16, 334.8], [
    2048,
    24,
    16,
    1274,
  ]];
  for (const [hidden, layers, heads, millions] of sizes) {
    const biases = 13 * layers * hidden + 2 * hidden;
    const all = count(hidden, layers, heads);
    assertEquals(all, 12 * layers * hidden ** 2 + 32_000 * hidden + biases);
    assert(Math.abs(all - biases - millions * 1e6) <= 0.005 * millions * 1e6);
  }
});

Deno.test("parameterSpecs() lists every tensor of a Hugging Face checkpoint once, biases after gains", () => {
  const names = parameterSpecs(GOOD).map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  assertEquals(names.length, 1 + 2 * 12 + 2);
  names.forEach((name, i) => {
    if (name.endsWith("norm.weight")) assertEquals(names[i + 1], name.replace("weight", "bias"));
  });
  assertEquals(parameterSpecs(GOOD)[3], {
    name: "gpt_neox.layers.0.attention.query_key_value.weight",
    shape: [36, 12],
    initial: "normal",
  });
});

Deno.test("modelShapes() gives routers and experts their own sizes, and both one vocabulary and context", () => {
  const c = resolveConfiguration({ preset: "paper-1.3b" });
  const common = { vocabulary: 32_000, context: 1024 };
  assertEquals(modelShapes(c), {
    router: { ...common, hidden: 96, layers: 12, heads: 12 },
    expert: { ...common, hidden: 2048, layers: 24, heads: 16 },
  });
  const { expert } = modelShapes({ ...c, vocabularySize: 99 });
  assertEquals(parameterSpecs(expert)[0].shape, [99, 2048]);
});

Deno.test("largerDenseShape() makes the paper's 1.3B of its 335M, and of other presets about four times an expert", () => {
  const of = (flags: Partial<Configuration>, preset?: string) => {
    const c = resolveConfiguration({ preset, flags });
    const [larger, { expert }] = [largerDenseShape(c), modelShapes(c)];
    return { larger, times: parameterCount(larger) / parameterCount(expert) };
  };
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  assertEquals(of({}, "paper-335m").larger, modelShapes(paper).expert);
  for (const preset of ["tiny", "small", "paper-335m", "paper-1.3b"]) {
    const { times } = of({}, preset);
    assert(times >= 3.5 && times <= 4.5, `${preset}: ${times.toFixed(2)} times`);
  }
  const { larger } = of({ denseHidden: 24, denseLayers: 5, denseHeads: 3 });
  assertEquals([larger.hidden, larger.layers, larger.heads], [24, 5, 3]);
});
