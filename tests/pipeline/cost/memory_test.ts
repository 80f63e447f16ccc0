import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { bytesPerValue } from "../../../kernels/device/storage.ts";
import {
  fittingMicroBatch,
  inferenceMemory,
  routerMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "../../../pipeline/cost/memory.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { createDecoder } from "../../../pipeline/model/decoder.ts";
import { rowsPerPass } from "../../../pipeline/model/passes.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import { DTYPES, gpu, runnableVariants } from "../../kernels/support.ts";
import { anyWeights } from "../model/support.ts";

const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 };
const TOLERANCE = 0.02;
const ODD: ModelConfig = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: 16 };
const TINY: ModelConfig = { vocabulary: 300, hidden: 32, layers: 3, heads: 2, context: 64 };
const SHAPES: [model: ModelConfig, options: TrainingMemoryOptions][] = [
  [ODD, { batch: 4, length: 9 }],
  [ODD, { batch: 4, length: 9, models: 3, microBatch: 2 }],
  [TINY, { batch: 4, length: 32 }],
  [TINY, { batch: 4, length: 32, recompute: true }],
  [TINY, { batch: 8, length: 32, microBatch: 2 }],
  [TINY, { batch: 4, length: 32, models: 4 }],
  [TINY, { batch: 8, length: 64, models: 2, microBatch: 4, recompute: true }],
  [{ ...TINY, layers: 1 }, { batch: 1, length: 2 }],
];

const LOSSES = await runnableVariants("loss");

function assertNear(predicted: number, actual: number, what: string) {
  assert(
    Math.abs(predicted - actual) <= TOLERANCE * actual,
    `${what}: predicted ${predicted}, held ${actual}`,
  );
}

Deno.test("trainingMemory() predicts what createTrainer() holds within 2%", () => {
  const all = SHAPES.flatMap(([config, options]) =>
    LOSSES.flatMap(({ variant: loss, on }) =>
      DTYPES.map((dtype) => [config, { ...options, dtype, loss }, on] as const)
    )
  );
  for (const [config, options, on] of all) {
    const { models = 1, ...rest } = options;
    const start = Array.from({ length: models }, (_, i) => anyWeights(config, i));
    const trainer = createTrainer(on, { config, start, settings: SETTINGS, ...rest });
    const { total } = trainingMemory(config, { ...options, limit: gpu.maxBindingBytes });
    assertNear(total, trainer.bytes, JSON.stringify([config, options]));
    trainer.close();
  }
});

Deno.test("a training without logits has no buffer of them, and larger micro-batches fit", () => {
  const buffers = LOSSES.map(({ on }) => {
    const labels: string[] = [];
    const arena = () => {
      const own = gpu.arena();
      const buffer: typeof own.buffer = (label, ...sizes) =>
        own.buffer(labels[labels.push(label) - 1], ...sizes);
      return { ...own, buffer };
    };
    const start = [anyWeights(TINY, 0)];
    createTrainer({ ...on, arena }, {
      config: TINY,
      start,
      settings: SETTINGS,
      batch: 2,
      length: 9,
    }).close();
    return labels.filter((label) => /^(logits|loss statistics)/.test(label));
  });
  assertEquals(buffers, [["logits"], ["loss statistics"]]);
  const model = { ...TINY, vocabulary: 32_000 };
  const sizes = { batch: 256, length: 64 };
  const by = (loss: "chunks" | "workgroup", most: number) =>
    fittingMicroBatch(model, most, { ...sizes, loss });
  const { total } = trainingMemory(model, { ...sizes, microBatch: 128, loss: "workgroup" });
  assertEquals([by("workgroup", total), by("workgroup", total - 1)], [128, 64]);
  assertEquals(by("chunks", total), 64); // 32 MiB of logits, and an activation of 64 sequences
});

Deno.test("trainingMemory() predicts banks that a small binding limit splits", () => {
  const limit = 48 * 1024;
  const small = { ...gpu, maxBindingBytes: limit };
  const options = { batch: 2, length: 16, models: 5 };
  const start = Array.from({ length: 5 }, (_, i) => anyWeights(TINY, i));
  const trainer = createTrainer(small, {
    config: TINY,
    start,
    settings: SETTINGS,
    batch: 2,
    length: 16,
  });
  const split = trainingMemory(TINY, { ...options, limit });
  assertNear(split.total, trainer.bytes, "split");
  trainer.close();
  const whole = trainingMemory(TINY, options);
  assert(
    split.activations < 0.6 * whole.activations,
    `${split.activations} of ${whole.activations}`,
  );
  assert(split.largest <= limit && whole.largest > limit);
  assertThrows(
    () => trainingMemory(TINY, { ...options, limit: 4096 }),
    InputError,
    "must fit the adapter's binding limit",
  );
});

Deno.test("inferenceMemory() predicts what createDecoder() and createScorer() hold within 2%", () => {
  for (
    const [capacity, dtype] of [[1, "f32"], [16, "f32"], [64, "f32"], [16, "bf16"], [
      64,
      "bf16",
    ]] as const
  ) {
    const decoder = createDecoder(gpu, {
      config: TINY,
      weights: anyWeights(TINY, 0),
      capacity,
      longestPass: 8,
      dtype,
    });
    const { total, cache } = inferenceMemory(TINY, {
      capacity,
      length: Math.min(8, capacity),
      dtype,
    });
    assertNear(total, decoder.bytes, `capacity ${capacity}, ${dtype}`);
    assertEquals(cache, 2 * 3 * capacity * 32 * bytesPerValue(dtype));
    decoder.close();
  }
  const models = [0, 1, 2].map((i) => anyWeights(TINY, i));
  for (const dtype of DTYPES) {
    const scorer = createScorer(gpu, { config: TINY, models, batch: 16, length: 32, dtype });
    const { total } = inferenceMemory(TINY, {
      capacity: 0,
      models: 3,
      batch: 16,
      length: 32,
      dtype,
    });
    const sums = 16 + 4096 * 3 * 4; // rows that wait for their readback: scoring many, not a prompt
    assertNear(total + sums, scorer.bytes, `scorer, ${dtype}`);
    scorer.close();
  }
});

Deno.test("routerMemory() predicts what is held while routers train and score within 2%", () => {
  const [models, prefix, batch] = [3, 16, 4];
  const start = Array.from({ length: models }, (_, i) => anyWeights(TINY, i));
  const trainer = createTrainer(gpu, {
    config: TINY,
    start,
    settings: SETTINGS,
    batch,
    length: prefix,
  });
  const limit = gpu.maxBindingBytes;
  const rows = rowsPerPass(limit, TINY, prefix);
  const scorer = createScorer(gpu, { config: TINY, models: start, batch: rows, length: prefix });
  const { total, weights, gradients } = routerMemory(TINY, {
    models,
    batch,
    length: prefix,
    prefix,
    limit,
  });
  assertNear(total, trainer.bytes + scorer.bytes, "trainer and scorer");
  assertEquals(weights, 2 * gradients);
  trainer.close();
  scorer.close();
});
