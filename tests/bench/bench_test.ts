import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type Dispatch, type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import { VARIANTS } from "../../kernels/device/variants.ts";
import { trainingFlops } from "../../pipeline/cost/flops.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer } from "../../pipeline/model/trainer.ts";
import { task } from "../tasks/support.ts";
import type { BenchResult } from "./bench.ts";
import { isProduct, KERNELS, planKernel } from "./kernels.ts";
import { measureKernels, tensorsIn } from "./measure_kernels.ts";
import { MODELS, QUICK, RATE, SETTINGS, someBatch } from "./sizes.ts";

/** Counts labels. */
function countsOf(labels: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const label of labels) counts[label] = (counts[label] ?? 0) + 1;
  return counts;
}

/** A device that keeps the labels of what is submitted, and runs none of it. */
function recorder(gpu: Gpu): { gpu: Gpu; take(): string[] } {
  const labels: string[] = [];
  const submit = (dispatches: readonly Dispatch[]) => {
    labels.push(...dispatches.map(({ label }) => label));
  };
  return { gpu: { ...gpu, submit }, take: () => labels.splice(0) };
}

for (const [kind, variants] of Object.entries(VARIANTS)) {
  Deno.test(`the table has every kernel of a step as often as it runs, with the variants for ${kind} adapters`, async () => {
    const gpu = await openGpu({ variants });
    const arena = gpu.arena();
    const counts: Record<string, number> = {};
    const scored = new Set<string>();
    for (const kernel of KERNELS) {
      const { length } = planKernel(gpu, tensorsIn(gpu, arena), kernel, QUICK);
      const calls = length * kernel.calls(QUICK);
      if (calls > 0) counts[kernel.label] = (counts[kernel.label] ?? 0) + calls;
      if (length > 0) scored.add(kernel.label);
    }
    arena.destroy();

    const { batch, context, vocabulary } = QUICK;
    const weights = initialWeights(QUICK, 0);
    const input = someBatch(batch, context, vocabulary);
    const { gpu: recording, take } = recorder(gpu);
    const options = { config: QUICK, start: [weights], batch, length: context, settings: SETTINGS };
    const trainer = createTrainer(recording, options);
    take();
    trainer.step(input, RATE);
    assertEquals(countsOf(take()), counts);
    trainer.close();

    const scorer = createScorer(recording, { config: QUICK, models: [weights], batch, length: context });
    await scorer.score(input.tokens, context, input.lengths);
    const missing = take().filter((label) => !scored.has(label));
    assertEquals(missing, []);
    scorer.close();
    gpu.close();
  });
}

Deno.test("the table's products make up the FLOPs that cost counts for a training step", () => {
  for (const size of Object.values(MODELS)) {
    const products = KERNELS.filter(({ label }) => isProduct(label)).reduce(
      (sum, kernel) => sum + kernel.calls(size) * kernel.flops(size),
      0,
    );
    // What is left of cost's figure is attention, counted without the causal mask, the softmax and the embedding.
    const { batch, context, hidden, layers, vocabulary } = size;
    const tokens = batch * context;
    const others = 3 * tokens * (hidden + layers * 4 * context * hidden + 3 * vocabulary);
    assertEquals(products + others, trainingFlops(size, batch, context));
  }
});

Deno.test("a kernel whose tensors exceed a binding is listed with the reason, and the others run", async () => {
  const gpu = await openGpu();
  const size = { ...QUICK, vocabulary: gpu.maxBindingBytes / 4 / QUICK.hidden + 1 };
  const kernels = KERNELS.filter(({ label }) => label.startsWith("embedding") || label.startsWith("layer"));
  const effort = { rounds: 1, seconds: 0, clock: "clock" as const };
  const rows = await measureKernels(gpu, kernels, size, { effort, roof: { gflops: 1, gbytes: 1 } });
  for (const { kernel, ms, speed, refused } of rows) {
    const large = kernel.startsWith("embedding");
    assertEquals([ms === undefined, speed === undefined], [large, large], kernel);
    assertEquals(refused?.includes("must fit the adapter's binding limit") ?? false, large, kernel);
  }
  assertEquals(rows.length, kernels.length);
  gpu.close();
});

/** Throws unless all figures are finite and positive. */
function assertFigures(figures: Record<string, number | undefined>, what: string): void {
  for (const [name, value] of Object.entries(figures)) {
    if (value !== undefined) assert(Number.isFinite(value) && value > 0, `${name} of ${what} is ${value}`);
  }
}

