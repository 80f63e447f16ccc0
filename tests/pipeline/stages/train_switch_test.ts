import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { parameterCount } from "../../../pipeline/model/shape.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { report } from "../../../pipeline/report/report.ts";
import { generate, type GenerateOptions } from "../../../pipeline/serving/generate.ts";
import { evaluateRun } from "../../../pipeline/stages/evaluate_run.ts";
import { trainDense, trainExpert, trainSwitch } from "../../../pipeline/stages/train.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { readStepMetrics } from "../../../pipeline/training/metrics.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const FLAGS = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 9,
  expertWarmup: 1,
  logEvery: 4,
  switchCapacity: 1,
};
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: gpu === null, fn });
const optionsOf = (run: string, flags = {}, more = {}) => ({
  run,
  gpu: gpu!,
  sources: { flags: { ...FLAGS, ...flags } },
  ...more,
});

/** Generates tokens with a model's folder. */
async function textOf(options: GenerateOptions): Promise<number[]> {
  const text = await generate({ ...options, gpu: gpu! });
  await Array.fromAsync(text);
  return [...text.tokens];
}

test("trainSwitch() trains on all tokens in passes that belong to its key, and tells of its routing and its cost", () =>
  withPartition(async (run) => {
    const made = await trainSwitch(optionsOf(run));
    const dense = await trainDense("batch", optionsOf(run));
    assertEquals([made.folder, made.steps, made.batch, made.tokens], ["switch", 9, 8, dense.tokens]);
    const { config, notes } = await loadCheckpoint(`${run}/switch`);
    assertEquals(config.switch, { experts: 2, capacity: 1, balance: 0.01 });
    assertEquals(made.cost!.parameters, parameterCount(config));
    assert(made.cost!.memory.inference > made.cost!.memory.expertInference);
    assert(made.cost!.memory.routing! > 0);
    assert(notes.tokenizer !== undefined);
    const { balance, dropped } = made.routing!;
    assert(balance > 0.9 && balance <= 2, `balance ${balance}`);
    assert(dropped > 0 && dropped < 0.5, `dropped ${dropped}`); // capacity 1: whatever is not even is dropped
    const lines = await readStepMetrics(`${run}/metrics/switch.jsonl`);
    assertEquals(lines.map(({ step }) => step), [4, 8, 9]);
    for (const { reports } of lines) {
      assertEquals(Object.keys(reports!), ["balanceLoss", "balance", "routed", "dropped"]);
      assert(Math.abs(reports!.balanceLoss - 0.01 * reports!.balance) < 1e-6);
    }
    assertEquals(lines.at(-1)!.reports!.dropped / lines.at(-1)!.reports!.routed, dropped);
    await assertRejects(
      () => trainSwitch(optionsOf(run, { switchBalance: 0.5 })),
      InputError,
      "switchBalance",
    );
    await assertRejects(() => trainSwitch(optionsOf(run, { microBatch: 2 })), InputError, "microBatch");
    const again = await trainSwitch(optionsOf(run, { microBatch: 2 }, { force: true }));
    assert(again.routing!.dropped !== dropped); // an expert takes a share of every pass
    const half = await trainSwitch(optionsOf(run, { microBatch: 2, dtype: "bf16" }, { force: true }));
    assert(
      half.loss !== again.loss && Math.abs(half.loss! / again.loss! - 1) < 0.01,
      `${half.loss} ${again.loss}`,
    );
  }));

test("a Switch training that is stopped goes on to the same bytes, recomputed as well", () =>
  withPartition(async (run) => {
    await trainSwitch(optionsOf(run));
    const { "metrics/timing.jsonl": _, ...whole } = await hashes(run);
    for (const recompute of [false, true]) {
      await Deno.remove(`${run}/switch`, { recursive: true });
      await Deno.remove(`${run}/manifests/train-switch.json`);
      await Deno.remove(`${run}/metrics/switch.jsonl`);
      const stop = new AbortController();
      const options = optionsOf(run, {}, { checkpointEvery: 2, recompute });
      const watch = {
        signal: stop.signal,
        onEvent: (event: { type: string }) => event.type === "checkpoint" && stop.abort(),
      };
      await trainSwitch(options, watch).catch(() => {});
      assertEquals(await readManifest(run, "train-switch"), null);
      await trainSwitch(options);
      const now = await hashes(run);
      for (const [path, sha256] of Object.entries(whole)) {
        if (path.startsWith("switch/model") || path.startsWith("metrics/switch")) {
          assertEquals(now[path], sha256, path);
        }
      }
      assertEquals((await readManifest(run, "train-switch"))!.result.routing !== undefined, true);
    }
  }));

test("evaluation compares the mixture with a larger model and a Switch Transformer, which generate as well", () =>
  withPartition(async (run) => {
    for (const expert of [0, 1]) await trainExpert(expert, optionsOf(run));
    await trainDense("compute", optionsOf(run));
    await trainSwitch(optionsOf(run));
    const messages: string[] = [];
    const { gains, scores } = await evaluateRun({ run, gpu: gpu!, resamples: 20 }, {
      onEvent: (event) => event.type === "warning" && messages.push(String(event.message)),
    });
    assertEquals(gains.map(({ baseline }) => baseline), ["dense-compute", "switch"]);
    assert(scores["dense-compute"]!.perplexity !== scores.switch!.perplexity);
    // Nine steps of the larger model cannot cost what the mixture does; the Switch model has seen as many tokens.
    assert(messages.every((message) => !message.includes("switch")), messages.join());
    assertEquals((await verifyRun(run)).problems, []);

    for (const name of ["switch", "dense-compute"]) {
      const options = { prompt: "sail wave", maxNewTokens: 4, temperature: 0 };
      const whole = await textOf({ ...options, model: `${run}/${name}` });
      assertEquals(await textOf({ ...options, model: `${run}/${name}`, cache: false }), whole);
    }
    await report({ run });
    const page = await Deno.readTextFile(`${run}/report.html`);
    const texts = [
      "Switch, experts in every layer",
      "dense, larger, equal compute",
      "one expert and all routers",
    ];
    for (const text of texts) {
      assertStringIncludes(page, text);
    }
    await Deno.remove(`${run}/switch/model.safetensors`);
    assertStringIncludes(JSON.stringify((await verifyRun(run)).problems), "switch/model.safetensors");
  }));

test("trainSwitch() and trainExpert() refuse to start from each other's models before they touch anything", () =>
  withPartition(async (run) => {
    await trainSwitch(optionsOf(run));
    await trainExpert(0, optionsOf(run));
    const before = await hashes(run);
    const from = (init: string) => optionsOf(run, { init: `${run}/${init}` }, { force: true });
    const message = "sublayers must be that of the model to train";
    await assertRejects(() => trainSwitch(from("experts/expert-00")), InputError, message);
    await assertRejects(() => trainExpert(0, from("switch")), InputError, message);
    assertEquals(await hashes(run), before);
  }));
