import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { type Dispatch, floatBits, type GpuBuffer } from "../../../../kernels/device/gpu.ts";
import { type Matrix, padded } from "../../../../kernels/device/matrix.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../../pipeline/checkpoints/checkpoint.ts";
import { forwardFlops } from "../../../../pipeline/cost/flops.ts";
import { inferenceMemory, trainingMemory } from "../../../../pipeline/cost/memory.ts";
import { createDecoder } from "../../../../pipeline/model/decoder.ts";
import { initialWeights } from "../../../../pipeline/model/parameters.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import { type ModelConfig, parameterCount, parameterSpecs } from "../../../../pipeline/model/shape.ts";
import { layerOf, SUBLAYERS, sublayersOf } from "../../../../pipeline/model/sublayers/layer.ts";
import {
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
} from "../../../../pipeline/model/sublayers/parts.ts";
import type { Pass, Sublayer } from "../../../../pipeline/model/sublayers/sublayer.ts";
import { createTrainer } from "../../../../pipeline/model/trainer.ts";
import { assertClose, gpu } from "../../../kernels/support.ts";
import { BRANCHES, logitsReference, meanNll, sequenceNll } from "../reference.ts";
import { anyBatch, anyWeights, assertSameTensors, assertSlopes, batchOf, sequencesOf } from "../support.ts";

/** What the toy adds to the loss per real token and unit of its biases' sum. */
const RATE = 0.003;

/** The toy: `y = x + W · LayerNorm(x) + b`. It pulls its biases down by a part of the loss, and counts the real tokens. */
const toy: Sublayer = {
  name: "toy",
  parameters: ({ hidden }, prefix) => [
    ...normParameters(`${prefix}.toy.before`, hidden),
    ...linearParameters(`${prefix}.toy.linear`, hidden, hidden, "residual"),
  ],
  buffers: ({ hidden }, { shape: { models, batch, length }, dtype }) => ({
    layer: {
      normalized: { values: models * batch * length * padded(hidden), storage: dtype },
      statistics: { values: 2 * models * batch * length },
    },
    scratch: {},
  }),
  forward(pass) {
    const { x, y, mode, buffers: { normalized, statistics }, reports } = pass;
    const branch = { x: normalized, tail: "bias_residual", extra: x } as const;
    const { matrix } = pass.parameter("toy.linear.bias");
    return [
      norm(pass, "toy.before", { x, y: normalized, statistics }),
      ...y ? linear(pass, "toy.linear", { ...branch, y }) : [],
      ...mode === "train" ? [pull(pass, REPORT, [matrix.buffer, reports.buffer], matrix)] : [],
    ];
  },
  backward(pass) {
    const { x, residual, branch, buffers: { normalized, statistics } } = pass;
    const { gradient } = pass.parameter("toy.linear.bias");
    return [
      ...linearBackward(pass, "toy.linear", { dY: residual, x: normalized, dX: branch }),
      pull(pass, GRADIENT, [gradient.buffer], gradient),
      ...normBackward(pass, "toy.before", { x, statistics }),
    ];
  },
  flops: ({ hidden }, sequences, length) => 2 * sequences * length * hidden ** 2,
  reports: [{ name: "pull", loss: true }, { name: "tokens" }],
};

const HEAD = `
struct Params { batch: u32, columns: u32, offset: u32, model: u32, rate: f32, report: u32, reports: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;
fn tokens(model: u32) -> f32 {
  var sum = 0u;
  for (var i = 0u; i < params.batch; i++) { sum += lengths[model * params.batch + i]; }
  return f32(sum);
}
`;
const REPORT = `${HEAD}
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> reports: array<f32>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3u) {
  var sum = 0.0;
  for (var i = 0u; i < params.columns; i++) { sum += bias[params.offset + group.z * params.model + i]; }
  let place = params.report + group.z * params.reports;
  reports[place] = params.rate * tokens(group.z) * sum;
  reports[place + 1u] = tokens(group.z);
}
`;
const GRADIENT = `${HEAD}
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3u) {
  for (var i = 0u; i < params.columns; i++) {
    gradient[params.offset + group.z * params.model + i] += params.rate * tokens(group.z);
  }
}
`;

