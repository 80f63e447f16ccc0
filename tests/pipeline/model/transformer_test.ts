import { tokenOrder } from "../../../kernels/embedding/embedding.ts";
import { shiftTargets } from "../../../pipeline/model/batch.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { createBank, planTransposes, readTensors } from "../../../pipeline/model/parameters.ts";
import { createActivations } from "../../../pipeline/model/activations.ts";
import { planBackward, planForward, planLossBackward } from "../../../pipeline/model/transformer.ts";
import { assertClose, assertSameBits, gpu } from "../../kernels/support.ts";
import { meanNll, type ReferenceWeights, sequenceNll } from "./reference.ts";
import {
  anyBatch,
  anyWeights,
  assertSameTensors,
  assertSlopes,
  assertTensors,
  buildBatch,
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

/** What {@link runPasses} takes. */
type Options = { chunk?: { rows?: number; models?: number }; recompute?: boolean };

/** Runs forward and backward passes of a bank on one batch, with logits in chunks of that many rows and models. */
async function runPasses(
  config: ModelConfig,
  models: number,
  { chunk = {}, recompute = false }: Options = {},
) {
  const shape = { models, batch: 3, length: 9 };
  const rows = shape.batch * shape.length;
  const batch = anyBatch(config, shape);
  const arena = gpu.arena();
  const weights = Array.from({ length: models }, (_, i) => anyWeights(config, i));
  const bank = createBank(gpu, arena, config, weights);
  const own = createActivations(arena, config, shape, { training: true, recompute });
  const acts = { ...own, chunk: { ...own.chunk, ...chunk } };
  const buffers = bank.layout.segments.map(({ size }, i) =>
    arena.buffer(`gradients ${i}`, size * models * 4)
  );
  const targets = new Uint32Array(models * rows);
  const lossWeights = new Float32Array(models * rows);
  shiftTargets(batch, models, shape.length, config.vocabulary, targets, lossWeights);
  const order = new Uint32Array(models * rows);
  for (let i = 0; i < models; i++) {
    tokenOrder(
      buildBatch(batch, models, i).tokens,
      config.vocabulary,
      order.subarray(i * rows, (i + 1) * rows),
    );
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
  Deno.test(`planLossBackward() and planBackward() give NLL and derivatives of an independent f64 model, for logits in any chunks and with activations computed again: ${JSON.stringify(config)}`, async () => {
    const models = 2;
    const { batch, weights, nll, gradients } = await runPasses(config, models);
    sequencesOf(batch).forEach((tokens, i) => {
      const sum = nll.subarray(i * 9, (i + 1) * 9).reduce((a, b) => a + b, 0);
      const expected = tokens.length > 1 ? sequenceNll(config, weights[Math.floor(i / 3)], tokens) : 0;
      assertClose([sum], [expected], THROUGH_LAYERS, `NLL of sequence ${i}`);
    });
    for (let model = 0; model < models; model++) {
      const sequences = sequencesOf(buildBatch(batch, models, model));
      const loss = (own: ReferenceWeights) => meanNll(config, own, sequences);
      assertSlopes(loss, weights[model], gradients[model], `model ${model}`);
    }
    const each = await runPasses(config, models, { chunk: { models: 1 } });
    assertSameBits(each.nll, nll, "NLL, model by model");
    each.gradients.forEach((own, i) => assertSameTensors(own, gradients[i], `model ${i}, by itself`));
    for (const chunk of [1, 2].flatMap((models) => [1, 5, 26].map((rows) => ({ rows, models })))) { // of 27 rows
      const other = await runPasses(config, models, { chunk });
      const what = `chunks of ${JSON.stringify(chunk)}`;
      assertSameBits(other.nll, nll, `NLL in ${what}`);
      other.gradients.forEach((own, i) => assertTensors(own, gradients[i], 1e-5, what));
    }
    const again = await runPasses(config, models, { recompute: true });
    assertSameBits(again.nll, nll, "NLL, computed again");
    again.gradients.forEach((own, i) => assertSameTensors(own, gradients[i], `model ${i}, computed again`));
  });
}
