import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { forwardFlops, trainingFlops } from "../../../pipeline/cost/flops.ts";
import { parameterCount } from "../../../pipeline/model/shape.ts";
import { modelShapes } from "../../../pipeline/model/shapes.ts";
import { partHash, readPart } from "../../../pipeline/partition/manifests.ts";
import { readRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { exists } from "../../../pipeline/run/files.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { expertsOf, trainDense, trainExpert, type TrainOptions } from "../../../pipeline/stages/train.ts";
import { listCheckpoints } from "../../../pipeline/training/resume.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const EXPERT = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 4,
  expertWarmup: 1,
};
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: gpu === null, fn });

test("trainExpert() trains on its part, once, and refuses another setting until it is told how to go on", () =>
  withPartition(async (run) => {
    const train = (flags = {}, more = {}) =>
      trainExpert(1, { run, gpu: gpu!, sources: { flags: { ...EXPERT, ...flags } }, ...more });
    const first = await train();
    assertEquals([first.steps, first.batch, first.folder], [4, 4, "experts/expert-01"]);
    const { notes } = await loadCheckpoint(`${run}/experts/expert-01`);
    assertEquals(notes.partition, partHash(await readPart(`${run}/partition/expert-01`)));
    assertEquals(await train(), first);
    await assertRejects(() => train({ expertRate: 0.01 }), InputError, "it is 0.01, there it is 0.003");
    const again = await train({ expertRate: 0.01 }, { force: true });
    assertEquals([again.rate, (await readManifest(run, "train-expert-01"))?.configuration.rate], [
      0.01,
      0.01,
    ]);
    await assertRejects(() => trainExpert(2, { run, gpu: gpu! }), InputError, "must be one of 0 to 1");
    assertEquals(await expertsOf(run), 2);
  }));

test("trainExpert() keeps its last checkpoint until the manifest is written", () =>
  withPartition(async (run) => {
    const states = `${run}/experts/expert-00/checkpoints`;
    const ending = new AbortController();
    const train = (onStep: () => void, signal?: AbortSignal) =>
      trainExpert(0, { run, gpu: gpu!, sources: { flags: { ...EXPERT, expertSteps: 60 } } }, {
        onEvent: (event) => event.type === "progress" && onStep(),
        signal,
      });
    await assertRejects(() => train(() => ending.abort(new Error("ended")), ending.signal), Error, "ended");
    const [checkpoint] = await listCheckpoints(states);
    const inTheWay = `${run}/manifests/train-expert-00.json`;
    await assertRejects(() => train(() => Deno.mkdirSync(`${inTheWay}/folder`, { recursive: true })));
    assertEquals(await listCheckpoints(states), [checkpoint]);
    await Deno.remove(inTheWay, { recursive: true });
    await train(() => {});
    assertEquals(await listCheckpoints(states), []);
  }));

test("a trial of a rate stands aside: neither the run's settings nor its models know of it", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: EXPERT }, trial: { share: 0.5, rate: 0.02 } };
    const { steps, rate, folder } = await trainExpert(0, options);
    assertEquals([steps, rate, folder], [2, 0.02, "search/expert-00-0.02"]);
    assertEquals((await readRunConfiguration(run))?.configuration.expertHidden, 64);
    assertEquals(await exists(`${run}/experts`), false);
  }));

test("a trial warms up as slowly as the training, but for half of its steps at most", () =>
  withPartition(async (run) => {
    const warmupOf = async (flags: Record<string, number>, share = 0.5) => {
      const trial = { share, rate: 0.02 };
      await trainExpert(0, {
        run,
        gpu: gpu!,
        sources: { flags: { ...EXPERT, ...flags } },
        trial,
        force: true,
      });
      return (await readManifest(run, "search-expert-00-0.02"))!.configuration.warmup;
    };
    assertEquals(await warmupOf({ expertSteps: 16, expertWarmup: 3 }), 3);
    assertEquals(await warmupOf({ expertSteps: 16, expertWarmup: 6 }), 4);
    assertEquals(await warmupOf({ expertSteps: 16, expertWarmup: 14 }), 7); // the training's share
    assertEquals(await warmupOf({ expertSteps: 16, expertWarmup: 14 }, 1), 14); // the training itself
  }));