function pull(
  { gpu, config, shape, lengths, reports }: Pass,
  code: string,
  buffers: GpuBuffer[],
  { offset = 0, model }: Matrix,
): Dispatch {
  const params = [shape.batch, config.hidden, offset, model, floatBits(RATE), reports.offset, reports.model];
  const label = code === REPORT ? "toy_report" : "toy_gradient";
  return gpu.dispatch({
    label,
    code,
    params,
    buffers: [lengths, ...buffers],
    workgroups: 1,
    models: shape.models,
  });
}

SUBLAYERS.set("toy", toy);
BRANCHES.toy = (stream, { norm, linear }) => stream.map((x) => linear("toy.linear", norm("toy.before", x)));

const PLAIN: ModelConfig = { vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9 };
const CONFIG: ModelConfig = { ...PLAIN, sublayers: ["attention", "toy", "mlp"] };
const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 };
const SHAPE = { models: 2, batch: 4, length: 9 };
const WEIGHTS = [0, 1].map((i) => anyWeights(CONFIG, i));

/** Takes a step of two models with the toy. */
async function step({ microBatch = 4, recompute = false } = {}) {
  const options = { config: CONFIG, batch: SHAPE.batch, length: SHAPE.length, settings: SETTINGS };
  const trainer = createTrainer(gpu, { ...options, start: WEIGHTS, microBatch, recompute });
  const batch = anyBatch(CONFIG, SHAPE);
  const evaluated = await trainer.evaluate(batch);
  trainer.step(batch, 0.01);
  const [result] = await trainer.drain();
  const gradients = await trainer.gradients();
  const { bytes } = trainer;
  trainer.close();
  return { batch, evaluated, result, gradients, bytes };
}

Deno.test("layerOf() and sublayersOf() give attention and MLP unless others are named, and refuse what there is not", () => {
  assertEquals(layerOf(PLAIN).map(({ name }) => name), ["attention", "mlp"]);
  assertEquals(
    sublayersOf(CONFIG).map(({ sublayer, layer, prefix }) => `${layer} ${prefix} ${sublayer.name}`),
    [0, 1].flatMap((i) => ["attention", "toy", "mlp"].map((name) => `${i} gpt_neox.layers.${i} ${name}`)),
  );
  assertThrows(
    () => layerOf({ ...PLAIN, sublayers: ["mlp", "none"] }),
    InputError,
    'Cannot build a model as its sublayers must be some of attention, mlp, switch, toy: one is "none"',
  );
});

Deno.test("a sublayer of a test trains: loss, extra loss and gradients are those of an independent f64 model", async () => {
  const { batch, evaluated, result, gradients } = await step();
  for (let model = 0; model < SHAPE.models; model++) {
    const own = batchOf(batch, SHAPE.models, model);
    const sequences = sequencesOf(own);
    const tokens = own.lengths.reduce((sum, real) => sum + real, 0);
    const pulled = (weights: ReadonlyMap<string, ArrayLike<number>>) =>
      [0, 1].reduce((sum, layer) => {
        const bias = Array.from(weights.get(`gpt_neox.layers.${layer}.toy.linear.bias`)!);
        return sum + RATE * tokens * bias.reduce((a, b) => a + b, 0);
      }, 0);
    const loss = (weights: ReadonlyMap<string, ArrayLike<number>>) =>
      meanNll(CONFIG, weights, sequences) + pulled(weights);
    assertAlmostEquals(result.loss[model], loss(WEIGHTS[model]), 1e-4);
    assertAlmostEquals(result.reports.pull[model], pulled(WEIGHTS[model]), 1e-5);
    assertEquals(result.reports.tokens[model], 2 * tokens);
    const mean = evaluated.nll[model] / evaluated.predicted[model]; // without the extra loss
    assertAlmostEquals(mean, meanNll(CONFIG, WEIGHTS[model], sequences), 1e-4);
    assertSlopes(loss, WEIGHTS[model], gradients[model], `model ${model}`);
  }
});

