import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ASSIGNMENTS, partition, PARTITIONERS, STAGES } from "../mod.ts";
import { type ModelConfig, SUBLAYERS } from "../pipeline/model/shape.ts";
import { readParts } from "../pipeline/stages/parts.ts";
import { createTrainer } from "../pipeline/model/trainer.ts";
import { gpu } from "./kernels/support.ts";
import { anyBatch, anyWeights } from "./pipeline/model/support.ts";
import { inFolder, ROOT } from "./tasks/support.ts";

/** Splits text with the stage, the partitioner and the way to assign of the examples. */
const splits = () =>
  inFolder(async (folder) => {
    const flags = { partitioner: "first", experts: 2, method: "turn" };
    await partition({ run: `${folder}/run`, sources: { flags } });
    const { parts } = await readParts(`${folder}/run`);
    const [a, b] = parts.map(({ train }) => train.sequences);
    assertEquals(await Deno.readTextFile(`${folder}/run/count/all.txt`), String(a + b));
    assertEquals([a, b], [Math.ceil((a + b) / 2), Math.floor((a + b) / 2)]);
  });

/** Trains a model with the second MLP of the examples: all its weights move, and the loss falls. */
async function trains(): Promise<void> {
  const config: ModelConfig = {
    ...{ vocabulary: 11, hidden: 6, layers: 2, heads: 1, context: 9 },
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
    const added = tables.map((table, i) => [...table.keys()].filter((name) => !before[i].includes(name)));
    assertEquals(added, [["count"], ["first"], ["turn"], ["second mlp"]]);
    await splits();
    await trains();
  } finally {
    await Deno.remove(folder, { recursive: true });
    tables.forEach((table, i) => {
      for (const name of table.keys()) if (!before[i].includes(name)) table.delete(name);
    });
  }
});
