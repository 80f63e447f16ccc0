import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { computeCost, PLAIN_DEVICE } from "../../../pipeline/cost/cost.ts";
import { trainingMemory } from "../../../pipeline/cost/memory.ts";
import { modelShapes } from "../../../pipeline/model/shape.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { exists } from "../../../pipeline/graph/files.ts";
import {
  partition,
  planExperts,
  planPartition,
  type RunOptions,
} from "../../../pipeline/run/mod.ts";
import { uniform } from "../../../pipeline/random.ts";
import { gpu } from "../../kernels/support.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

Deno.test("planPartition() goes by the device that is named, and warns of rounds that see few sequences often", () =>
  inFolder(async (folder) => {
    const input = [`${folder}/docs.jsonl`];
    await Deno.writeTextFile(input[0], smallCorpus());
    const plan = (more = {}, device = {}) =>
      planPartition({
        run: `${folder}/run`,
        sources: { flags: { ...SMALL_SETTINGS, input, ...more } },
        device,
      });
    const one = await plan({}, { flops: 1e12, utilisation: 0.5 });
    const two = await plan({}, { flops: 2e12, utilisation: 0.5 });
    const routers = ({ stages }: typeof one) =>
      stages.find(({ stage }) => stage === "train-routers")!;
    assertAlmostEquals(routers(one).seconds, 2 * routers(two).seconds, 1e-9);
    // The same device takes the time and the memory that the configuration costs.
    for (const more of [{}, { prefixLengths: [4, 8] }]) {
      const c = resolveConfiguration({ flags: { ...SMALL_SETTINGS, ...more } });
      const { seconds, memory } = computeCost(c, PLAIN_DEVICE);
      const planned = routers(await plan(more));
      assertAlmostEquals(planned.seconds, seconds.routers, 1e-9);
      const drawn = 4 * c.experts * c.roundSequences * c.prefix; // bytes of a round's tokens
      assertEquals(planned.memoryBytes, 250e6 + memory.routers.total + drawn);
    }
    const narrow = async (partitioner: string) =>
      (await plan({ partitioner })).assumptions.some((line) =>
        line.startsWith("a model of width 8 ")
      );
    // Which has no routers.
    assertEquals([await narrow("em"), await narrow("source")], [true, false]);
    assertEquals(one.warnings, []);
    const often = { rounds: 94, roundSequences: 640 };
    const [warning] = (await plan(often)).warnings;
    assertMatch(warning, /^94 rounds take 121,600 sequences of about \d+: each is seen \d+ times/);
    // Which has no rounds.
    assertEquals((await plan({ ...often, partitioner: "source" })).warnings, []);
  }));

Deno.test("planPartition() counts sequences by a sample, also of short texts of long tokens", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const words = (document: number) =>
      Array.from({ length: 5 + document % 40 }, (_, i) => {
        const place = Math.floor(uniform(5, String(document), BigInt(i)) * 300);
        return `${place * 7919} {x}`;
      });
    const lines = Array.from(
      { length: 3_000 },
      (_, document) => JSON.stringify({ id: document, text: words(document).join(", ") }) + "\n",
    );
    await Deno.writeTextFile(`${folder}/docs.jsonl`, lines.join(""));
    const flags = {
      ...SMALL_SETTINGS,
      sourceField: "",
      input: [`${folder}/docs.jsonl`],
      blockBytes: 100_000,
      partitioner: "random",
    };
    const planned = async () => {
      const { assumptions } = await planPartition({ run, sources: { flags } });
      const [, sequences] = /([\d,]+) sequences, by a sample of/.exec(assumptions[0])!;
      return Number(sequences.replaceAll(",", ""));
    };
    const before = await planned();
    const { experts } = await partition({ run, sources: { flags } });
    const made = experts.reduce(
      (sum, { sequences, testSequences }) => sum + sequences + testSequences,
      0,
    );
    for (const sequences of [before, await planned()]) {
      assert(Math.abs(sequences / made - 1) < 0.03, `${sequences} and ${made}`);
    }
    const { assumptions } = await planPartition({ run, sources: { flags } });
    assertMatch(assumptions[1], /^a file of the same size and time is the same; check hashes them/);
  }));