Deno.test("a sublayer of a test reports the same over micro-batches, and learns the same with recomputation", async () => {
  const [whole, micro] = [await step(), await step({ microBatch: 2 })];
  assertEquals(micro.result.reports.tokens, whole.result.reports.tokens);
  for (let model = 0; model < SHAPE.models; model++) {
    assertAlmostEquals(micro.result.loss[model], whole.result.loss[model], 1e-5);
    assertAlmostEquals(micro.result.reports.pull[model], whole.result.reports.pull[model], 1e-5);
  }
  const again = await step({ recompute: true });
  assertEquals(again.result, whole.result);
  again.gradients.forEach((tensors, i) => assertSameTensors(tensors, whole.gradients[i], `model ${i}`));
});

Deno.test("a sublayer of a test scores and decodes", async () => {
  const { tokens, lengths } = anyBatch(CONFIG, { ...SHAPE, models: 1 });
  const scorer = createScorer(gpu, { config: CONFIG, models: WEIGHTS, batch: 2, length: 9 });
  const nll = await scorer.score(tokens, 9, lengths);
  scorer.close();
  sequencesOf({ tokens, lengths }).forEach((sequence, row) => {
    const expected = WEIGHTS.map((weights) =>
      sequence.length > 1 ? sequenceNll(CONFIG, weights, sequence) : 0
    );
    assertClose(
      nll.subarray(row * 2, row * 2 + 2),
      expected,
      { atol: 1e-4, rtol: 1e-4 },
      `NLL of row ${row}`,
    );
  });
  const decoder = createDecoder(gpu, { config: CONFIG, weights: WEIGHTS[0], capacity: 9 });
  const text = [...tokens.subarray(27, 36)];
  const expected = logitsReference(CONFIG, WEIGHTS[0], text);
  for (const [begin, end] of [[0, 5], [5, 6], [6, 9]]) {
    const [logits] = await decoder.read([{ slot: 0, tokens: text.slice(begin, end) }]);
    assertClose(logits, expected[end - 1], { atol: 1e-4, rtol: 1e-4 }, `logits after ${end} tokens`);
  }
  decoder.close();
});

Deno.test("names on disk, weights, FLOPs and memory follow from the list of sublayers", async () => {
  const { hidden, layers } = PLAIN;
  const own = (name: string) => name.includes(".toy.");
  const names = parameterSpecs(CONFIG).map(({ name }) => name);
  assertEquals(names.filter((name) => !own(name)), parameterSpecs(PLAIN).map(({ name }) => name));
  assertEquals(
    names.filter(own),
    [0, 1].flatMap((layer) =>
      ["before.weight", "before.bias", "linear.weight", "linear.bias"].map((name) =>
        `gpt_neox.layers.${layer}.toy.${name}`
      )
    ),
  );
  const added = layers * (hidden ** 2 + 3 * hidden);
  assertEquals(parameterCount(CONFIG) - parameterCount(PLAIN), added);
  assertEquals(forwardFlops(CONFIG, 3, 5) - forwardFlops(PLAIN, 3, 5), layers * 2 * 15 * hidden ** 2);

  const { bytes } = await step({ microBatch: 2 });
  const { total } = trainingMemory(CONFIG, { models: 2, batch: 4, microBatch: 2, length: 9 });
  assert(Math.abs(total - bytes) < 0.02 * bytes, `predicted ${total}, held ${bytes}`);
  const without = trainingMemory(PLAIN, { models: 2, batch: 4, microBatch: 2, length: 9 });
  assert(total - without.total > 2 * 4 * 4 * added); // weights, gradients and moments of both models, and activations
  const [scoring, less] = [CONFIG, PLAIN].map((config) =>
    inferenceMemory(config, { capacity: 9, batch: 2, length: 9 })
  );
  assert(scoring.weights > less.weights && scoring.activations > less.activations);
  assertEquals(scoring.cache, less.cache);

  const folder = await Deno.makeTempDir();
  try {
    const weights = initialWeights(CONFIG, 1);
    await saveCheckpoint(folder, CONFIG, weights, { eos: 3 });
    const loaded = await loadCheckpoint(folder);
    assertEquals(loaded.config, CONFIG);
    assertEquals(loaded.notes, { eos: 3 });
    assertSameTensors(loaded.weights, weights);
    assertEquals([...weights.keys()], names);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