Deno.test("bench --quick runs every section; no figure is missing, zero or infinite", async () => {
  const { code, out, err } = await task("bench", ["--quick", "--profile", "--json"]);
  assertEquals(code, 0, err);
  const result: BenchResult = JSON.parse(out);
  assertFigures({ ...result.roof }, "the roof");

  const [{ size, kernels }] = result.kernels!;
  assertEquals(size, "quick");
  for (const { kernel, what, calls, ms, speed, refused } of kernels) {
    assertEquals(refused, undefined);
    assert(ms !== undefined && speed !== undefined, `${kernel} was not run`);
    assertFigures({ ms, calls, ...speed }, `${kernel}, ${what}`);
  }
  const [{ scoring, profile, roof, first, tokensPerSecond, gflops, ofArithmetic }] = result.steps!;
  assertFigures({ ...roof }, "the roof beside steps");
  assertFigures({ first, tokensPerSecond, gflops, ofArithmetic }, "training");
  assertEquals(scoring.map(({ prefix }) => prefix), [32]);
  for (const { prefix, ...figures } of scoring) assertFigures(figures, `scoring ${prefix} tokens`);

  const gpu = await openGpu();
  gpu.close();
  assertEquals(profile !== undefined, gpu.canProfile);
  if (profile) {
    assertEquals(
      profile.kernels.map(({ kernel }) => kernel).toSorted(),
      [...new Set(kernels.filter(({ calls }) => calls).map(({ kernel }) => kernel))].toSorted(),
    );
    const sum = (rows: typeof profile.kernels) => rows.reduce((sum, { share }) => sum + share, 0);
    assertAlmostEquals(sum(profile.kernels), 1);
    assertAlmostEquals(
      sum(profile.kernels.filter(({ kernel }) => !isProduct(kernel))),
      profile.otherThanProducts,
    );
  }

  const [{ points }] = result.growth!;
  assertEquals(points.map(({ name }) => name), ["E = 1", "E = 2"]);
  for (const { name, training, scoring } of points) {
    assertFigures({ ...training }, `training ${name}`);
    assertFigures({ ...scoring }, `scoring ${name}`);
  }
  // Twice the routers train on twice the tokens, and score the same ones.
  assertEquals(points.map(({ training }) => training.predicted), [1, 1]);
  assertEquals(points.map(({ scoring }) => scoring.predicted), [1, 2]);

  assertEquals(result.bank!.map(({ what }) => what), ["training", "scoring", "experts on two devices"]);
  for (const { what, ...figures } of result.bank!) assertFigures(figures, `a bank ${what}`);
});

Deno.test("bench measures the sections asked for, and refuses what it does not know in one line", async () => {
  const { code, out, err } = await task("bench", ["--quick", "--only", "roof", "--processor"]);
  assertEquals(code, 0, err);
  assert(out.includes("of the processor") && /roof [\d.,]+ GFLOP\/s/.test(out), out);
  assert(!out.includes("Kernels") && !out.includes("Bank"), out);

  const bf16 = await task("bench", ["--quick", "--only", "steps", "--dtype", "bf16", "--json"]);
  assertEquals(bf16.code, 0, bf16.err);
  const { dtype, steps }: BenchResult = JSON.parse(bf16.out);
  assertEquals([dtype, steps?.length], ["bf16", 1]);
  assert(steps![0].tokensPerSecond > 0);

  const refused = async (flags: string[], line: string) => {
    const { code, out, err } = await task("bench", flags);
    assertEquals({ code, out, err }, { code: 2, out: "", err: `Cannot run bench as ${line}\n` });
  };
  await refused(["--fast"], "--fast must be one of its flags: see --help");
  await refused(
    ["--only", "roof,x"],
    `--only must name some of roof,kernels,steps,growth,bank: it names "x"`,
  );
  await refused(["--dtype", "f16"], `--dtype must name some of f32,bf16: it names "f16"`);
  await refused(["--dtype", "f32,bf16"], "--dtype must be one of f32,bf16: it is f32,bf16");
  await refused(
    ["--dtype", "bf16", "--only", "bank"],
    "--dtype must have training steps to measure: --only is bank",
  );
  await refused(["--sizes", "r"], `--sizes must name some of R,S,M,4.4M,335M,1.3B: it names "r"`);
  await refused(
    ["--sizes", "4.4M", "--only", "growth,bank"],
    "--sizes must have kernels or steps to measure: --only is growth,bank",
  );
  for (const sizes of ["4.4M", "R,4.4M"]) {
    await refused(
      ["--sizes", sizes, "--only", "steps"],
      `--sizes must name some of R,S,M for training steps, as of others kernels alone are measured: it names ${sizes}`,
    );
  }
  await refused(
    ["--only", "bank", "--profile"],
    "--profile must have training steps to break down: --only is bank",
  );
});
