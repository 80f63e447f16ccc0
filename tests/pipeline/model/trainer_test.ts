import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { trainingMemory } from "../../../pipeline/cost/memory.ts";
import { InputError } from "../../../kernels/errors.ts";
import { type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import { logitsBudget, logitsChunk } from "../../../pipeline/model/activations.ts";
import type { HostBatch } from "../../../pipeline/model/batch.ts";
import { createBranchScorer } from "../../../pipeline/model/branch_scorer.ts";
import { createDecoder } from "../../../pipeline/model/decoder.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import type { Weights } from "../../../pipeline/model/parameters.ts";
import {
  createTrainer,
  type StepResult,
  STEPS_PER_READ,
  type Trainer,
  type TrainerOptions,
} from "../../../pipeline/model/trainer.ts";
import { assertClose, assertSameBits, gpu, runnableVariants } from "../../kernels/support.ts";
import { type ReferenceWeights, sequenceNll } from "./reference.ts";
import {
  anyBatch,
  anyWeights,
  assertSameTensors,
  assertSlopes,
  assertTensors,
  sequencesOf,
  takeModelBatch,
} from "./support.ts";

const CONFIG: ModelConfig = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: 16 };
const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 };
const SHAPE = { models: 3, batch: 4, length: 9 };
const START = [0, 1, 2].map((i) => anyWeights(CONFIG, i));
const BATCHES = [0, 1, 2].map((i) => anyBatch(CONFIG, SHAPE, `step ${i}`));
const RATE = 1e-2;
/** By stored logits, and without them. */
const LOSSES = await runnableVariants("loss");

interface Run {
  results: StepResult[];
  gradients: Weights[];
  weights: Weights[];
}

function trainerOf(options: Partial<TrainerOptions> = {}, on: Gpu = gpu): Trainer {
  const { batch, length } = SHAPE;
  return createTrainer(on, {
    config: CONFIG,
    start: START,
    batch,
    length,
    settings: SETTINGS,
    ...options,
  });
}

/** Trains on some batches and reads everything, the gradients after the last step. */
async function train(
  batches: HostBatch[],
  options: Partial<TrainerOptions> = {},
  on: Gpu = gpu,
): Promise<Run> {
  const trainer = trainerOf(options, on);
  for (const batch of batches) trainer.step(batch, RATE);
  return await finish(trainer);
}

/** Reads everything and closes. */
async function finish(trainer: Trainer): Promise<Run> {
  const results = await trainer.drain();
  const run = { results, gradients: await trainer.gradients(), weights: await trainer.weights() };
  assertEquals([trainer.models, trainer.bytes > 0], [run.weights.length, true]);
  trainer.close();
  assertEquals(trainer.bytes, 0);
  return run;
}

/** Throws unless two runs agree bit for bit. */
function assertSameRuns(actual: Run, expected: Run, what: string) {
  assertEquals(actual.results, expected.results, what);
  actual.gradients.forEach((tensors, i) =>
    assertSameTensors(tensors, expected.gradients[i], `gradients ${i}, ${what}`)
  );
  actual.weights.forEach((tensors, i) =>
    assertSameTensors(tensors, expected.weights[i], `weights ${i}, ${what}`)
  );
}

/** A batch in which only what follows a prompt of 1 to 4 tokens counts. */
function answersOf(batch: HostBatch): HostBatch {
  return { ...batch, begins: batch.lengths.map((_, row) => 1 + row % 4) };
}

/**
 * The mean NLL per token of the answers of one model, in f64: what the prompts lack of whole
 * sequences.
 */
function answerNll(
  config: ModelConfig,
  weights: ReferenceWeights,
  { begins, ...batch }: HostBatch,
  model: number,
): number {
  const sequences = sequencesOf(takeModelBatch(batch, 3, model));
  const prompts = sequences.map(({ length }, row) =>
    Math.min(begins![model * SHAPE.batch + row], length)
  );
  const nll = (tokens: number[]) => tokens.length > 1 ? sequenceNll(config, weights, tokens) : 0;
  const total = sequences.reduce(
    (sum, tokens, row) => sum + nll(tokens) - nll(tokens.slice(0, prompts[row])),
    0,
  );
  return total / sequences.reduce((sum, tokens, row) => sum + tokens.length - prompts[row], 0);
}