test("trainDense() matches the experts' steps or their batch, at as many tokens", () =>
  withPartition(async (run) => {
    const options = { run, gpu: gpu!, sources: { flags: EXPERT } };
    const [batch, steps] = [await trainDense("batch", options), await trainDense("steps", options)];
    assertEquals([batch.steps, batch.batch, batch.folder], [4, 8, "dense"]);
    assertEquals([steps.steps, steps.batch, steps.folder], [8, 4, "dense-steps"]);
    assertEquals(batch.tokens, steps.tokens);
    const wide = {
      ...options,
      sources: { flags: { ...EXPERT, expertBatch: 6, microBatch: 4 } },
      force: true,
    };
    await assertRejects(() => trainExpert(0, wide), InputError, "a multiple of");
  }));

test("trainDense() matches the mixture's FLOPs with a larger model, and says where whole steps cannot", () =>
  withPartition(async (run) => {
    const train = async (flags: Record<string, number>, more = {}) => {
      const warnings: string[] = [];
      const options = { run, gpu: gpu!, sources: { flags: { ...EXPERT, ...flags } }, ...more };
      const result = await trainDense("compute", options, {
        onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
      });
      return { ...result, warnings };
    };
    const brief = await train({ expertSteps: 1, denseLayers: 3 });
    assertEquals([brief.folder, brief.batch], ["dense-compute", 4]);
    assertStringIncludes(brief.warnings.join(), "more than 1% apart");
    await assertRejects(
      () => train({ expertSteps: 1, denseLayers: 2 }),
      InputError,
      "denseLayers must be what its config.json says: it is 2, there it is 3",
    );
    const { steps, batch, cost, warnings } = await train({ expertSteps: 60, denseLayers: 2 }, {
      force: true,
    });
    assertEquals(warnings, []);
    const { config } = await loadCheckpoint(`${run}/dense-compute`);
    assertEquals([config.hidden, config.layers, config.heads], [16, 2, 2]);
    assertEquals(cost!.parameters, parameterCount(config));
    assertEquals(cost!.training, steps * trainingFlops(config, batch, 32));
    assert(Math.abs(cost!.training / cost!.mixture - 1) <= 0.01);
    // Experts, routers and scoring, counted anew from what the run's manifests say.
    const { configuration: c } = (await readRunConfiguration(run))!;
    const { expert, router } = modelShapes({ ...c, vocabularySize: config.vocabulary });
    const tokenized = (await readManifest(run, "tokenize"))!.result;
    const scored = 3 * 32 * 2 + Number(tokenized.trainSequences) + Number(tokenized.testSequences);
    const mixture = 2 * 60 * trainingFlops(expert, 4, 32) + 2 * 3 * 4 * trainingFlops(router, 8, 16) +
      scored * 2 * forwardFlops(router, 1, 16);
    assertAlmostEquals(cost!.mixture / mixture, 1, 1e-12);
  }));

test("trainExpert() does not resume from nothing where that would replace a training", () =>
  withPartition(async (run) => {
    const train = (flags = {}, more = {}) =>
      trainExpert(0, {
        ...{ run, gpu: gpu!, checkpointEvery: 4, sources: { flags: { ...EXPERT, ...flags } } },
        ...more,
      });
    const resume = (flags = {}) => train(flags, { resume: true });
    const made = await resume(); // there is nothing to lose yet
    assertEquals([made.steps, made.resumed], [4, []]);
    const before = await hashes(run);
    const refusal = async (flags: Record<string, number>, fact: string) => {
      const { what, where, remedy } = await assertRejects(() => resume(flags), InputError);
      assertStringIncludes(wordText(what), fact);
      assertEquals(where, `${run}/experts/expert-00/checkpoints`);
      assertEquals(wordText(remedy!), "train for more steps, or start again with force");
    };
    await refusal({ expertSteps: 2 }, "at most 2 steps must be there: the last is step-00000004.safetensors");
    await refusal({ expertHidden: 16 }, "of its model");
    assertEquals(await hashes(run), before);
    await Deno.remove(`${run}/manifests/train-expert-00.json`); // as where it was killed
    await refusal({ expertSteps: 2 }, "the last is step-00000004.safetensors");
    assertEquals((await resume()).steps, 4);
    await Deno.remove(`${run}/experts/expert-00/checkpoints`, { recursive: true });
    await refusal({ expertSteps: 2 }, "there is none");
    assertEquals((await train({ expertSteps: 2 }, { force: true })).steps, 2);
  }));

