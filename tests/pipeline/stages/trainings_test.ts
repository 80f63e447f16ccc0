import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { openTrainings, type Training } from "../../../pipeline/stages/trainings.ts";
import { trainDense, trainExpert } from "../../../pipeline/stages/train.ts";
import { readLastMetrics, readStepMetrics } from "../../../pipeline/training/loop.ts";
import { gpu } from "../../kernels/support.ts";
import { inFolder } from "../../tasks/support.ts";
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
    const end = (event: { type: string; done?: number }) => {
      if (event.type === "progress" && event.done! >= 15) stop.abort(new DOMException("stop", "AbortError"));
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
    assertEquals([stopped.state, stopped.steps, stopped.step], ["stopped", 30, 10]);
    assert(stopped.checkpoint!.step >= 10 && stopped.checkpoint!.at !== null);
    assertEquals(dense.state, "waiting");

    const release = await lockRun(run, "train-dense", "train-dense");
    assertEquals((await reader.read())[2].state, "training");
    await release();
    await trainDense("batch", { run, ...TRAINING });
    await Deno.writeTextFile(`${run}/manifests/train-dense.json`, "{}");
    assertEquals((await reader.read())[2].state, "damaged");
    await assertRejects(() => openTrainings(`${run}/none`), InputError);
  }));

Deno.test("readLastMetrics() reads the end of a file of any length, and passes over what is damaged or not written yet", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    assertEquals(await readLastMetrics(path), null);
    await Deno.writeTextFile(path, '{"step":1,');
    assertEquals(await readLastMetrics(path), null);
    const line = (step: number) => {
      const validationLoss = step % 100 === 0 ? { validationLoss: step / 1000 } : {};
      return JSON.stringify({ step, tokens: 10 * step, loss: 2, rate: 0.1, norm: 1, ...validationLoss }) +
        "\n";
    };
    const lines = Array.from({ length: 5050 }, (_, i) => line(i + 1));
    await Deno.writeTextFile(path, `${lines.join("")}damaged\n${line(6000).slice(0, 20)}`);
    const { last, validationLoss, at } = (await readLastMetrics(path))!;
    assertEquals([last.step, last.tokens, validationLoss, at instanceof Date], [5050, 50_500, 5, true]);
  }));
