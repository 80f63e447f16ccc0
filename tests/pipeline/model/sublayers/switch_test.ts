import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  loadCheckpoint,
  saveCheckpoint,
} from "../../../../pipeline/model/checkpoints/checkpoint.ts";
import { forwardFlops } from "../../../../pipeline/cost/flops.ts";
import { inferenceMemory, trainingMemory } from "../../../../pipeline/cost/memory.ts";
import { createDecoder } from "../../../../pipeline/model/decoder.ts";
import { initialWeights, type Weights } from "../../../../pipeline/model/parameters.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import {
  type ModelConfig,
  parameterCount,
  validateModelConfig,
} from "../../../../pipeline/model/shape.ts";
import { createTrainer } from "../../../../pipeline/model/trainer.ts";
import { assertClose, assertSameBits, gpu, random } from "../../../kernels/support.ts";
import { logitsReference, sequenceNll } from "../reference.ts";
import { anyBatch, anyWeights, assertSameTensors, assertTensors, sequencesOf } from "../support.ts";
import { inFolder } from "../../../tasks/support.ts";

const PLAIN: ModelConfig = { vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9 };
const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 };
const BALANCE = 0.01;
const withExperts = (experts: number, capacity = 1.25): ModelConfig => ({
  ...PLAIN,
  sublayers: ["attention", "switch"],
  switch: { experts, capacity, balance: BALANCE },
});
const CONFIG = withExperts(3);

/** Takes one step; gives what it reports and the gradients. */
async function step(
  config: ModelConfig,
  weights: Weights,
  batch = anyBatch(config, { models: 1, batch: 4, length: 9 }),
  more = {},
) {
  const size = batch.lengths.length;
  const trainer = createTrainer(gpu, {
    config,
    start: [weights],
    batch: size,
    length: 9,
    settings: SETTINGS,
    ...more,
  });
  trainer.step(batch, 0.01);
  const [result] = await trainer.drain();
  const [gradients] = await trainer.gradients();
  const { bytes } = trainer;
  trainer.close();
  return { result, gradients, bytes };
}

/** A model whose routers send every token to one expert, whatever it is. */
function oneWay(config: ModelConfig, expert: number): Weights {
  const weights = anyWeights(config, "one way");
  const { hidden } = config;
  for (const [name, values] of weights) {
    if (!name.endsWith("router.weight")) continue;
    // The bias of the LayerNorm makes its outputs add up to 6 and more.
    values.fill(0).fill(5, expert * hidden, (expert + 1) * hidden);
    weights.get(name.replace("mlp.router.weight", "post_attention_layernorm.bias"))!.fill(9);
  }
  return weights;
}

Deno.test("a Switch model scores as an independent f64 model, and no token depends on its company", async () => {
  const weights = [0, 1].map((i) => anyWeights(CONFIG, i));
  const { tokens, lengths } = anyBatch(CONFIG, { models: 1, batch: 5, length: 9 });
  const scores: Float32Array[] = [];
  for (const batch of [1, 2, 5]) {
    const scorer = createScorer(gpu, { config: CONFIG, models: weights, batch, length: 9 });
    scores.push(await scorer.score(tokens, 9, lengths));
    scorer.close();
  }
  for (const other of scores.slice(1)) assertSameBits(other, scores[0], "NLL in other company");
  sequencesOf({ tokens, lengths }).forEach((sequence, row) => {
    const expected = weights.map((own) =>
      sequence.length > 1 ? sequenceNll(CONFIG, own, sequence) : 0
    );
    assertClose(
      scores[0].subarray(2 * row, 2 * row + 2),
      expected,
      { atol: 2e-4, rtol: 1e-4 },
      `NLL of row ${row}`,
    );
  });
});

