import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { trainingFlops } from "../../../pipeline/cost/flops.ts";
import { takeLock } from "../../../pipeline/graph/lock.ts";
import { readManifest } from "../../../pipeline/graph/node.ts";
import { modelShapes } from "../../../pipeline/model/shape.ts";
import { trainExpert, trainModels } from "../../../pipeline/run/models.ts";
import { denseTarget } from "../../../pipeline/stages/targets.ts";
import { readTrainings } from "../../../pipeline/run/trainings.ts";
import {
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import { recordTime } from "../../../pipeline/graph/timing.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const flags = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 12,
  expertWarmup: 1,
  logEvery: 2,
  validateEvery: 4,
};

Deno.test("readTrainings() tells trainings that wait, stopped, are at work, complete and damaged", () =>
  withPartition(async (run) => {
    const waiting = async () =>
      (await readTrainings(run)).map(({ model, state }) => `${model} ${state}`);
    const experts = ["expert-00 waiting", "expert-01 waiting"];
    assertEquals(await waiting(), experts); // nobody has asked for others
    const plan = { parts: 1, dense: ["steps", "switch"] };
    await Deno.mkdir(`${run}/jobs`);
    await Deno.writeTextFile(`${run}/jobs/plan.json`, JSON.stringify(plan));
    assertEquals(await waiting(), [...experts, "dense-steps waiting", "switch waiting"]);

    const stop = new AbortController();
    const onEvent = (event: { type: string; done?: number }) =>
      event.type === "progress" && event.done! >= 7 && stop.abort();
    const options = { run, sources: { flags }, checkpointEvery: 3 };
    await assertRejects(() => trainExpert(0, options, { onEvent, signal: stop.signal }));
    const [stopped] = await readTrainings(run);
    assertEquals([stopped.state, stopped.steps, stopped.secondsLeft], ["stopped", 12, null]);
    assert(
      stopped.checkpoint!.step >= 7 && stopped.step >= 6 && stopped.loss! > 0,
      JSON.stringify(stopped),
    );

    let during: Promise<void> | undefined;
    const look = async () => {
      const [training] = await readTrainings(run);
      assertEquals([training.state, training.holders[0].pid], ["training", Deno.pid]);
      assert(training.step >= stopped.step && training.step <= 12);
    };
    const { loss } = await trainExpert(0, options, {
      onEvent: ({ type }) => {
        if (type === "progress") during ??= look();
      },
    });
    await during!;
    const [complete] = await readTrainings(run);
    const reported = [
      complete.state,
      complete.step,
      complete.loss,
      complete.checkpoint,
      complete.holders,
    ];
    assertEquals(reported, ["complete", 12, loss, null, []]);

    const metrics = `${run}/experts/expert-00/metrics.jsonl`;
    const text = await Deno.readTextFile(metrics);
    await Deno.writeTextFile(
      metrics,
      text.replace(/"loss":(\d)/, (_, digit) => `"loss":${9 - digit}`),
    );
    const [damaged] = await readTrainings(run);
    assertEquals([damaged.state, damaged.loss], ["damaged", null]);
    await Deno.writeTextFile(metrics, text);
    await Deno.writeTextFile(`${run}/experts/expert-00/manifest.json`, "{}");
    assertEquals((await readTrainings(run))[0].state, "damaged");
    await assertRejects(() => readTrainings(`${run}/none`), InputError);
  }));

Deno.test("readTrainings() counts steps and FLOP/s as trainings do, with the tokenizer's vocabulary", () =>
  withPartition(async (run) => {
    const { configuration: made } = (await readRunConfiguration(run))!;
    // As with a tokenizer from elsewhere.
    await writeRunConfiguration(run, { ...made, vocabularySize: 2000 });
    const lock = await takeLock(run, "experts/expert-00", "train-expert");
    const line = { step: 10, tokens: 1000, loss: 1, rate: 0.1, norm: 1 };
    const partial = `${run}/partial/experts~expert-00~${crypto.randomUUID()}`;
    await Deno.mkdir(partial, { recursive: true });
    await Deno.writeTextFile(`${partial}/metrics.jsonl`, JSON.stringify(line) + "\n");
    await recordTime(run, { stage: "train-expert-00", step: 10, seconds: 1, tokensPerSecond: 100 });
    const [{ flopsPerSecond }] = await readTrainings(run);
    if ("release" in lock) lock.release();
    const vocabularySize = Number((await readManifest(`${run}/tokenizer`))!.result.entries);
    const { expert } = modelShapes({ ...made, vocabularySize });
    // Of a step.
    assertEquals(flopsPerSecond, trainingFlops(expert, made.expertBatch, made.sequenceLength));

    await writeRunConfiguration(run, made);
    const sources = { flags: { ...flags, denseLayers: 2, expertSteps: 8 } };
    const [{ steps }] = await trainModels(() => [denseTarget("compute")], { run, sources });
    const reported = async () =>
      (await readTrainings(run)).find(({ model }) => model === "dense-compute");
    assertEquals((await reported())!.steps, steps);
    await Deno.remove(`${run}/dense-compute`, { recursive: true });
    await Deno.mkdir(`${run}/scratch/dense-compute~0123456789abcdef`);
    assertEquals((await reported())!.steps, steps); // as it counts without the manifest
  }, { holdout: 0.5 }));

Deno.test("readTrainings() lists each folder of a run once, however many experts it has", () =>
  inFolder(async (run) => {
    await writeRunConfiguration(run, { ...defaultConfiguration(), experts: 64 });
    const { readDir } = Deno;
    const listed: string[] = [];
    Deno.readDir = (path) => {
      listed.push(String(path));
      return readDir(path);
    };
    try {
      assertEquals((await readTrainings(run)).length, 64);
    } finally {
      Deno.readDir = readDir;
    }
    assertEquals(listed.length, new Set(listed).size);
  }));
