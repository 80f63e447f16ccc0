import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  ASSIGNMENTS,
  evaluateRun,
  generate,
  partition,
  PARTITIONERS,
  readStatus,
  runOneStage,
  type Stage,
  STAGES,
} from "../mod.ts";
import { planPartition, planRequests, trainExpert, verifyRun } from "../mod.ts";
import { cleanRun } from "../pipeline/run/clean.ts";
import { type Maker, readManifest } from "../pipeline/graph/node.ts";
import { InputError, wordText } from "../kernels/errors.ts";
import { type ModelConfig, SUBLAYERS } from "../pipeline/model/shape.ts";
import { createTrainer } from "../pipeline/model/trainer.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../pipeline/settings/resolution.ts";
import { readParts } from "../pipeline/stages/parts.ts";
import { writeHelp } from "../tasks/cli/command.ts";
import { stageTask } from "../tasks/cli/stage.ts";
import { gpu } from "./kernels/support.ts";
import { anyBatch, anyWeights } from "./pipeline/model/support.ts";
import { inFolder, ROOT } from "./tasks/support.ts";

const FLAGS: Partial<Configuration> = {
  partitioner: "first",
  experts: 2,
  method: "turn",
  corpusCharacters: 200_000,
  sequenceLength: 64,
  expertSteps: 3,
  expertHidden: 8,
  expertHeads: 2,
  expertLayers: 1,
  expertBatch: 4,
};

/**
 * Plans, runs, skips, verifies, reports and runs again the stage of the examples, after their way
 * to assign.
 */
async function counts(run: string): Promise<void> {
  const make = async (more: Partial<Configuration> = {}, force = false) => {
    const sources = { flags: { ...FLAGS, ...more } };
    const { stages } = await partition({ run, gpu, force, sources });
    return stages.filter(({ state }) => state === "run").map(({ stage }) => stage);
  };
  const planned = async () => {
    const { stages } = await planPartition({ run, sources: { flags: FLAGS } });
    return [stages.at(-1)!.stage, stages.at(-1)!.action, stages.at(-1)!.seconds];
  };
  assertEquals(await planned(), ["count", "would run", 0.002]);
  assertEquals((await make()).at(-1), "count");
  const [a, b] = (await readParts(run)).parts.map(({ train }) => train.sequences);
  const path = `${run}/count/all.txt`;
  assertEquals(await Deno.readTextFile(path), String(a + b));
  assertEquals([a, b], [Math.ceil((a + b) / 2), Math.floor((a + b) / 2)]);
  assertEquals([await make(), await planned()], [[], ["count", "up to date", 0]]);

  const count = STAGES.get("count")!;
  // On which no stage of a partition but this one depends.
  const settings = ["expertSteps"] as const;
  STAGES.set("count", {
    ...count,
    settings,
    nodes: async (of, request) => {
      const steps = of.configuration.expertSteps;
      return (await count.nodes(of, request)).map((node) => ({ ...node, settings: { steps } }));
    },
  });
  assertEquals(await make(), ["count"]);
  // It is made of this setting, so a change replaces it.
  await assertRejects(() => make({ expertSteps: 4 }), InputError, "expertSteps");
  assertEquals(await make({ expertSteps: 4 }, true), ["count"]);
  assertEquals((await verifyRun(run)).problems, []);
  await Deno.writeTextFile(path, "{}");
  assertEquals((await verifyRun(run)).problems.map(({ file }) => file), ["count/all.txt"]);
  const { state } = (await readStatus(run)).stages.find(({ stage }) => stage === "count")!;
  assertEquals([state, await make({ expertSteps: 4 })], ["damaged", ["count"]]);
  const help = writeHelp(await stageTask("count", { main: false }, {}));
  for (const text of ["Usage: deno task count", count.about, "--expert-steps"]) {
    assertStringIncludes(help, text);
  }
}

