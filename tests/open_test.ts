// The house is open: a stage and a partitioner of a script's own go through whole runs, and no file of pipeline/ knows them.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  evaluateRun,
  generate,
  type Making,
  partition,
  PARTITIONERS,
  planPartition,
  readStatus,
  type Stage,
  STAGES,
  trainExpert,
  verifyRun,
  writeAtomic,
} from "../mod.ts";
import { wordText } from "../kernels/mod.ts";
import { resolveConfiguration } from "../pipeline/settings/resolution.ts";
import { writeDescription } from "../pipeline/partition/partitioner.ts";
import { writeHelp } from "../tasks/command.ts";
import { stageTask } from "../tasks/stage.ts";
import { gpu } from "./kernels/support.ts";
import { inFolder, smallCorpus } from "./tasks/support.ts";
import { SMALL_SETTINGS } from "./pipeline/stages/support.ts";

/** Counts the sequences of every expert: a stage after `split`, which depends on two settings as well. */
const countStage: Stage = {
  about: "Counts the sequences of every expert.",
  settings: ["seed", "expertSteps"],
  nodes({ configuration: { experts, seed, expertSteps } }) {
    const parts = Array.from({ length: experts }, (_, expert) => `partition/expert-0${expert}`);
    const make = async ({ folder, manifest }: Making) => {
      const loads = parts.map((part) => (manifest(part).result.train as { sequences: number }).sequences);
      await writeAtomic(`${folder}/count.json`, JSON.stringify(loads));
      return { experts };
    };
    const maker = { stage: "count", make: (all: readonly Making[]) => Promise.all(all.map(make)) };
    return [{ name: "count", needs: parts, settings: { seed, expertSteps }, revision: 1, maker }];
  },
};

/** Splits by the first token of a sequence. */
const first = (experts: number) => ({
  kind: "first",
  experts,
  sha256: `first ${experts}`,
  prefix: 2,
  vocabulary: 300,
  costs(
    { tokens, sequenceLength, length }: {
      tokens: ArrayLike<number>;
      sequenceLength: number;
      length: Uint32Array;
    },
    prefixes: readonly number[],
  ) {
    const of = (i: number) =>
      Number(tokens[Math.floor(i / experts) % length.length * sequenceLength] % experts !== i % experts);
    return Promise.resolve(
      Float32Array.from({ length: prefixes.length * length.length * experts }, (_, i) => of(i)),
    );
  },
  close() {},
});

Deno.test("a stage of a script's own is planned, run, skipped, run again, verified and reported", async () => {
  STAGES.set("count", countStage);
  try {
    await inFolder(async (folder) => {
      const run = `${folder}/run`, count = `${run}/count/count.json`;
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      const flags = { ...SMALL_SETTINGS, partitioner: "random", input: [`${folder}/docs.jsonl`] };
      const make = async (more = {}, force = false) => {
        const { stages } = await partition({ run, sources: { flags: { ...flags, ...more } }, force });
        return stages.filter(({ state }) => state === "run").map(({ stage }) => stage);
      };
      const planned = async () => (await planPartition({ run, sources: { flags } })).stages.at(-1)!;
      assertEquals([(await planned()).stage, (await planned()).action], ["count", "would run"]);
      assertEquals((await make()).at(-1), "count");
      assertEquals(JSON.parse(await Deno.readTextFile(count)).length, 2);
      assertEquals(await make(), []);
      assertEquals((await planned()).action, "up to date");
      assertEquals(await make({ expertSteps: 7 }), ["count"]); // a setting that no stage of a partition but this one depends on

      assertEquals((await verifyRun(run)).problems, []);
      await Deno.writeTextFile(count, "{}");
      assertEquals((await verifyRun(run)).problems.map(({ file }) => file), ["count/count.json"]);
      const reported = (await readStatus(run)).stages.find(({ stage }) => stage === "count")!;
      assertEquals([reported.state, reported.settings?.expertSteps], ["damaged", 7]);
      assertEquals(await make({ expertSteps: 7 }), ["count"]);

      const help = writeHelp(await stageTask("count", { main: false }, {}));
      for (const text of ["Usage: deno task count", countStage.about, "--seed", "--expert-steps"]) {
        assertStringIncludes(help, text);
      }
    });
  } finally {
    STAGES.delete("count");
  }
});

Deno.test({
  name: "a partitioner of a script's own splits text, and its experts train, are evaluated and generate",
  ignore: gpu === null,
  async fn() {
    PARTITIONERS.set("first", {
      kind: "first",
      about: "the first token of a sequence, modulo the experts",
      routes: true,
      splits: true,
      settings: ["experts"],
      revision: 1,
      async learn({ folder, tokens, configuration: { experts } }) {
        const { vocabulary, eos, tokenizer } = tokens;
        await writeDescription(folder, {
          kind: "first",
          experts,
          prefix: 2,
          tokenizer,
          vocabulary,
          eos,
        });
        return { sha256: first(experts).sha256, result: {} };
      },
      open: async (folder) =>
        first(JSON.parse(await Deno.readTextFile(`${folder}/partitioner.json`)).experts),
      identify: async (folder) =>
        first(JSON.parse(await Deno.readTextFile(`${folder}/partitioner.json`)).experts),
    });
    try {
      await inFolder(async (folder) => {
        const run = `${folder}/run`;
        await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(96));
        const flags = {
          ...SMALL_SETTINGS,
          input: [`${folder}/docs.jsonl`],
          partitioner: "first",
          holdout: 0.3,
        };
        const summary = await partition({ run, sources: { flags } });
        assertEquals(summary.experts.length, 2);
        assertEquals((await verifyRun(run)).problems, []);
        const training = {
          run,
          gpu: gpu!,
          sources: {
            flags: { expertSteps: 3, expertHidden: 8, expertHeads: 2, expertLayers: 1, expertBatch: 4 },
          },
        };
        for (const expert of [0, 1]) await trainExpert(expert, training);
        const evaluation = await evaluateRun({ run, gpu: gpu! });
        assert(evaluation.scores.mixture!.perplexity > 1);
        assertEquals(evaluation.segments.length, 2);
        const generation = await generate({
          run,
          prompt: "sail",
          gpu: gpu!,
          maxNewTokens: 3,
          temperature: 0,
        });
        await Array.fromAsync(generation);
        assertEquals(generation.expert, generation.promptTokens[0] % 2);
        const learned = (await readStatus(run)).stages.find(({ stage }) => stage === "train-routers")!;
        assertEquals([learned.state, learned.settings?.partitioner], ["up to date", "first"]);
      });
    } finally {
      PARTITIONERS.delete("first");
    }
    const unknown = resolveConfiguration({ flags: { partitioner: "first" } });
    await inFolder(async (folder) => {
      const options = { run: `${folder}/run`, sources: { flags: unknown } };
      const refused = await partition(options).catch((error) => error);
      assertStringIncludes(wordText(refused.what), "partitioner must be one of em");
    });
  },
});