Deno.test("a Switch model decodes as an independent f64 model, next to others as alone", async () => {
  const weights = anyWeights(CONFIG, 0);
  const text = [...anyBatch(CONFIG, { models: 1, batch: 1, length: 9 }).tokens];
  const expected = logitsReference(CONFIG, weights, text);
  const decoder = createDecoder(gpu, { config: CONFIG, weights, capacity: 9, slots: 3 });
  const alone: Float32Array[] = [];
  for (const [begin, end] of [[0, 5], [5, 6], [6, 9]]) {
    const [logits] = await decoder.read([{ slot: 0, tokens: text.slice(begin, end) }]);
    assertClose(
      logits,
      expected[end - 1],
      { atol: 1e-4, rtol: 1e-4 },
      `logits after ${end} tokens`,
    );
    alone.push(logits);
  }
  decoder.clear(0);
  for (const [i, [begin, end]] of [[0, 5], [5, 6], [6, 9]].entries()) {
    const others = [1, 2].map((slot) => ({ slot, tokens: [slot, 3 + i, 2] }));
    const [logits] = await decoder.read([{ slot: 0, tokens: text.slice(begin, end) }, ...others]);
    assertSameBits(logits, alone[i], "logits in company");
  }
  decoder.close();
});

Deno.test("one expert is the dense model, and the balance adds its weight per layer to the loss", async () => {
  const config = withExperts(1);
  const dense = anyWeights(PLAIN, 0);
  const weights: Weights = new Map(
    [...dense].map(([name, values]) => [name.replace("mlp.", "mlp.experts."), values]),
  );
  for (const layer of [0, 1]) {
    weights.set(`gpt_neox.layers.${layer}.mlp.router.weight`, random(PLAIN.hidden, "router"));
  }
  const batch = anyBatch(PLAIN, { models: 1, batch: 4, length: 9 });
  const [plain, own] = [await step(PLAIN, dense, batch), await step(config, weights, batch)];
  assertAlmostEquals(own.result.loss[0], plain.result.loss[0] + 2 * BALANCE, 1e-6);
  assertAlmostEquals(own.result.reports.balance[0], 2, 1e-6);
  assertEquals(own.result.reports.dropped[0], 0);
  for (const [name, gradient] of own.gradients) {
    if (name.includes("router")) assertEquals(Math.max(...gradient.map(Math.abs)), 0);
  }
  const renamed = new Map(
    [...own.gradients].filter(([name]) => !name.includes("router"))
      .map(([name, values]) => [name.replace("mlp.experts.", "mlp."), values]),
  );
  assertTensors(renamed, plain.gradients, 1e-5);
});

Deno.test("all tokens to one expert: it takes what it may hold, the others learn nothing", async () => {
  const weights = oneWay(CONFIG, 2);
  const batch = {
    tokens: anyBatch(CONFIG, { models: 1, batch: 4, length: 9 }).tokens,
    lengths: Uint32Array.of(9, 9, 9, 9),
  };
  const { result: { reports, loss }, gradients } = await step(CONFIG, weights, batch);
  assert(Number.isFinite(loss[0]));
  assertEquals(reports.dropped[0], 2 * (32 - Math.ceil(1.25 * 32 / 3)));
  assert(reports.balance[0] > 2 * 2.99, `${reports.balance}`); // E · 1 · (a gate of almost 1) in each layer
  for (const [name, gradient] of gradients) {
    if (!name.includes("experts")) continue;
    const third = gradient.length / 3;
    assertEquals(gradient.subarray(0, 2 * third).findIndex((value) => value !== 0), -1, name);
    assert(gradient.subarray(2 * third).some((value) => value !== 0), name);
  }
});

Deno.test("a pass of padding alone, and sequences of one token, add nothing and break nothing", async () => {
  const weights = anyWeights(CONFIG, 0);
  const { tokens } = anyBatch(CONFIG, { models: 1, batch: 4, length: 9 });
  const padded = await step(CONFIG, weights, { tokens, lengths: Uint32Array.of(9, 7, 0, 1) }, {
    microBatch: 2,
  });
  const alone = await step(CONFIG, weights, {
    tokens: tokens.slice(0, 18),
    lengths: Uint32Array.of(9, 7),
  });
  assertEquals(padded.result.loss, alone.result.loss);
  assertEquals(padded.result.reports, alone.result.reports);
  assertSameTensors(padded.gradients, alone.gradients);
});

Deno.test("padding is sent nowhere: what it holds changes no bit", async () => {
  const weights = anyWeights(CONFIG, 0);
  const { tokens, lengths } = anyBatch(CONFIG, { models: 1, batch: 4, length: 9 });
  const other = tokens.map((token, i) =>
    i % 9 < lengths[Math.floor(i / 9)] ? token : (token + 5) % 11
  );
  const [one, two] = [
    await step(CONFIG, weights, { tokens, lengths }),
    await step(CONFIG, weights, { tokens: other, lengths }),
  ];
  assertEquals(one.result, two.result);
  assertSameTensors(one.gradients, two.gradients);
});