for (const { variant, on } of LOSSES) {
  Deno.test(`createTrainer() learns what counts alone: the loss and gradients of an independent f64 model, loss=${variant}`, async () => {
    const batch = answersOf(BATCHES[0]);
    const other: ModelConfig = { ...CONFIG, sublayers: ["mlp", "attention"] };
    for (const [microBatch, config] of [[4, CONFIG], [2, other]] as const) {
      const trainer = trainerOf({ microBatch, config }, on);
      const { nll, predicted } = await trainer.evaluate(batch);
      trainer.step(batch, RATE);
      const { results: [{ loss }], gradients } = await finish(trainer);
      const expected = START.map((weights, model) => answerNll(config, weights, batch, model));
      assertClose(loss, expected, { atol: 0, rtol: 2e-5 }, "losses");
      assertClose(
        nll.map((sum, model) => sum / predicted[model]),
        expected,
        { atol: 0, rtol: 2e-5 },
        "evaluated",
      );
      for (const [model, weights] of START.entries()) {
        assertSlopes(
          (own) => answerNll(config, own, batch, model),
          weights,
          gradients[model],
          `model ${model}`,
        );
      }
    }
  });
}

const OPTIONS: Partial<TrainerOptions>[] = [{}, { dtype: "bf16", microBatch: 2 }];
for (
  const [options, { variant, on }] of OPTIONS.flatMap((own) =>
    LOSSES.map((loss) => [own, loss] as const)
  )
) {
  Deno.test(`createTrainer() gives the same bits again, from a state and with activations computed again: ${JSON.stringify(options)}, loss=${variant}`, async () => {
    const whole = await train(BATCHES, options, on);
    assertSameRuns(await train(BATCHES, options, on), whole, "again");
    assertSameRuns(await train(BATCHES, { ...options, recompute: true }, on), whole, "recomputed");
    const before = trainerOf(options, on);
    before.step(BATCHES[0], RATE);
    const early = await before.drain();
    const start = await before.state();
    before.close();
    assertEquals(start.step, 1);
    const after = await train(BATCHES.slice(1), { ...options, start }, on);
    assertEquals(after.results.map(({ step }) => step), [2, 3]);
    assertSameRuns({ ...after, results: [...early, ...after.results] }, whole, "resumed");
  });
}

Deno.test("createTrainer() gives the losses and gradients of one chunk of logits where there are several", async () => {
  const config = { ...CONFIG, vocabulary: 10_000, hidden: 4, layers: 1, context: 32 };
  const shape = { models: 2, batch: 30, length: 32 };
  assert(logitsChunk(config, shape, logitsBudget("software", gpu.maxBindingBytes)).rows < 30 * 32);
  const { on } = LOSSES.find(({ variant }) => variant === "chunks")!;
  const start = [0, 1].map((i) => anyWeights(config, i));
  const batches = [anyBatch(config, shape)];
  const [few, all] = await Promise.all(
    [10, 30].map((microBatch) => train(batches, { ...shape, config, start, microBatch }, on)),
  );
  assertClose(all.results[0].loss, few.results[0].loss, { atol: 0, rtol: 1e-6 });
  all.gradients.forEach((own, i) => assertTensors(own, few.gradients[i], 1e-5, `model ${i}`));
});

Deno.test("createTrainer() lets padding change no bit of losses, gradients and weights", async () => {
  const { length } = SHAPE;
  const padded = BATCHES.map(({ tokens, lengths }) => ({
    tokens: tokens.map((token, i) =>
      i % length < lengths[Math.floor(i / length)] ? token : 12 - token
    ),
    lengths,
  }));
  assertNotEquals(padded[0].tokens, BATCHES[0].tokens);
  assertSameRuns(await train(padded), await train(BATCHES), "other padding");
});