test("trainExpert() refuses damaged shards before it touches anything", () =>
  withPartition(async (run) => {
    const shard = `${run}/partition/expert-00/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    const options = { run, gpu: gpu!, sources: { flags: EXPERT } };
    const config = await Deno.readTextFile(`${run}/config.json`);
    const error = await assertRejects(
      () => trainExpert(0, options),
      InputError,
      "its SHA-256 is not that of its manifest",
    );
    assertEquals([error.where, await exists(`${run}/experts/expert-00/config.json`)], [shard, false]);
    assertEquals(await Deno.readTextFile(`${run}/config.json`), config); // other experts are not bound by what failed
    await Deno.remove(`${run}/partition/expert-01`, { recursive: true });
    await assertRejects(() => trainExpert(1, options), InputError, "its part must be there");
  }));

test("trainExpert() says of damaged checkpoints what it goes on from: one before them, or its start", () =>
  withPartition(async (run) => {
    const states = `${run}/experts/expert-00/checkpoints`;
    const train = async () => {
      const warnings: string[] = [];
      const options = { run, gpu: gpu!, sources: { flags: EXPERT }, checkpointEvery: 2 };
      await trainExpert(0, options, {
        onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
      });
      return warnings;
    };
    const damage = async (step: number) => {
      const path = `${states}/step-0000000${step}.safetensors`;
      const bytes = await Deno.readFile(path);
      bytes[bytes.length - 1] ^= 1;
      await Deno.writeFile(path, bytes);
    };
    await train();
    await Deno.remove(`${run}/manifests/train-expert-00.json`); // as where it was killed
    await damage(4);
    const [one, goes] = await train();
    assertStringIncludes(one, "; expert-00 goes on from the one before");
    assertStringIncludes(goes, "expert-00 goes on after step 2 of 4");
    await Deno.remove(`${run}/manifests/train-expert-00.json`);
    await damage(2);
    await damage(4);
    const none = await train();
    assertEquals(
      none.map((text) => text.split("; ").at(-1)),
      Array(2).fill("expert-00 has no other to go on from"),
    );
  }));

test("trainExpert() says where it begins anew as the metrics that its checkpoints stand on are gone", () =>
  withPartition(async (run) => {
    const warnings: string[] = [];
    const train = async () => {
      const flags = { ...EXPERT, logEvery: 1 };
      await trainExpert(0, { run, gpu: gpu!, sources: { flags }, checkpointEvery: 2 }, {
        onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
      });
    };
    await train();
    await Deno.remove(`${run}/manifests/train-expert-00.json`); // as where it was killed
    await Deno.remove(`${run}/metrics/expert-00.jsonl`);
    await train();
    assertEquals(warnings.filter((text) => text.includes("the metrics up to it must be whole")).length, 2);
    assertStringIncludes(warnings.join(), "expert-00 has no other to go on from");
  }));

test("trainExpert() that goes on from a checkpoint keeps those that it makes, not later ones of before", () =>
  withPartition(async (run) => {
    const states = `${run}/experts/expert-00/checkpoints`;
    const train = (expertSteps: number, more: Partial<TrainOptions>) =>
      trainExpert(0, { run, gpu: gpu!, sources: { flags: { ...EXPERT, expertSteps } }, ...more });
    await train(12, { checkpointEvery: 4, keep: 3 });
    await train(9, { checkpointEvery: 1, keep: 1, resume: true });
    const names = Array.from(Deno.readDirSync(states), ({ name }) => name);
    assertEquals(names, ["step-00000009.safetensors"]);
  }));
