import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import {
  LossNotFiniteError,
  type TrainingState,
  trainModel,
  type TrainModelOptions,
} from "../../../pipeline/training/loop.ts";
import type { StepMetrics } from "../../../pipeline/training/metrics.ts";
import { withoutRoom } from "../../kernels/device/support.ts";
import { gpu } from "../../kernels/support.ts";
import { anyWeights, assertSameTensors } from "../model/support.ts";
import { anyRows, MODEL, readingFrom, SMALL } from "./support.ts";

const ROWS = anyRows(30, "training");
const STEPS = 10;
const BATCH = 3;

/** Options of a small training; the stream counts where it was opened. */
function options(more: Partial<TrainModelOptions> = {}): TrainModelOptions & { opened: number[] } {
  const opened: number[] = [];
  const open = readingFrom(ROWS);
  return {
    ...SMALL,
    start: anyWeights(MODEL, "start"),
    batch: BATCH,
    steps: STEPS,
    opened,
    ...more,
    open: more.open ?? ((consumed) => (opened.push(consumed), open(consumed))),
  };
}

Deno.test("trainModel() goes on from the checkpoint of any step, to the same metrics and weights", async () => {
  const states: TrainingState[] = [];
  const metrics: StepMetrics[] = [];
  const validation = anyRows(5, "held out");
  const common = { validation, validateEvery: 4, logEvery: 3 };
  const expected = await trainModel(options({
    ...common,
    checkpointEvery: 1,
    onCheckpoint: async (read) => void states.push(structuredClone(await read())),
    onMetrics: (line) => void metrics.push(line),
  }));
  assertEquals(metrics.map(({ step }) => step), [3, 4, 6, 8, 9, 10]);
  assertEquals(metrics.filter((line) => line.validationLoss).map(({ step }) => step), [4, 8, 10]);
  assertEquals(states.length, STEPS);
  for (const state of states.slice(0, -1)) {
    const after = state.trainer.step;
    const resumed: StepMetrics[] = [];
    const again = options({
      ...common,
      start: state,
      onMetrics: (line) => void resumed.push(line),
    });
    assertSameTensors(await trainModel(again), expected, `a training resumed after step ${after}`);
    assertEquals(again.opened, [after * BATCH]);
    assertEquals(resumed, metrics.filter(({ step }) => step > after));
  }
});

Deno.test("trainModel() reports the mean loss since the line before and counts real tokens", async () => {
  const each: StepMetrics[] = [];
  const some: StepMetrics[] = [];
  await trainModel(options({ logEvery: 1, onMetrics: (line) => void each.push(line) }));
  await trainModel(options({ logEvery: 4, onMetrics: (line) => void some.push(line) }));
  assertEquals(some.map(({ step }) => step), [4, 8, 10]);
  const mean = (from: number, to: number) =>
    each.slice(from, to).reduce((sum, { loss }) => sum + loss, 0) / (to - from);
  [[0, 4], [4, 8], [8, 10]].forEach(([from, to], i) =>
    assertAlmostEquals(some[i].loss, mean(from, to), 1e-12)
  );
  const tokens = (rows: number) => ROWS.length.subarray(0, rows).reduce((sum, n) => sum + n, 0);
  assertEquals(some.map((line) => line.tokens), [12, 24, 30].map(tokens));
  assertEquals(some.map(({ rate, step }) => rate * step), [0.02, 0.02, 0.02]);
});

Deno.test("trainModel() validates as a scorer of the same weights does, and learns nothing from it", async () => {
  const validation = anyRows(7, "held out"); // not a multiple of the batch
  let validationLoss = NaN;
  const onMetrics = (line: StepMetrics) => void (validationLoss = line.validationLoss!);
  const weights = await trainModel(
    options({ validation, validateEvery: 2, onMetrics, microBatch: 1 }),
  );
  assertSameTensors(weights, await trainModel(options({ microBatch: 1 })));
  const scorer = createScorer(gpu, {
    config: MODEL,
    models: [weights],
    batch: 4,
    length: MODEL.context,
  });
  const nll = await scorer.score(validation.tokens!, MODEL.context, validation.length);
  scorer.close();
  const predicted = validation.length.reduce((sum, n) => sum + n - 1, 0);
  assertAlmostEquals(validationLoss, nll.reduce((sum, value) => sum + value, 0) / predicted, 1e-5);
});

