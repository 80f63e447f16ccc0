import { tokenOrder } from "../../../kernels/embedding/embedding.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { shiftTargets } from "../../../pipeline/model/batch.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { createBank, readTensors } from "../../../pipeline/model/parameters.ts";
import { createActivations } from "../../../pipeline/model/activations.ts";
import { planBackward, planForward, planLossBackward, planTransposes } from "../../../pipeline/model/transformer.ts";
import { assertClose, assertSameBits, dot, gpu, random } from "../../kernels/support.ts";
import { logitsReference, meanNll, sequenceNll } from "./reference.ts";
import {
  anyBatch,
  anyWeights,
  assertCloseTensors,
  assertSameTensors,
  batchOf,
  sequencesOf,
} from "./support.ts";

/** f32 arithmetic through a few layers against f64. */
const THROUGH_LAYERS = { atol: 2e-5, rtol: 2e-5 };

/** No size a multiple of 4 but those that must be: heads of 6, 2 and 4 columns. */
const CONFIGS: ModelConfig[] = [
  { vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9 },
  { vocabulary: 7, hidden: 6, layers: 1, heads: 3, context: 9 },
  { vocabulary: 33, hidden: 12, layers: 3, heads: 3, context: 9 },
  { vocabulary: 11, hidden: 6, layers: 3, heads: 1, context: 9, sublayers: ["mlp"] },
  { vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9, sublayers: ["mlp", "attention"] },
];

/** Runs forward and backward passes of a bank on one batch, with logits in chunks of `chunk` rows. */
async function runPasses(config: ModelConfig, models: number, { chunk = 0, recompute = false } = {}) {
  const shape = { models, batch: 3, length: 9 };
  const rows = shape.batch * shape.length;
  const batch = anyBatch(config, shape);
  const arena = gpu.arena();
  const weights = Array.from({ length: models }, (_, i) => anyWeights(config, i));
  const bank = createBank(gpu, arena, config, weights);
  const own = createActivations(arena, config, shape, { training: true, recompute });
  const acts = { ...own, chunk: chunk || own.chunk };
  const buffers = bank.layout.segments.map(({ size }, i) =>
    arena.buffer(`gradients ${i}`, size * models * 4)
  );
  const targets = new Uint32Array(models * rows);
  const lossWeights = new Float32Array(models * rows);
  shiftTargets(batch, models, shape.length, config.vocabulary, targets, lossWeights);
  const order = new Uint32Array(models * rows);
  for (let i = 0; i < models; i++) {
    tokenOrder(batchOf(batch, models, i).tokens, config.vocabulary, order.subarray(i * rows, (i + 1) * rows));
  }
  gpu.write(acts.tokens, batch.tokens);
  gpu.write(acts.order, order);
  gpu.write(acts.targets, targets);
  gpu.write(acts.weights, lossWeights);
  gpu.submit([
    ...planTransposes(gpu, bank),
    ...planForward(gpu, bank, acts),
    ...planLossBackward(gpu, bank, acts, { buffers, accumulate: false }),
    ...planBackward(gpu, bank, acts, { buffers, accumulate: false }),
  ]);
  const nll = new Float32Array((await gpu.read([{ buffer: acts.nll, bytes: models * rows * 4 }]))[0]);
  const gradients = await readTensors(gpu, bank.layout, buffers);
  arena.destroy();
  return { batch, weights, nll, gradients };
}

for (const config of CONFIGS) {
  Deno.test(`planLossBackward() gives the NLL of an independent f64 model: ${JSON.stringify(config)}`, async () => {
    const { batch, weights, nll } = await runPasses(config, 2);
    const sequences = sequencesOf(batch);
    sequences.forEach((tokens, i) => {
      const sum = nll.subarray(i * 9, (i + 1) * 9).reduce((a, b) => a + b, 0);
      const expected = tokens.length > 1 ? sequenceNll(config, weights[Math.floor(i / 3)], tokens) : 0;
      assertClose([sum], [expected], THROUGH_LAYERS, `NLL of sequence ${i}`);
    });
  });

  Deno.test(`planBackward() gives the derivatives of an independent f64 model: ${JSON.stringify(config)}`, async () => {
    const models = 2;
    const { batch, weights, gradients } = await runPasses(config, models);
    for (let model = 0; model < models; model++) {
      const sequences = sequencesOf(batchOf(batch, models, model));
      for (const [name, values] of weights[model]) {
        const gradient = gradients[model].get(name)!;
        const norm = Math.hypot(...gradient);
        // Two random directions see every element; central differences in f64 are exact to about 1e-9.
        for (
          const direction of ["first", "second"].map((which) => random(values.length, `${which} of ${name}`))
        ) {
          const h = 1e-5;
          const at = (step: number) => {
            const moved = Float64Array.from(values, (value, i) => value + step * direction[i]);
            return meanNll(
              config,
              new Map<string, ArrayLike<number>>([...weights[model], [name, moved]]),
              sequences,
            );
          };
          const slope = (at(h) - at(-h)) / (2 * h);
          const tolerance = { atol: 2e-5 * norm * Math.hypot(...direction) + 1e-8, rtol: 0 };
          assertClose(
            [dot(gradient, direction)],
            [slope],
            tolerance,
            `slope along ${name} of model ${model}`,
          );
        }
      }
    }
  });
}