Deno.test("planPartition() refuses what partition refuses, in the same words, and writes nothing", () =>
  inFolder(async (folder) => {
    const [input, run, mine] = [[`${folder}/docs.jsonl`], `${folder}/run`, `${folder}/mine`];
    await Deno.writeTextFile(input[0], smallCorpus());
    await Deno.mkdir(mine);
    await Deno.writeTextFile(`${mine}/notes.txt`, "mine");
    const flags = { ...SMALL_SETTINGS, input };
    const refused: RunOptions[] = [
      { run, sources: { flags: { ...flags, routers: `${folder}/none` } } },
      { run, sources: { flags: { ...flags, input: [], maxDocuments: 5 } } },
      { run: mine, sources: { flags } },
      { run, sources: { flags }, reuse: [`${folder}/none`] },
      { run, sources: { flags: { ...flags, tokenizer: `${folder}/none.json` } } },
      { run, sources: { flags: { ...flags, input: [`${folder}/pipe.jsonl`] } } },
    ];
    await new Deno.Command("mkfifo", { args: [`${folder}/pipe.jsonl`] }).output();
    for (const options of refused) {
      const planned = await assertRejects(() => planPartition(options), InputError);
      assertEquals(await exists(run), false);
      const { message } = await assertRejects(() => partition(options), InputError);
      assertEquals(planned.message, message);
      if (await exists(run)) await Deno.remove(run, { recursive: true });
    }
    await Deno.remove(`${folder}/pipe.jsonl`);
    const { assumptions } = await planPartition({
      run,
      sources: { flags: { ...flags, maxDocuments: 5 } },
    });
    assertMatch(assumptions[0], /: 9\d sequences, by a sample of 48 documents$/);
    assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(), [
      "docs.jsonl",
      "mine",
    ]);
  }));

Deno.test({
  name:
    "planExperts() estimates steps, checkpoints and memory, finds the micro-batch that fits, and trains nothing",
  ignore: gpu === null,
  fn: () =>
    inFolder(async (folder) => {
      const run = `${folder}/run`;
      const input = [`${folder}/docs.jsonl`];
      await Deno.writeTextFile(input[0], smallCorpus());
      await partition({ run, gpu: gpu!, sources: { flags: { ...SMALL_SETTINGS, input } } });
      const flags = { expertSteps: 1000, expertBatch: 12 };
      const options = { run, sources: { flags }, device: PLAIN_DEVICE };
      const before = Array.from(Deno.readDirSync(run), ({ name }) => name).sort();
      const plan = await planExperts([0, 1], options);
      assertEquals(plan.stages.map(({ stage, action }) => `${stage} ${action}`), [
        "train-expert-00 would run",
        "train-expert-01 would run",
      ]);
      const c = resolveConfiguration({ flags: { ...SMALL_SETTINGS, ...flags } });
      const cost = computeCost(c, PLAIN_DEVICE);
      assertAlmostEquals(plan.seconds, cost.seconds.allExperts, 1e-9);
      assertEquals(plan.diskBytes, 2 * (4 + 2 * 12) * cost.parameters.expert);
      const [one] = plan.stages.map(({ memoryBytes }) => memoryBytes - 250e6);
      const together = async (memory?: number) =>
        (await planExperts([0, 1], { ...options, together: true, memory })).memoryBytes;
      assertEquals(
        [plan.memoryBytes, await together(), await together(1.5 * one), await together(1)],
        [1, 2, 1.5, 1].map((experts) => 250e6 + experts * one),
      );
      const none = await planExperts([1], { ...options, checkpointEvery: 0 });
      assertEquals(none.diskBytes, 4 * cost.parameters.expert);
      const { expert } = modelShapes(c);
      const shape = { ...expert, vocabulary: 50_000 };
      const of = (microBatch: number) =>
        trainingMemory(expert, { batch: 12, microBatch, length: 32 }).total;
      const fits = async (memory: number) =>
        (await planExperts([0], { ...options, memory })).assumptions.at(-1)!;
      assertMatch(await fits(of(4)), /microBatch 4 is the largest/);
      assertMatch(await fits(of(4) - 1), /microBatch 3 is the largest/);
      assertMatch(await fits(1), /not even one sequence/);
      // A few values per row instead of its logits.
      const tiled = { ...options, variants: { loss: "workgroup" } } as const;
      const { total } = trainingMemory(expert, {
        batch: 12,
        microBatch: 6,
        length: 32,
        loss: "workgroup",
      });
      assert(total < of(6));
      const without = await planExperts([0], { ...tiled, memory: total });
      assertMatch(without.assumptions.at(-1)!, /microBatch 6 is the largest/);
      assert(without.memoryBytes < plan.memoryBytes);
      const gpuOf = (microBatch: number) =>
        trainingMemory(shape, { batch: 12, microBatch, length: 32, kind: "gpu" }).total;
      const onGpu = async (memory: number) => {
        const device = { flops: 100e12, utilisation: 0.4 };
        const sources = { flags: { ...flags, vocabularySize: 50_000 } };
        return await planExperts([0], { run, device, sources, force: true, memory });
      };
      assertNotEquals(gpuOf(12), trainingMemory(shape, { batch: 12, length: 32 }).total);
      const large = await onGpu(gpuOf(12));
      assertMatch(large.assumptions.at(-1)!, /microBatch 12 is the largest/);
      assertEquals(large.stages[0].memoryBytes, 250e6 + gpuOf(12));
      assertMatch((await onGpu(gpuOf(12) - 1)).assumptions.at(-1)!, /microBatch 6 is the largest/);
      assertEquals(Array.from(Deno.readDirSync(run), ({ name }) => name).sort(), before);
      await assertRejects(
        () => planExperts([7], options),
        InputError,
        "Cannot train expert 7 as it must be one of 0 to 1",
      );
      assert(plan.seconds > 0);
    }),
});