/** Lists, makes, reports, verifies and cleans a stage of a script that somebody must ask for. */
async function greets(run: string): Promise<void> {
  const place = "greet/one";
  const maker: Maker = {
    stage: "greet",
    make: (all) =>
      Promise.all(all.map(async ({ node, write }) => {
        await write("greeting.txt", String(node.settings.text));
        return {};
      })),
  };
  const greet: Stage<{ text?: string }> = {
    about: "Greets whoever asks.",
    settings: [],
    onRequest: true,
    nodes: (_, { text = "" }) => [
      { name: place, needs: ["partition/names"], settings: { text }, revision: 1, maker },
    ],
    estimate: (_, { text = "" }) => ({ seconds: 90, diskBytes: text.length, memoryBytes: 1e6 }),
    requests: async () => [{ ...(await readManifest(`${run}/${place}`))?.settings }],
  };
  STAGES.set("greet", greet as Stage);
  const stands = async () => {
    const { state, optional, command } = (await readStatus(run)).stages
      .find(({ stage }) => stage === "greet")!;
    return [state, optional, command.task];
  };
  assertEquals(await stands(), ["missing", true, "greet"]);
  const planned = async (text: string) => {
    const { stages } = await planRequests({ run, stage: "greet", requests: [{ text }] });
    return stages.map((
      { stage, action, seconds, diskBytes },
    ) => [stage, action, seconds, diskBytes]);
  };
  assertEquals(await planned("hello"), [["greet", "would run", 90, 5]]);
  const ask = (text: string) => runOneStage({ run, stage: "greet", request: { text } });
  await ask("hello");
  assertEquals(await Deno.readTextFile(`${run}/${place}/greeting.txt`), "hello");
  assertEquals(await stands(), ["up to date", true, "greet"]);
  assertEquals(await planned("hello"), [["greet", "up to date", 0, 0]]);
  await ask("good day");
  assertEquals(await Deno.readTextFile(`${run}/${place}/greeting.txt`), "good day");
  assertEquals((await verifyRun(run)).problems, []);
  await Deno.truncate(`${run}/${place}/greeting.txt`, 2);
  assertEquals(await stands(), ["damaged", true, "greet"]);
  assertEquals((await verifyRun(run)).problems.map(({ file }) => file), [`${place}/greeting.txt`]);
  const begun = `${run}/scratch/greet~one~0123456789abcdef`;
  await Deno.mkdir(begun, { recursive: true });
  await Deno.writeTextFile(`${begun}/step-00000001.metrics.jsonl`, "");
  assertEquals((await cleanRun({ run, dryRun: true })).unfinished.files, 1);
  await ask("good day");
  assertEquals(await stands(), ["up to date", true, "greet"]);
}

/**
 * Trains experts of the partitioner of the examples, evaluates them and has the one of a prompt go
 * on with it.
 */
async function serves(run: string): Promise<void> {
  for (const expert of [0, 1]) await trainExpert(expert, { run, gpu });
  const evaluation = await evaluateRun({ run, gpu });
  assert(evaluation.scores.mixture!.perplexity > 1);
  assertEquals(evaluation.segments.length, 2);
  const generation = await generate({ run, prompt: "sail", gpu, maxNewTokens: 3, temperature: 0 });
  await Array.fromAsync(generation);
  assertEquals(generation.expert, generation.promptTokens[0] % 2);
  const learned = (await readStatus(run)).stages.find(({ stage }) => stage === "train-routers")!;
  assertEquals([learned.state, learned.settings?.partitioner], ["up to date", "first"]);
}

/** Trains a model with the second MLP of the examples: all its weights move, and the loss falls. */
async function trains(): Promise<void> {
  const config: ModelConfig = {
    vocabulary: 11,
    hidden: 6,
    layers: 2,
    heads: 1,
    context: 9,
    sublayers: ["attention", "mlp", "second mlp"],
  };
  const [shape, start] = [{ models: 1, batch: 4, length: 9 }, anyWeights(config, "extended")];
  const settings = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };
  const trainer = createTrainer(gpu, { config, start: [start], batch: 4, length: 9, settings });
  for (let step = 0; step < 20; step++) trainer.step(anyBatch(config, shape), 0.01);
  const losses = (await trainer.drain()).map(({ loss: [loss] }) => loss);
  assert(losses.at(-1)! < losses[0], `${losses}`);
  const [weights] = await trainer.weights();
  trainer.close();
  const seconds = [...weights.keys()].filter((name) => name.includes(".second."));
  assertEquals(seconds.length > 0 && seconds.length % config.layers, 0);
  for (const name of seconds) assertNotEquals(weights.get(name), start.get(name), name);
}

Deno.test("the examples of how to add something run, and put it into the tables", async () => {
  const text = await Deno.readTextFile(`${ROOT}pipeline/EXTENDING.md`);
  const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  assertEquals(examples.length, 4);
  const tables = [STAGES, PARTITIONERS, ASSIGNMENTS, SUBLAYERS] as Map<string, unknown>[];
  const before = tables.map((table) => [...table.keys()]);
  const folder = await Deno.makeTempDir({ dir: ROOT, prefix: ".extending-" });
  const paths = examples.map((_, i) => `${folder}/example_${i}.ts`);
  try {
    for (const [i, path] of paths.entries()) await Deno.writeTextFile(path, examples[i]);
    for (const path of paths) await import(`file://${path}`);
    const added = tables.map((table, i) =>
      [...table.keys()].filter((name) => !before[i].includes(name))
    );
    assertEquals(added, [["count"], ["first"], ["turn"], ["second mlp"]]);
    await inFolder(async (folder) => {
      await counts(`${folder}/run`);
      await greets(`${folder}/run`);
      await serves(`${folder}/run`);
    });
    await trains();
  } finally {
    await Deno.remove(folder, { recursive: true });
    tables.forEach((table, i) => {
      for (const name of table.keys()) if (!before[i].includes(name)) table.delete(name);
    });
  }
  const options = { run: "none", sources: { flags: resolveConfiguration({ flags: FLAGS }) } };
  const refused = await partition(options).catch((error) => error);
  assertStringIncludes(wordText(refused.what), "partitioner must be one of em");
});