Deno.test("trainModel() stopped by its signal writes a checkpoint to go on from", async () => {
  const expected = await trainModel(options());
  for (const stop of [1, 8, STEPS]) { // steps are looked at every 8, or as they are logged
    const controller = new AbortController();
    const saved: TrainingState[] = [];
    const stopped = options({
      signal: controller.signal,
      onStep: ({ step }) => void (step >= stop && controller.abort()),
      logEvery: stop,
      onCheckpoint: async (read) => void saved.push(await read()),
    });
    await assertRejects(() => trainModel(stopped), DOMException, "abort");
    assertEquals(saved.map(({ trainer }) => trainer.step), [stop]);
    assertSameTensors(await trainModel(options({ start: saved[0] })), expected);
  }
});

/** The device with dispatches of endless work, so that a step waits after each; `onRead` sees each read. */
const slowGpu = (onRead: () => void): typeof gpu => ({
  ...gpu,
  dispatch: (plan) => ({ ...gpu.dispatch(plan), multiplications: Infinity }),
  read: (ranges) => {
    onRead();
    return gpu.read(ranges);
  },
});

Deno.test("trainModel() stopped in the middle of a step saves the state before it, whenever that is", async () => {
  const expected = await trainModel(options());
  let reads = 0;
  await trainModel(options({ gpu: slowGpu(() => reads++) }));
  assert(reads > 4 * STEPS, `it waits ${reads} times`);
  for (let stop = 1; stop < reads; stop += 41) {
    const controller = new AbortController();
    const saved: TrainingState[] = [];
    let read = 0;
    let later = 0; // reads between the signal and the end
    const stopped = options({
      gpu: slowGpu(() => {
        if (++read === stop) controller.abort();
        else if (read > stop) later++;
      }),
      signal: controller.signal,
      onCheckpoint: async (read) => void saved.push(await read()),
    });
    await assertRejects(() => trainModel(stopped), DOMException, "abort");
    const whole = 3 + 3; // results, a validation, and the state's three lists
    assert(later <= reads / STEPS + whole, `${later} reads after the signal at read ${stop}`);
    const [state] = saved;
    const start = state ?? anyWeights(MODEL, "start");
    assertSameTensors(await trainModel(options({ start })), expected, `stopped at read ${stop}`);
  }
});

Deno.test("trainModel() makes checkpoints by time as well as by steps, and reports which no step brought", async () => {
  const saved: [number, boolean][] = [];
  const common = options({
    logEvery: 1, // so that it looks after every step
    checkpointEvery: 4,
    onCheckpoint: async (read, { extra }) => void saved.push([(await read()).trainer.step, extra]),
  });
  const expected = await trainModel({ ...common, start: anyWeights(MODEL, "start") });
  assertEquals(saved.splice(0), [[4, false], [8, false]]);
  assertSameTensors(await trainModel({ ...common, checkpointMinutes: 1e-9 }), expected);
  assertEquals(saved.map(([step]) => step), [1, 2, 3, 4, 5, 6, 7, 8, 9]); // not after the last
  assertEquals(saved.filter(([, extra]) => !extra), [[4, false], [8, false]]);
  saved.length = 0;
  await trainModel({ ...common, checkpointMinutes: 60 });
  assertEquals(saved, [[4, false], [8, false]]);
});

Deno.test("trainModel() stops at a loss that is no number, with its step", async () => {
  const diverging = options({ rateAt: (step) => step === 4 ? Infinity : 0.01, logEvery: 1 });
  const error = await assertRejects(() => trainModel(diverging), LossNotFiniteError, "at step 5");
  assertEquals(error.step, 5);
});

Deno.test("trainModel() refuses settings that make no step, and streams that end", async () => {
  for (const name of ["batch", "steps", "logEvery"]) {
    await assertRejects(() => trainModel(options({ [name]: 0 })), InputError, `${name} is 0`);
  }
  const short = options({ open: () => (n) => Promise.resolve(sliceColumns(ROWS, 0, n - 1)) });
  await assertRejects(() => trainModel(short), InputError, "there must be 3 sequences");
});

Deno.test("trainModel() frees the memory of the device, also when it fails", async () => {
  const { device, held } = withoutRoom(gpu, () => false);
  await trainModel(options({ gpu: device }));
  assertEquals(held(), 0);
  const failing = options({ gpu: device, rateAt: () => NaN, logEvery: 1 });
  await assertRejects(() => trainModel(failing), LossNotFiniteError);
  assertEquals(held(), 0);
});
