/**
 * Does training take the memory that `deno task cost` predicts? Takes one step of each shape in a process of its own and
 * prints the prediction, the device memory that the trainer holds, and by how much the process's resident memory grew. A
 * step of one sequence goes before it, so that compiled kernels do not count. On a software adapter device memory is
 * resident memory; there both figures must be within a quarter of the prediction, elsewhere the first, or it exits with 1.
 *
 *   deno task bench:training-memory
 */

import { benchFlags } from "./flags.ts";
import {
  createTrainer,
  type Gpu,
  initialWeights,
  type ModelConfig,
  openGpu,
  trainingMemory,
} from "../../mod.ts";

interface Shape {
  name: string;
  model: ModelConfig;
  batch: number;
  length: number;
  microBatch?: number;
  models?: number;
  recompute?: boolean;
}

const R = { vocabulary: 512, hidden: 96, layers: 4, heads: 4, context: 128 };
const S = { vocabulary: 4096, hidden: 128, layers: 4, heads: 4, context: 256 };
const SMALL = { vocabulary: 2048, hidden: 64, layers: 2, heads: 4, context: 256 };
const SMALL_ROUTER = { ...SMALL, hidden: 48 };
const SHAPES: Shape[] = [
  { name: "R: V=512 H=96 L=4 B=32 S=128", model: R, batch: 32, length: 128 },
  { name: "R, micro-batches of 8", model: R, batch: 32, length: 128, microBatch: 8 },
  { name: "S: V=4096 H=128 L=4 B=8 S=256", model: S, batch: 8, length: 256 },
  { name: "S, 12 layers", model: { ...S, layers: 12 }, batch: 8, length: 256 },
  { name: "S, 12 layers, recomputed", model: { ...S, layers: 12 }, batch: 8, length: 256, recompute: true },
  { name: "expert of preset small, B=16 S=256", model: SMALL, batch: 16, length: 256 },
  { name: "4 routers of preset small, B=16 M=64", model: SMALL_ROUTER, batch: 16, length: 64, models: 4 },
];
const ALLOWED = 0.25;

const SETTINGS = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };

/** Makes a trainer and takes a step. */
async function train(gpu: Gpu, { model, batch, length, models = 1, microBatch, recompute }: Shape) {
  const start = Array(models).fill(initialWeights(model, 1));
  const options = { config: model, start, batch, length, microBatch, recompute, settings: SETTINGS };
  const trainer = createTrainer(gpu, options);
  const tokens = new Uint32Array(models * batch * length).map((_, i) =>
    (i * 2_654_435_761) % model.vocabulary
  );
  trainer.step({ tokens, lengths: new Uint32Array(models * batch).fill(length) }, 1e-3);
  await trainer.drain();
  return trainer;
}

/** Returns bytes held by the trainer of a shape, and bytes by which the process grew. */
async function measure(shape: Shape): Promise<{ held: number; grown: number; limit: number }> {
  const gpu = await openGpu();
  const { batch, microBatch = batch } = shape;
  const one = { ...shape, batch: microBatch < batch ? 2 : 1, microBatch: 1 };
  await train(gpu, one); // stays open, so that the growth reuses nothing of it
  const before = Deno.memoryUsage().rss;
  const trainer = await train(gpu, shape);
  return { held: trainer.bytes, grown: Deno.memoryUsage().rss - before, limit: gpu.maxBindingBytes };
}

if (import.meta.main) {
  if (Deno.args[0] === "--child") {
    console.log(JSON.stringify(await measure(SHAPES[Number(Deno.args[1])])));
    Deno.exit(0);
  }
  benchFlags("Compares the device memory of training with what cost predicts.", {});
  const gpu = await openGpu();
  console.log(`${gpu.adapter}, Deno ${Deno.version.deno}; MiB`);
  const software = gpu.kind === "software";
  gpu.close();
  console.log(`${"".padEnd(38)} predicted      held   grown        held, grown / predicted`);
  let within = true;
  for (const [i, shape] of SHAPES.entries()) {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--allow-read", import.meta.filename!, "--child", String(i)],
      stderr: "inherit",
    }).output();
    if (code !== 0) Deno.exit(1);
    const { held, grown, limit } = JSON.parse(new TextDecoder().decode(stdout));
    const predicted = trainingMemory(shape.model, { ...shape, limit }).total;
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
    for (const actual of software ? [held, grown] : [held]) {
      within &&= Math.abs(actual / predicted - 1) <= ALLOWED;
    }
    console.log(
      `${shape.name.padEnd(38)} ${mib(predicted).padStart(9)} ${mib(held).padStart(9)} ${
        mib(grown).padStart(7)
      }   ` +
        `${(held / predicted).toFixed(3).padStart(9)} ${(grown / predicted).toFixed(3).padStart(7)}`,
    );
  }
  if (!within) {
    console.error(`the trainer must hold what was predicted within ${100 * ALLOWED}%`);
    Deno.exit(1);
  }
}
