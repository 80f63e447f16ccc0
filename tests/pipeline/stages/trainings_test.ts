import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { trainingFlops } from "../../../pipeline/cost/flops.ts";
import { modelShapes } from "../../../pipeline/model/shapes.ts";
import { readRunConfiguration, writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { tokenizeResult } from "../../../pipeline/stages/tokenize.ts";
import { denseTarget } from "../../../pipeline/stages/train_dense.ts";
import { openTrainings, type Training } from "../../../pipeline/stages/trainings.ts";
import { trainDense, trainExpert } from "../../../pipeline/stages/train.ts";
import { recordTime } from "../../../pipeline/run/timing.ts";
import { readStepMetrics } from "../../../pipeline/training/metrics.ts";
import { gpu } from "../../kernels/support.ts";
import { withPartition } from "./support.ts";

const flags = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 30,
  validateEvery: 10,
};
const TRAINING = { sources: { flags }, gpu, checkpointEvery: 10 };

Deno.test("openTrainings() tells of every training what its files and its holder say, each time anew", () =>
  withPartition(async (run) => {
    const reader = await openTrainings(run);
    const first = await reader.read();
    assertEquals(first.map(({ model, state }) => `${model} ${state}`), [
      "expert-00 waiting",
      "expert-01 waiting",
      "dense waiting",
      "dense-steps waiting",
    ]);

    const seen: Training[] = [];
    const looking: Promise<void>[] = [];
    const onEvent = (event: { type: string; done?: number }) => {
      if (event.type === "progress" && event.done! > 20) {
        looking.push(reader.read().then(([training]) => void seen.push(training)));
      }
    };
    await trainExpert(0, { run, ...TRAINING }, { onEvent });
    await Promise.all(looking);
    const during = seen.filter(({ state }) => state === "training").at(-1)!;
    assertEquals([during.steps, during.holders.map(({ pid }) => pid)], [30, [Deno.pid]]);
    assert(
      during.step >= 10 && during.tokensPerSecond! > 0 && during.flopsPerSecond! > 0,
      JSON.stringify(during),
    );
    const perStep = during.tokens / during.step;
    const left = (30 - during.step) * perStep / during.tokensPerSecond!;
    assert(Math.abs(during.secondsLeft! - left) < 1e-6);

    const stop = new AbortController();
    let stoppedAt = 0; // a slow machine looks at the device less often, and stops some steps later
    const end = (event: { type: string; done?: number }) => {
      if (event.type !== "progress" || event.done! < 15 || stop.signal.aborted) return;
      stoppedAt = event.done!;
      stop.abort(new DOMException("stop", "AbortError"));
    };
    await assertRejects(
      () => trainExpert(1, { run, ...TRAINING }, { onEvent: end, signal: stop.signal }),
      DOMException,
    );
    const [done, stopped, dense] = await reader.read();
    const lines = await readStepMetrics(`${run}/metrics/expert-00.jsonl`);
    const { loss, rate, tokens, step } = lines.at(-1)!;
    assertEquals([done.state, done.step, done.loss, done.rate, done.tokens], [
      "complete",
      step,
      loss,
      rate,
      tokens,
    ]);
    assertEquals(done.validationLoss, lines.findLast((line) => line.validationLoss)?.validationLoss ?? null);
    assertEquals([done.tokensPerSecond, done.secondsLeft, done.holders], [null, null, []]);
    const measured = Math.floor(stoppedAt / 10) * 10; // the last step with a line of metrics
    assertEquals([stopped.state, stopped.steps, stopped.step], ["stopped", 30, measured]);
    assert(stopped.checkpoint!.step >= 10 && stopped.checkpoint!.at !== null);
    assertEquals(dense.state, "waiting");

    const release = await lockRun(run, "train-dense", "train-dense");
    assertEquals((await reader.read())[2].state, "training");
    await release();
    await trainDense("batch", { run, ...TRAINING });
    await Deno.writeTextFile(`${run}/manifests/train-dense.json`, "{}");
    assertEquals((await reader.read())[2].state, "damaged");
    const metrics = `${run}/metrics/expert-00.jsonl`;
    const text = await Deno.readTextFile(metrics);
    await Deno.writeTextFile(metrics, text.replace(/"loss":(\d)/, (_, digit) => `"loss":${9 - digit}`));
    const [{ state, loss: told }] = await reader.read();
    assertEquals([state, told], ["damaged", null]);
    await Deno.writeTextFile(metrics, text);
    assertEquals((await reader.read())[0].loss, loss);
    await assertRejects(() => openTrainings(`${run}/none`), InputError);
  }));

Deno.test("openTrainings() counts the steps of the larger dense model as its training does", () =>
  withPartition(async (run) => {
    const { configuration: made } = (await readRunConfiguration(run))!;
    const configuration = { ...made, vocabularySize: 2000 }; // as with a tokenizer from elsewhere
    await writeRunConfiguration(run, configuration);
    const release = await lockRun(run, "train-dense-compute", "train-dense");
    const all = await (await openTrainings(run)).read();
    await release();
    const { steps } = all.find(({ model }) => model === "dense-compute")!;
    const tokenize = (await readManifest(run, "tokenize"))!;
    const { trainSequences: sequences, testSequences: heldOut, vocabulary } = tokenizeResult(tokenize, run);
    const own = { ...configuration, vocabularySize: vocabulary };
    const target = denseTarget("compute");
    assertEquals(steps, target.steps(own, { sequences, heldOut }));
    assertNotEquals(steps, target.steps(own, { sequences }));
    assertNotEquals(steps, target.steps(configuration, { sequences, heldOut }));
  }, { ...flags, expertSteps: 4000, denseLayers: 2, holdout: 0.5 }));

Deno.test("openTrainings() counts the FLOP/s of an expert with the tokenizer's vocabulary, not the settings'", () =>
  withPartition(async (run) => {
    const { configuration: made } = (await readRunConfiguration(run))!;
    await writeRunConfiguration(run, { ...made, vocabularySize: 2000 }); // as with a tokenizer from elsewhere
    const release = await lockRun(run, "train-expert-00", "train-expert");
    const line = { step: 10, tokens: 1000, loss: 1, rate: 0.1, norm: 1 };
    await Deno.writeTextFile(`${run}/metrics/expert-00.jsonl`, JSON.stringify(line) + "\n");
    await recordTime(run, { stage: "train-expert-00", step: 10, seconds: 1, tokensPerSecond: 100 });
    const [{ flopsPerSecond }] = await (await openTrainings(run)).read();
    await release();
    const { vocabulary } = tokenizeResult((await readManifest(run, "tokenize"))!, run);
    const { expert } = modelShapes({ ...made, vocabularySize: vocabulary });
    assertEquals(flopsPerSecond, trainingFlops(expert, made.expertBatch, made.sequenceLength)); // of a step
  }));
