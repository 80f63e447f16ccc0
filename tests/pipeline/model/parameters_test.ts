import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import {
  createBank,
  findParameter,
  initialWeights,
  planLayout,
  planTransposes,
  readTensors,
  writeTensors,
} from "../../../pipeline/model/parameters.ts";
import { gpu } from "../../kernels/support.ts";

fc.configureGlobal({ seed: 1 });

const CONFIG: ModelConfig = { vocabulary: 11, hidden: 6, layers: 3, heads: 3, context: 16 };
const LARGEST = 4 * 6 * padded(6); // the MLP's weights
const UNLIMITED = 2 ** 30;

const shapes = fc.record({
  vocabulary: fc.integer({ min: 1, max: 40 }),
  half: fc.integer({ min: 1, max: 5 }),
  heads: fc.integer({ min: 1, max: 3 }),
  layers: fc.integer({ min: 1, max: 4 }),
}).map(({ half, heads, ...rest }): ModelConfig => ({ ...rest, heads, hidden: 2 * half * heads, context: 8 }));

Deno.test("planLayout() gives every tensor a place of its own within segments below the limit, matrices first", () => {
  const cases = fc.tuple(shapes, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 3000 }));
  fc.assert(fc.property(cases, ([config, models, spare]) => {
    const { vocabulary, hidden } = config;
    const largest = Math.max(
      vocabulary * padded(hidden),
      hidden * padded(vocabulary),
      4 * hidden * padded(hidden),
    );
    const limit = 4 * models * (largest + spare);
    const layout = planLayout(config, models, limit);
    const specs = parameterSpecs(config);
    assertEquals(layout.placements.size, specs.length);
    const check = (sizes: number[], placements: typeof layout.placements) => {
      for (const size of sizes) {
        assert(size % 4 === 0 && size * models * 4 <= limit, `segment of ${size} values`);
      }
      const used = sizes.map((size) => new Uint8Array(size));
      for (const [name, { segment, offset, rows, columns, stride }] of placements) {
        assertEquals([offset % 4, stride], [0, padded(columns)], name);
        const range = used[segment].subarray(offset, offset + rows * stride);
        assertEquals(range.length, rows * stride, `${name} lies inside its segment`);
        assert(!range.includes(1), `${name} lies where another tensor does`);
        range.fill(1);
      }
      assert(used.every((values) => !values.includes(0)), "no gaps");
    };
    check(layout.segments.map(({ size }) => size), layout.placements);
    check(layout.transposedSegments, layout.transposedPlacements);
    for (const { name, shape } of specs) {
      const { segment, offset, rows, columns } = layout.placements.get(name)!;
      assertEquals([rows, columns], shape.length === 2 ? shape : [1, shape[0]], name);
      assertEquals(offset < layout.segments[segment].decayed, shape.length === 2, `${name} decays`);
      if (shape.length === 2) {
        const transposed = layout.transposedPlacements.get(name)!;
        assertEquals([transposed.columns, transposed.rows], shape, name);
      }
      if (name.endsWith("norm.weight")) { // LayerNorm reads both as one tensor
        const bias = layout.placements.get(name.replace("weight", "bias"))!;
        assertEquals([bias.segment, bias.offset], [segment, offset + padded(columns)], name);
      }
    }
  }));
});

Deno.test("planLayout() refuses a tensor beyond the limit by its name and both numbers", () => {
  assertEquals(planLayout(CONFIG, 3, LARGEST * 4 * 3).segments.length > 1, true);
  const message = `it needs ${LARGEST * 12} bytes, the limit is ${(LARGEST - 1) * 12}`;
  assertThrows(() => planLayout(CONFIG, 3, LARGEST * 4 * 3 - 4), InputError, message);
});

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

for (const limit of [UNLIMITED, LARGEST * 4 * 3]) {
  const segments = limit === UNLIMITED ? "one segment" : "many segments";

  Deno.test(`readTensors() gives back what createBank() and writeTensors() uploaded, and planTransposes() turns every matrix of every model, in ${segments}`, async () => {
    const arena = gpu.arena();
    const others = [4, 5, 6].map((seed) => initialWeights(CONFIG, seed));
    const bank = createBank({ ...gpu, maxBindingBytes: limit }, arena, CONFIG, others);
    assertEquals(bank.layout.segments.length > 1, limit !== UNLIMITED);
    assertEquals(await readTensors(gpu, bank.layout, bank.weights), others);
    const models = [1, 2, 3].map((seed) => initialWeights(CONFIG, seed));
    writeTensors(gpu, bank.layout, bank.weights, models);
    assertEquals(await readTensors(gpu, bank.layout, bank.weights), models);
    gpu.submit(planTransposes(gpu, bank));
    const buffers = (await gpu.read(bank.transposed.map((buffer) => ({ buffer })))).map((b) =>
      new Float32Array(b)
    );
    for (const { name, shape: [rows, columns] } of parameterSpecs(CONFIG)) {
      if (columns === undefined) continue;
      const { buffer, offset = 0, stride, model } = findParameter(bank, name).transposed;
      const values = buffers[bank.transposed.indexOf(buffer)];
      models.forEach((weights, index) => {
        const turned = Float32Array.from({ length: rows * columns }, (_, i) => {
          const [row, column] = [Math.floor(i / columns), i % columns];
          return values[offset + index * model + column * stride + row];
        });
        assertEquals(turned, weights.get(name), `${name} of model ${index}`);
      });
    }
    arena.destroy();
  });
}