const BINDS = { whole: gpu.maxBindingBytes, two: 40_000 }; // a model's weights take 15 kB
for (
  const [{ variant, on }, fits] of LOSSES.flatMap((loss) =>
    (["whole", "two"] as const).map((fits) => [loss, fits] as const)
  )
) {
  Deno.test(`createTrainer() trains a bank of three as it trains three banks of one, bit for bit, loss=${variant}, binding=${fits}`, async () => {
    const device = { ...on, maxBindingBytes: BINDS[fits] };
    const together = await train(BATCHES, {}, device);
    const of = <Values>(values: { [model: number]: Values }, model: number) => [values[model]];
    for (let model = 0; model < 3; model++) {
      const alone = await train(
        BATCHES.map((batch) => takeModelBatch(batch, 3, model)),
        { start: [START[model]] },
        device,
      );
      const results = together.results.map(({ step, loss, nll, norm, reports }): StepResult => ({
        step,
        reports,
        loss: Float64Array.from(of(loss, model)),
        nll: Float64Array.from(of(nll, model)),
        norm: Float32Array.from(of(norm, model)),
      }));
      const own = {
        results,
        gradients: of(together.gradients, model),
        weights: of(together.weights, model),
      };
      assertSameRuns(alone, own, `model ${model}`);
    }
  });
}

Deno.test("createTrainer() gives the same results where a binding limit splits the bank and its tensors", async () => {
  // Without clipping every bit must agree; its norm is summed segment by segment, in another order.
  const settings = { ...SETTINGS, clip: 1e6 };
  const whole = await train(BATCHES, { settings });
  for (const perBank of [1, 2]) {
    // The least: 36 rows of the MLP.
    const small = { ...gpu, maxBindingBytes: perBank === 1 ? 4 * 48 * 36 : BINDS.two };
    const what = `${perBank} models per bank`;
    const split = await train(BATCHES, { settings }, small);
    split.results.forEach(({ loss, norm }, i) => {
      assertEquals(loss, whole.results[i].loss, `losses with ${what}`);
      assertClose(norm, whole.results[i].norm, { atol: 0, rtol: 1e-6 }, `norms with ${what}`);
    });
    split.gradients.forEach((tensors, i) =>
      assertSameTensors(tensors, whole.gradients[i], `gradients with ${what}`)
    );
    split.weights.forEach((tensors, i) =>
      assertSameTensors(tensors, whole.weights[i], `weights with ${what}`)
    );

    const half = trainerOf({ settings }, small); // and a state goes from one split to another
    half.step(BATCHES[0], RATE);
    await half.drain();
    const start = await half.state();
    half.close();
    const resumed = await train(BATCHES.slice(1), { settings, start });
    resumed.weights.forEach((tensors, i) =>
      assertSameTensors(tensors, whole.weights[i], `resumed from ${what}`)
    );
  }
});

Deno.test(`Trainer.drain() reports any number of steps once, in order; more than ${STEPS_PER_READ} may not wait, and none is lost`, async () => {
  const shape = { models: 1, batch: 1, length: 3 }; // odd sizes: results do not fill whole blocks
  const own = { start: [START[0]], batch: 1, length: 3 };
  const trainer = trainerOf(own);
  const batch = anyBatch(CONFIG, shape);
  const one: StepResult[] = [];
  for (const steps of [1, 2, 0, STEPS_PER_READ]) {
    for (let i = 0; i < steps; i++) trainer.step(batch, RATE);
    if (steps === STEPS_PER_READ) {
      const message = `at most ${STEPS_PER_READ} may wait to be drained`;
      assertThrows(() => trainer.step(batch, RATE), RangeError, message);
    }
    const results = await trainer.drain();
    assertEquals(results.length, steps);
    one.push(...results);
  }
  trainer.step(batch, RATE);
  one.push(...await trainer.drain());
  trainer.close();
  assertEquals(
    one.map(({ step }) => step),
    Array.from({ length: STEPS_PER_READ + 4 }, (_, i) => i + 1),
  );
  assertEquals(one.slice(0, 6), (await train(Array(6).fill(batch), own)).results);
});

Deno.test("Trainer.step() refuses wrong batches and token ids, and leaves everything as it was", async () => {
  const trainer = trainerOf();
  const good = BATCHES[0];
  const outside = { ...good, tokens: good.tokens.with(40, 13) };
  const refused: [HostBatch, typeof InputError | typeof RangeError, string][] = [
    [outside, InputError, "sequence 4, position 4 holds 13, the vocabulary is 13"],
    [{ ...good, tokens: good.tokens.slice(1) }, RangeError, "must hold 12 sequences of 9 tokens"],
    [{ ...good, lengths: good.lengths.slice(1) }, RangeError, "must hold 12 sequences of 9 tokens"],
    [takeModelBatch(good, 3, 0), RangeError, "must hold 12 sequences of 9 tokens"],
  ];
  for (const [wrong, kind, message] of refused) {
    assertThrows(() => trainer.step(wrong, RATE), kind, message);
  }
  assertThrows(
    () => trainerOf({ microBatch: 3 }),
    InputError,
    "the batch must be a multiple of microBatch",
  );
  assertEquals(trainer.steps, 0);
  for (const batch of BATCHES) trainer.step(batch, RATE);
  assertSameRuns(await finish(trainer), await train(BATCHES), "after refusals");
});