Deno.test("balance over micro-batches is averaged by tokens; recomputation gives the same bits; memory is foreseen", async () => {
  const roomy = withExperts(3, 3); // no drops, which would depend on the micro-batch
  const weights = anyWeights(roomy, 0);
  const [whole, again] = [
    await step(roomy, weights),
    await step(roomy, weights, undefined, { recompute: true }),
  ];
  assertEquals(again.result, whole.result);
  assertSameTensors(again.gradients, whole.gradients);
  const batch = anyBatch(roomy, { models: 1, batch: 4, length: 9 });
  const predicted = [...batch.lengths].map((length) => length - 1);
  const all = predicted.reduce((a, b) => a + b);
  let balance = 0;
  for (const half of [0, 1]) {
    const rows = {
      tokens: batch.tokens.slice(18 * half, 18 * half + 18),
      lengths: batch.lengths.slice(2 * half, 2 * half + 2),
    };
    const { result } = await step(roomy, weights, rows);
    balance += result.reports.balance[0] * (predicted[2 * half] + predicted[2 * half + 1]) / all;
  }
  const micro = await step(roomy, weights, batch, { microBatch: 2 });
  assertAlmostEquals(micro.result.reports.balance[0], balance, 1e-5);
  assertAlmostEquals(micro.result.reports.balanceLoss[0], BALANCE * balance, 1e-6);
  const { total } = trainingMemory(roomy, { batch: 4, microBatch: 2, length: 9 });
  assert(
    Math.abs(total - micro.bytes) < 0.02 * micro.bytes,
    `predicted ${total}, held ${micro.bytes}`,
  );
});

Deno.test("weights, FLOPs and memory are those of all experts, of one, and of all", () => {
  const { hidden, layers } = PLAIN;
  const ofMlp = 8 * hidden ** 2 + 5 * hidden;
  assertEquals(parameterCount(CONFIG) - parameterCount(PLAIN), layers * (2 * ofMlp + 3 * hidden));
  assertEquals(
    forwardFlops(CONFIG, 3, 5) - forwardFlops(PLAIN, 3, 5),
    layers * 2 * 15 * hidden * 3,
  );
  const [own, plain] = [CONFIG, PLAIN].map((config) => inferenceMemory(config, { capacity: 9 }));
  assert(own.weights >= plain.weights + 4 * layers * 2 * ofMlp);
});

Deno.test("a Switch checkpoint keeps its experts under names of its own, and reports what it is", () =>
  inFolder(async (folder) => {
    const weights = initialWeights(CONFIG, 1);
    assertEquals(
      weights.get("gpt_neox.layers.0.mlp.experts.dense_h_to_4h.weight")!.length,
      3 * 24 * 6,
    );
    await saveCheckpoint(folder, CONFIG, weights, { eos: 3 });
    const loaded = await loadCheckpoint(folder);
    assertEquals([loaded.config, loaded.notes], [CONFIG, { eos: 3 }]);
    assertSameTensors(loaded.weights, weights);
    const text = await Deno.readTextFile(`${folder}/config.json`);
    assertEquals(JSON.parse(text).model_type, "smalltalk_switch");
    await Deno.writeTextFile(`${folder}/config.json`, text.replace("smalltalk_switch", "gpt_neox"));
    const error = await loadCheckpoint(folder).catch((error) => error);
    assert(
      error instanceof InputError && String(error.message).includes('must be "smalltalk_switch"'),
      `${error}`,
    );
  }));

Deno.test("validateModelConfig() refuses a Switch model that cannot be", () => {
  const { switch: own } = CONFIG;
  for (
    const [change, text] of [
      [undefined, "its experts must be a whole number from 1 to 4096: it is undefined"],
      [{ ...own!, experts: 0 }, "its experts must be a whole number"],
      [{ ...own!, capacity: 0 }, "its capacity factor must be above 0: it is 0"],
      [{ ...own!, balance: -1 }, "the weight of its balance must be at least 0: it is -1"],
    ] as const
  ) assertThrows(() => validateModelConfig({ ...CONFIG, switch: change }), InputError, text);
});
