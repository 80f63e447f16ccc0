import { padded } from "../../../../kernels/device/matrix.ts";
import { createBank, parameterOf } from "../../../../pipeline/model/parameters.ts";
import { LAYER_NORM_EPSILON, linear, norm } from "../../../../pipeline/model/sublayers/parts.ts";
import type { Pass } from "../../../../pipeline/model/sublayers/sublayer.ts";
import { planTransposes } from "../../../../pipeline/model/transformer.ts";
import { assertClose, gpu, random } from "../../../kernels/support.ts";
import { anyWeights } from "../support.ts";

const CONFIG = { vocabulary: 7, hidden: 6, layers: 1, heads: 1, context: 4 };
const PREFIX = "gpt_neox.layers.0";

Deno.test("norm() and linear() compute what their names say of every model and row, in f64 to the last few bits of f32", async () => {
  const { hidden } = CONFIG;
  const [models, rows, stride, wide] = [2, 3, padded(hidden), 4 * hidden];
  const arena = gpu.arena();
  const weights = [0, 1].map((i) => anyWeights(CONFIG, i));
  const bank = createBank(gpu, arena, CONFIG, weights);
  const values = random(models * rows * stride, "stream");
  for (let row = 0; row < models * rows; row++) values.fill(0, row * stride + hidden, (row + 1) * stride);
  const [x, y, out] = [
    arena.buffer("x", values),
    arena.buffer("y", values.byteLength),
    arena.buffer("out", models * rows * wide * 4),
  ];
  const statistics = arena.buffer("statistics", models * rows * 2 * 4);
  const pass = {
    gpu,
    config: CONFIG,
    shape: { models, batch: 1, length: rows },
    parameter: (name: string) => parameterOf(bank, `${PREFIX}.${name}`),
    buffers: {},
  } as unknown as Pass;
  gpu.submit([
    ...planTransposes(gpu, bank),
    norm(pass, "post_attention_layernorm", { x, y, statistics }),
    ...linear(pass, "mlp.dense_h_to_4h", { x: y, y: out, tail: "bias" }),
  ]);
  const result = new Float32Array((await gpu.read([{ buffer: out }]))[0]);
  for (let row = 0; row < models * rows; row++) {
    const tensor = (name: string) => weights[Math.floor(row / rows)].get(`${PREFIX}.${name}`)!;
    const own = [...values.subarray(row * stride, row * stride + hidden)];
    const mean = own.reduce((a, b) => a + b) / hidden;
    const variance = own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / hidden;
    const normalized = own.map((value, i) =>
      (value - mean) / Math.sqrt(variance + LAYER_NORM_EPSILON) *
        tensor("post_attention_layernorm.weight")[i] + tensor("post_attention_layernorm.bias")[i]
    );
    const expected = Array.from(tensor("mlp.dense_h_to_4h.bias"), (bias, output) =>
      normalized.reduce(
        (sum, value, i) => sum + value * tensor("mlp.dense_h_to_4h.weight")[output * hidden + i],
        bias,
      ));
    const actual = result.subarray(row * wide, (row + 1) * wide);
    assertClose(actual, expected, { atol: 1e-5, rtol: 1e-5 }, `row ${row}`);
  }
  arena.destroy();
});
