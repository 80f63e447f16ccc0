/**
 * Does training take the memory that `deno task cost` predicts? Takes one step of each shape in a process of its own and
 * prints the prediction, the device memory that the trainer holds, and by how much the process's resident memory grew. A
 * step of one sequence goes before it, so that compiled kernels do not count. On a software adapter device memory is
 * resident memory; there both figures must be within a quarter of the prediction, elsewhere the first, or it exits with 1.
 *
 *   deno task bench:training-memory
 */

import { type Gpu, openGpu, trainingMemory } from "../../mod.ts";
import { benchFlags } from "./flags.ts";
import { EXPERT, MODELS, type Size } from "./sizes.ts";
import { inProcess } from "./stage_process.ts";
import { columns } from "./text.ts";
import { training } from "./work.ts";

/** A training: its model and batch, and how it runs. */
type Shape = Size & { name: string; microBatch?: number; recompute?: boolean };

const { R, S } = MODELS;
const SHAPES: Shape[] = [
  { name: "R: V=512 H=96 L=4 B=32 S=128", ...R },
  { name: "R, micro-batches of 8", ...R, microBatch: 8 },
  { name: "S: V=4096 H=128 L=4 B=8 S=256", ...S },
  { name: "S, 12 layers", ...S, layers: 12 },
  { name: "S, 12 layers, recomputed", ...S, layers: 12, recompute: true },
  { name: "expert of preset small, B=16 S=256", ...EXPERT },
  { name: "4 routers of preset small, B=16 M=64", ...EXPERT, hidden: 48, context: 64, models: 4 },
];
const ALLOWED = 0.25;

/** Makes a trainer and takes a step. */
async function train(gpu: Gpu, { name: _, models = 1, microBatch, recompute, ...size }: Shape) {
  const work = training(gpu, size, { seeds: Array(models).fill(1), microBatch, recompute });
  await work.run(1);
  return work.trainer;
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
  let within = true;
  const rows = [["", "predicted", "held", "grown", "held / predicted", "grown / predicted"]];
  for (const [i, shape] of SHAPES.entries()) {
    const reported = await inProcess(import.meta.filename!, "bench:training-memory", ["--child", String(i)]);
    const { held, grown, limit } = JSON.parse(reported);
    const predicted = trainingMemory(shape, { ...shape, length: shape.context, limit }).total;
    const shares = [held, grown].map((actual) => actual / predicted);
    within &&= shares.slice(0, software ? 2 : 1).every((share) => Math.abs(share - 1) <= ALLOWED);
    const mib = [predicted, held, grown].map((bytes) => (bytes / 2 ** 20).toFixed(1));
    rows.push([shape.name, ...mib, ...shares.map((share) => share.toFixed(3))]);
  }
  console.log(columns(rows, "lrrrrr"));
  if (!within) {
    console.error(`the trainer must hold what was predicted within ${100 * ALLOWED}%`);
    Deno.exit(1);
  }
}
