import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { StepMetrics } from "../../../pipeline/training/metrics.ts";
import {
  type TrainingState,
  trainModel,
  type TrainModelOptions,
} from "../../../pipeline/training/loop.ts";
import { Bank } from "../../../pipeline/stages/bank.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { gpu } from "../../kernels/support.ts";
import { anyBatch, anyWeights, assertSameTensors, takeModelBatch } from "../model/support.ts";
import { anyRows, MODEL, readingFrom, SMALL } from "../training/support.ts";

const IDS = [0, 1, 2];
const STEPS = 7;

/** A training of its own data; number 1 has nothing held out, number 2 more than a batch. */
function options(id: number, more: Partial<TrainModelOptions> = {}): TrainModelOptions {
  return {
    ...SMALL,
    start: anyWeights(MODEL, id),
    batch: 3,
    steps: STEPS,
    logEvery: 2,
    validateEvery: 3,
    checkpointEvery: 2,
    validation: id === 1 ? undefined : anyRows(1 + 2 * id, `held out ${id}`),
    open: readingFrom(anyRows(3 * STEPS, `training ${id}`)),
    ...more,
  };
}

/** A training that keeps all that comes of it. */
function recording(id: number, more: Partial<TrainModelOptions> = {}) {
  const metrics: StepMetrics[] = [];
  const states: TrainingState[] = [];
  const recorded = options(id, {
    onMetrics: (line) => void metrics.push(line),
    onCheckpoint: async (read) => void states.push(structuredClone(await read())),
    ...more,
  });
  return { options: recorded, metrics, states };
}

/** Trains a model by itself. */
async function train(id: number, more: Partial<TrainModelOptions> = {}) {
  const { options, ...recorded } = recording(id, more);
  return { ...recorded, weights: await trainModel(options) };
}

/** Trains models together; the bank's sizes are those of the trainers that were made. */
async function trainAll(
  more: (id: number) => Partial<TrainModelOptions> = () => ({}),
  fits: (models: number, on: typeof gpu) => boolean = () => true,
  devices: Bank["devices"] = (own) => Promise.resolve([own]),
) {
  const chosen = {
    fits: ({ gpu }: TrainModelOptions, models: number) => fits(models, gpu),
    devices,
  };
  const bank = Object.assign(new Bank(), chosen);
  const recordings = IDS.map((id) => recording(id, more(id)));
  const trained = bank.train(recordings.map(({ options }) => options));
  return await Promise.allSettled(
    recordings.map(async ({ metrics, states }, i) => {
      return { metrics, states, weights: await trained[i] };
    }),
  );
}

function assertAlike(
  actual: Awaited<ReturnType<typeof train>>,
  expected: Awaited<ReturnType<typeof train>>,
  what: string,
) {
  assertEquals(actual.metrics, expected.metrics, what);
  assertSameTensors(actual.weights, expected.weights, what);
  assertEquals(actual.states, expected.states, what);
}

const alone = await Promise.all(IDS.map((id) => train(id)));
const valueOf = <Value>(result: PromiseSettledResult<Value>): Value => {
  if (result.status === "rejected") throw result.reason;
  return result.value;
};

Deno.test("trainings that share a bank give the metrics, checkpoints and weights that each gives alone", async () => {
  const results = (await trainAll()).map(valueOf);
  results.forEach((result, i) => assertAlike(result, alone[i], `training ${i}`));
});

Deno.test("trainings that do not fit follow when others have ended", async () => {
  const results = (await trainAll(undefined, (models, on) => on === gpu && models <= 2)).map(
    valueOf,
  );
  results.forEach((result, i) => assertAlike(result, alone[i], `training ${i}`));
});

const reasons = (results: PromiseSettledResult<unknown>[]) =>
  results.map((result) => result.status === "rejected" && result.reason.message);

Deno.test("trainings that cannot be counted, or put on a device, or take a step, are all reported so", async () => {
  const uncounted = await trainAll(undefined, () => {
    throw new Error("a tensor is too large");
  });
  assertEquals(reasons(uncounted), Array(3).fill("a tensor is too large"));
  const nowhere = await trainAll(
    undefined,
    undefined,
    () => Promise.reject(new Error("no device")),
  );
  assertEquals(reasons(nowhere), Array(3).fill("no device"));
  let steps = 0;
  const submit: typeof gpu.submit = (dispatches) => {
    if (dispatches.some(({ label }) => label === "adamw") && ++steps === 3) {
      throw new Error("no step");
    }
    gpu.submit(dispatches);
  };
  assertEquals(
    reasons(await trainAll(() => ({ gpu: { ...gpu, submit } }))),
    Array(3).fill("no step"),
  );
});