Deno.test("planLossBackward() gives the same losses to the bit, and the same gradients, for logits in any chunks", async () => {
  for (const config of CONFIGS) {
    const whole = await runPasses(config, 2);
    for (const chunk of [1, 5, 26]) { // of 27 rows
      const { nll, gradients } = await runPasses(config, 2, { chunk });
      assertSameBits(nll, whole.nll, `NLL in chunks of ${chunk}`);
      gradients.forEach((tensors, i) =>
        assertCloseTensors(tensors, whole.gradients[i], 1e-5, `chunks of ${chunk}`)
      );
    }
  }
});

Deno.test("planBackward() gives the same bits whether it kept activations or computes them again", async () => {
  for (const config of CONFIGS) {
    const kept = await runPasses(config, 2);
    const again = await runPasses(config, 2, { recompute: true });
    assertSameBits(again.nll, kept.nll, "NLL");
    again.gradients.forEach((tensors, i) => assertSameTensors(tensors, kept.gradients[i], `model ${i}`));
  }
});

Deno.test("planForward() takes all tokens at once or one by one with a cache, to the same bits", async () => {
  const config = CONFIGS[2];
  const { hidden, vocabulary } = config;
  const [batch, length, models] = [2, 9, 2];
  const tokens = anyBatch(config, { models: 1, batch, length }).tokens;
  const weights = [0, 1].map((i) => anyWeights(config, i));
  const arena = gpu.arena();
  const bank = createBank(gpu, arena, config, weights);
  gpu.submit(planTransposes(gpu, bank));
  const stream = async (steps: number[]) => {
    const rows = Array.from({ length: models * batch * length }, () => new Float32Array(hidden));
    const shape = { models, batch, length };
    const own = createActivations(arena, config, shape, { training: false, capacity: length });
    let start = 0;
    for (const step of steps) {
      const acts = { ...own, shape: { ...shape, length: step } };
      const part = Array.from(
        { length: batch },
        (_, i) => [...tokens.subarray(i * length + start, i * length + start + step)],
      );
      gpu.write(acts.tokens, Uint32Array.from(part.flat()));
      gpu.write(acts.cache!.places, Uint32Array.of(0, start, 1, start));
      gpu.submit(planForward(gpu, bank, acts));
      const bytes = models * batch * step * padded(hidden) * 4;
      const values = new Float32Array((await gpu.read([{ buffer: acts.normalized, bytes }]))[0]);
      for (let i = 0; i < models * batch * step; i++) {
        const row = Math.floor(i / step) * length + start + i % step;
        rows[row].set(values.subarray(i * padded(hidden), i * padded(hidden) + hidden));
      }
      start += step;
    }
    return rows;
  };
  const whole = await stream([length]);
  for (const steps of [Array(length).fill(1), [4, 1, 3, 1], [8, 1]]) {
    (await stream(steps)).forEach((row, i) => assertSameBits(row, whole[i], `row ${i} of calls of ${steps}`));
  }
  // And the stream is the one whose products with the embedding are the logits.
  const embedding = weights[1].get("gpt_neox.embed_in.weight")!;
  const expected = logitsReference(config, weights[1], [...tokens.subarray(0, length)]);
  expected.forEach((logits, position) => {
    const row = whole[batch * length + position];
    const actual = Array.from(
      { length: vocabulary },
      (_, v) => dot(row, embedding.subarray(v * hidden, (v + 1) * hidden)),
    );
    assertClose(actual, logits, THROUGH_LAYERS, `logits at position ${position}`);
  });
  arena.destroy();
});
