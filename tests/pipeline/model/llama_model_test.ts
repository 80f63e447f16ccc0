// Models of Llama's shape against an independent f64 model, at shapes that are drawn at random.

import { assertEquals } from "@std/assert";
import { inferenceMemory, trainingMemory } from "../../../pipeline/cost/memory.ts";
import { createDecoder } from "../../../pipeline/model/decoder.ts";
import { createTrainer, type TrainerOptions } from "../../../pipeline/model/trainer.ts";
import { type ModelConfig, validateModelConfig } from "../../../pipeline/model/shape.ts";
import { randomShapes } from "../../kernels/random_shapes.ts";
import { assertClose, assertSameBits, gpu, TRANSCENDENTAL } from "../../kernels/support.ts";
import { logitsReference, type ReferenceWeights, sequenceNll } from "./reference.ts";
import {
  anyBatch,
  anyWeights,
  assertSameTensors,
  assertSlopes,
  sequencesOf,
  takeModelBatch,
} from "./support.ts";

const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 };
const LENGTH = 9;
const BATCH = 3;

/** Shapes of three kinds: heads that share keys, heads of another size than H / heads, a head. */
const SHAPES = [{ keyHeads: 2 }, { headSize: 10 }, { untied: true as const }].flatMap((own, i) =>
  randomShapes(`Llama ${i}`, ({ upTo, among }): ModelConfig => {
    const keyHeads = own.keyHeads ?? upTo(3);
    const heads = keyHeads * among([1, 2, 3]);
    return {
      vocabulary: 5 + upTo(12),
      hidden: heads * 2 * upTo(2),
      layers: upTo(2),
      heads,
      context: 16,
      architecture: "llama",
      keyHeads,
      headSize: 2 * upTo(4),
      intermediate: 4 * upTo(6),
      ropeTheta: among([10_000, 500_000]),
      normEpsilon: among([1e-5, 1e-6]),
      ...own,
    };
  })
);

for (const config of SHAPES) {
  const what = JSON.stringify(config);
  const start = [0, 1].map((i) => anyWeights(config, i));
  const sizes = { models: 2, batch: BATCH, length: LENGTH };
  const batches = [0, 1].map((i) => anyBatch(config, sizes, `step ${i}`));
  const trainer = (options: Partial<TrainerOptions> = {}) =>
    createTrainer(gpu, {
      config,
      start,
      batch: BATCH,
      length: LENGTH,
      settings: SETTINGS,
      ...options,
    });
  const train = async (options: Partial<TrainerOptions> = {}, steps = batches) => {
    const training = trainer(options);
    for (const batch of steps) training.step(batch, 1e-2);
    const weights = await training.weights();
    const losses = (await training.drain()).map(({ loss }) => [...loss]);
    training.close();
    return { weights, losses };
  };

  Deno.test(`Trainer's gradients are the slopes of an f64 model, ${what}`, async () => {
    validateModelConfig(config);
    const training = trainer();
    training.step(batches[0], 0);
    const gradients = await training.gradients();
    training.close();
    start.forEach((weights, model) => {
      const sequences = sequencesOf(takeModelBatch(batches[0], 2, model));
      const predicted = sequences.reduce((sum, { length }) => sum + length - 1, 0);
      const loss = (own: ReferenceWeights) =>
        sequences.reduce((sum, tokens) => sum + sequenceNll(config, own, tokens), 0) / predicted;
      assertSlopes(loss, weights, gradients[model], `model ${model}`);
    });
  });

  Deno.test(`a bank of two trains each to the bits that it has alone, in parts, and computed again, ${what}`, async () => {
    for (const dtype of ["f32", "bf16"] as const) {
      const both = await train({ dtype });
      for (const model of [0, 1]) {
        const own = batches.map((batch) => takeModelBatch(batch, 2, model));
        const alone = await train({ dtype, start: [start[model]] }, own);
        assertSameTensors(alone.weights[0], both.weights[model]);
        assertEquals(alone.losses.flat(), both.losses.map((losses) => losses[model]));
      }
      assertEquals(await train({ dtype, recompute: true }), both);
    }
  });

  Deno.test(`a decoder gives the logits of an f64 model, at once and token by token, ${what}`, async () => {
    const [weights] = start;
    const tokens = [...batches[0].tokens.subarray(0, LENGTH)];
    const expected = logitsReference(config, weights, tokens).at(-1)!;
    const decoder = createDecoder(gpu, { config, weights, capacity: LENGTH, slots: 2 });
    const [whole] = await decoder.read([{ slot: 1, tokens }]);
    assertClose(whole, expected, TRANSCENDENTAL, "logits");
    for (const token of tokens) {
      const [logits] = await decoder.read([{ slot: 0, tokens: [token] }]);
      if (decoder.length(0) === LENGTH) assertSameBits(logits, whole);
    }
    decoder.close();
  });

  Deno.test(`memory of training and of answering is foreseen, and keys of key-value heads alone are kept, ${what}`, () => {
    const training = trainer();
    const { kind, maxBindingBytes: limit } = gpu;
    const all = { models: 2, batch: BATCH, length: LENGTH, kind, limit };
    assertEquals(trainingMemory(config, all).total, training.bytes);
    training.close();
    const cache = inferenceMemory(config, { capacity: 16, length: 16 }).cache;
    const { layers, keyHeads = 0, headSize = 0 } = config;
    assertEquals(cache, 2 * 4 * layers * keyHeads * 16 * 4 * Math.ceil(headSize / 4));
  });
}