Deno.test("Trainer.drain() reports a loss that is no number as it is, for the model it befell alone", async () => {
  const name = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight";
  const broken = new Map([...START[1], [name, START[1].get(name)!.with(5, NaN)]]);
  const { results } = await train(BATCHES.slice(0, 2), { start: [START[0], broken, START[2]] });
  const { results: whole } = await train(BATCHES.slice(0, 2));
  results.forEach(({ loss, norm }, i) => {
    assert(
      !Number.isFinite(loss[1]) && !Number.isFinite(norm[1]),
      `loss ${loss[1]}, norm ${norm[1]}`,
    );
    for (const model of [0, 2]) assertEquals(loss[model], whole[i].loss[model], `model ${model}`);
  });
});

Deno.test(
  "Trainer.profile() takes the same step as step() does",
  { ignore: !gpu.canProfile },
  async () => {
    const trainer = trainerOf({ microBatch: 2 });
    const times = await trainer.profile(BATCHES[0], RATE);
    assert(new Set(times.map(({ label }) => label)).size >= 15);
    assertSameRuns(
      await finish(trainer),
      await train(BATCHES.slice(0, 1), { microBatch: 2 }),
      "profiled",
    );
  },
);

Deno.test("createTrainer() trains to the same bits where a GPU splits long sums, in the memory that is predicted", async () => {
  const variants = await openGpu({ variants: VARIANTS.gpu });
  // 570 rows: two segments, the second one short.
  const shape = { models: 2, batch: 19, length: 30 };
  const config = { ...CONFIG, context: 30 };
  const start = [0, 1].map((i) => anyWeights(config, i));
  const batches = [0, 1].map((i) => anyBatch(config, shape, `split ${i}`));
  const results: Weights[][] = [];
  for (const kind of ["software", "gpu"] as const) {
    const { batch, length } = shape;
    const trainer = createTrainer({ ...variants, kind }, {
      config,
      start,
      batch,
      length,
      settings: SETTINGS,
    });
    for (const input of batches) trainer.step(input, RATE);
    await trainer.drain();
    results.push(await trainer.weights());
    const limit = variants.maxBindingBytes;
    const { total } = trainingMemory(config, { ...shape, batch, kind, limit });
    assert(
      Math.abs(total - trainer.bytes) <= 64,
      `${kind}: ${total} predicted, ${trainer.bytes} held`,
    );
    trainer.close();
  }
  const [whole, split] = results;
  split.forEach((weights, i) =>
    weights.forEach((values, name) => assertSameBits(values, whole[i].get(name)!, name))
  );
  variants.close();
});

Deno.test("models that cannot be put on the device as a whole leave none of their buffers there", () => {
  const [weights] = START;
  const sizes = { config: CONFIG, batch: 2, length: 9 };
  const makers: ((on: Gpu) => unknown)[] = [
    (on) => trainerOf({}, on),
    (on) => createScorer(on, { ...sizes, models: START }),
    (on) => createDecoder(on, { ...sizes, weights, capacity: 9 }),
    (on) => createBranchScorer(on, { ...sizes, weights }),
  ];
  for (const make of makers) {
    for (let room = 0, fits = false; !fits; room++) {
      let [made, bytes] = [0, NaN];
      const arena = () => {
        const own = gpu.arena();
        const buffer: typeof own.buffer = (...wanted) => {
          if (made++ === room) throw new InputError("there is no more room");
          return own.buffer(...wanted);
        };
        const destroy = () => {
          own.destroy();
          bytes = own.bytes;
        };
        return { buffer, bytes: 0, destroy };
      };
      try {
        make({ ...gpu, arena });
        fits = true;
        assert(room > 10, `${room} buffers`);
      } catch (error) {
        assert(error instanceof InputError, String(error));
        assertEquals(bytes, 0, `of ${make}, after ${room} buffers`);
      }
    }
  }
});