Deno.test("trainings that go on from different steps, or that fail, leave the others as they are", async () => {
  const results = await trainAll((id) =>
    id === 0
      ? { start: alone[0].states[1] }
      : id === 1
      ? { onMetrics: () => Promise.reject(new Error("the disk is full")) }
      : {}
  );
  const [resumed, failed, other] = results;
  assertSameTensors(valueOf(resumed).weights, alone[0].weights, "the resumed one");
  assertEquals(reasons([failed]), ["the disk is full"]);
  assertAlike(valueOf(other), alone[2], "the other one");
});

Deno.test("a training whose batch, or held-out sequences, no model can take fails alone, wherever it stands, and the others are as alone", async () => {
  for (const bad of [0, 2]) {
    const rows = anyRows(3 * STEPS, `training ${bad}`);
    rows.tokens![2 * 3 * MODEL.context] = 99; // the first token of its third step
    const open = readingFrom(rows);
    const results = await trainAll((id) => id === bad ? { open } : {});
    for (const [id, result] of results.entries()) {
      if (id !== bad) assertAlike(valueOf(result), alone[id], `training ${id}`);
    }
    assertStringIncludes(
      String(reasons(results)[bad]),
      "position 0 holds 99, the vocabulary is 37",
    );
  }
  const validation = anyRows(4, "wrong");
  validation.tokens![0] = 99;
  const results = await trainAll((id) => id === 2 ? { validation } : {});
  for (const id of [0, 1]) assertAlike(valueOf(results[id]), alone[id], `training ${id}`);
  assertEquals(results[2].status, "rejected");
});

Deno.test("a training that is stopped saves and leaves the others as they are", async () => {
  const stop = new AbortController();
  let saved = 0;
  const onCheckpoint = async (
    read: () => Promise<TrainingState>,
    { extra }: { extra: boolean },
  ) => {
    if (extra) saved = (await read()).trainer.step;
  };
  const onStep = ({ step }: { step: number }) => step >= 3 && stop.abort();
  const results = await trainAll((id) =>
    id === 1 ? { signal: stop.signal, onStep, onCheckpoint } : {}
  );
  for (const id of [0, 2]) assertAlike(valueOf(results[id]), alone[id], `training ${id}`);
  assertEquals([results[1].status, saved], ["rejected", 3]);
});

Deno.test("trainings are shared among several devices to the same bits", async () => {
  const asked: number[] = [];
  const other = await openGpu({ variants: gpu.variants });
  try {
    const results = await trainAll(undefined, (models) => models < 3, (own, models) => {
      asked.push(models);
      return Promise.resolve([own, other].slice(0, models));
    });
    results.map(valueOf).forEach((result, i) => assertAlike(result, alone[i], `training ${i}`));
    assertEquals(asked, [2, 1]);
  } finally {
    other.close();
  }
});

Deno.test("trainings whose rates take another course do not share a bank", async () => {
  const slow = { rateAt: (step: number) => step === STEPS ? 0.001 : 0.02 / step };
  const results = (await trainAll((id) => id === 1 ? slow : {})).map(valueOf);
  for (const id of [0, 2]) assertAlike(results[id], alone[id], `training ${id}`);
  assertAlike(results[1], await train(1, slow), "the slow one");
});

/** A device that binds, and so makes, no larger buffers. */
function bindingAtMost(maxBindingBytes: number): typeof gpu {
  const arena = () => {
    const own = gpu.arena();
    const buffer: typeof own.buffer = (...wanted) => {
      const made = own.buffer(...wanted);
      assert(made.bytes <= maxBindingBytes, `${made.label} has ${made.bytes} bytes`);
      return made;
    };
    return { buffer, bytes: 0, destroy: own.destroy };
  };
  return { ...gpu, maxBindingBytes, arena };
}

Deno.test("the models of a bank take the logits of as many rows as alone, however few models' logits fit at once", async () => {
  const config = { ...MODEL, vocabulary: 12_000 };
  // 38 MB of logits each, in two chunks of at most 32 MiB.
  const [models, batch, length] = [3, 4, 200];
  const start = IDS.map((id) => anyWeights(config, id));
  const all = anyBatch(config, { models, batch, length });
  const settings = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };
  const gradients = async (start: ReturnType<typeof anyWeights>[], own: typeof all, on = gpu) => {
    const processor = { ...on, kind: "software" as const }; // a GPU holds more logits at once
    const trainer = createTrainer(processor, { config, start, batch, length, settings });
    trainer.step(own, 0.01);
    await trainer.drain();
    const read = await trainer.gradients();
    trainer.close();
    return read;
  };
  const together = await gradients(start, all);
  const split = await gradients(start, all, bindingAtMost(6e6)); // of few models at a time
  for (const id of IDS) {
    const own = takeModelBatch(all, models, id);
    const [alone] = await gradients([start[id]], own);
    assertSameTensors(together[id], alone, `gradients of model ${id} in a bank`);
    // Less is held at once, too.
    const [low] = await gradients([start[id]], own, bindingAtMost(6e6));
    assertSameTensors(split[id], low, `gradients of model ${id} in banks of few`);
  }
});
