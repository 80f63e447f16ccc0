/**
 * Measures the adapter at hand: its roof, matrix products, the training step and scoring at three sizes.
 *
 *   deno task bench [--quick] [--profile] [--json] [--sizes R,S,M] [--variants KERNEL=FORM,…]
 *
 * Figures are medians of several rounds in one process. A benchmark measures; no test looks at these figures.
 */

import { parseArgs } from "@std/cli/parse-args";
import { type Dispatch, type Gpu, openGpu } from "../../kernels/gpu.ts";
import { matmul, matmulTransposed, padded } from "../../kernels/matmul.ts";
import { formsText, parseVariants } from "../../kernels/variants.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer } from "../../pipeline/training/trainer.ts";
import { median } from "./turns.ts";

const HELP = `Usage: deno task bench [options]

Measures this machine's adapter: arithmetic and memory roof, matrix products, training steps and scoring.

  --sizes NAMES  some of R,S,M (default: all)
  --variants KERNEL=FORM,…
                 forms of kernels instead of the adapter's own: ${formsText()}
  --profile      also break a training step down by kernel
  --quick        fewest rounds: a check that it runs, not a measurement
  --json         results as JSON on standard output
  --help         this text`;

/** Sizes of a training step, named as in the README. */
const SIZES = {
  R: { vocabulary: 512, hidden: 96, layers: 4, heads: 4, batch: 32, length: 128 },
  S: { vocabulary: 4096, hidden: 128, layers: 4, heads: 4, batch: 8, length: 256 },
  M: { vocabulary: 4096, hidden: 256, layers: 4, heads: 4, batch: 8, length: 256 },
};
type Size = keyof typeof SIZES;

const ARITHMETIC = `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var a0 = vec4f(f32(id.x)); var a1 = a0 + 1.0; var a2 = a0 + 2.0;
  for (var i = 0u; i < params.x; i++) {
${
  "    a0 = fma(a0, vec4f(0.999), a1); a1 = fma(a1, vec4f(0.998), a2); a2 = fma(a2, vec4f(0.997), a0);\n"
    .repeat(8)
}
  }
  out[id.x] = a0 + a1 + a2;
}`;
const ARITHMETIC_FLOPS = 8 * 3 * 4 * 2; // per iteration and invocation

const COPY = `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * grid.x + group.x) * 64u + lane;
  out[i] = source[i] + f32(params.x);
}`;

interface Result {
  what: string;
  value: number;
  unit: string;
  /** Share of the measured roof, where one applies. */
  ofRoof?: number;
}

/** Median seconds of one run of the dispatches, each round long enough that a readback does not count. */
async function time(gpu: Gpu, dispatches: Dispatch[], rounds: number): Promise<number> {
  const once = async (repeats: number) => {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) gpu.submit(dispatches);
    await gpu.read([{ buffer: gpu.empty }]);
    return (performance.now() - start) / 1000;
  };
  await once(1); // compiles
  const idle = await once(0);
  const first = Math.max(1e-6, await once(1) - idle);
  const repeats = Math.max(1, Math.min(200, Math.ceil(0.25 / first)));
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    times.push(Math.max(1e-9, await once(repeats) - idle) / repeats);
  }
  return median(times);
}

async function measureRoof(gpu: Gpu, rounds: number): Promise<Result[]> {
  const arena = gpu.arena();
  const invocations = 4096;
  const out = arena.buffer("out", invocations * 16);
  const flops = gpu.dispatch({
    label: "arithmetic",
    code: ARITHMETIC,
    params: [256, 0, 0, 0],
    buffers: [out],
    workgroups: invocations / 64,
  });
  const bytes = Math.min(64 << 20, gpu.maxBindingBytes / 2);
  const copy = gpu.dispatch({
    label: "copy",
    code: COPY,
    params: [0, 0, 0, 0],
    buffers: [arena.buffer("source", bytes), arena.buffer("copy", bytes)],
    workgroups: bytes / 16 / 64,
  });
  const seconds = [await time(gpu, [flops], rounds), await time(gpu, [copy], rounds)];
  arena.destroy();
  return [
    {
      what: "arithmetic roof, fused multiply-adds in registers",
      value: invocations * 256 * ARITHMETIC_FLOPS / seconds[0] / 1e9,
      unit: "GFLOP/s",
    },
    { what: "memory roof, copy of 64 MiB", value: 2 * bytes / seconds[1] / 1e9, unit: "GB/s" },
  ];
}

async function measureMatmul(
  gpu: Gpu,
  [m, n, k]: number[],
  transposed: boolean,
  rounds: number,
): Promise<number> {
  const arena = gpu.arena();
  const matrix = (name: string, rows: number, columns: number) => ({
    buffer: arena.buffer(name, new Float32Array(rows * padded(columns)).fill(0.5)),
    stride: padded(columns),
    model: 0,
  });
  const [b, c] = [matrix("b", k, n), matrix("c", m, n)];
  const plan = transposed
    ? matmulTransposed(gpu, { a: matrix("a", k, m), b, c, models: 1, m, n, k })
    : matmul(gpu, { a: matrix("a", m, k), b, c, models: 1, m, n, k });
  const seconds = await time(gpu, [plan], rounds);
  arena.destroy();
  return 2 * m * n * k / seconds / 1e9;
}

async function measureModel(gpu: Gpu, name: Size, rounds: number, profile: boolean): Promise<Result[]> {
  const { batch, length, ...shape } = SIZES[name];
  const config = { ...shape, context: length };
  const weights = initialWeights(config, 0);
  const settings = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 };
  const tokens = Uint32Array.from(
    { length: batch * length },
    (_, i) => ((i * 2654435761) >>> 7) % config.vocabulary,
  );
  const lengths = new Uint32Array(batch).fill(length);
  const results: Result[] = [];

  const begin = performance.now();
  const trainer = createTrainer(gpu, { config, start: [weights], batch, length, settings });
  trainer.step({ tokens, lengths }, 1e-3);
  await trainer.drain();
  results.push({
    what: `first training step ${name}, compilation included`,
    value: (performance.now() - begin) / 1000,
    unit: "s",
  });
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let i = 0; i < 4; i++) trainer.step({ tokens, lengths }, 1e-3);
    await trainer.drain();
    times.push((performance.now() - start) / 4000);
  }
  results.push({ what: `training step ${name}`, value: batch * length / median(times), unit: "tokens/s" });
  if (profile && gpu.canProfile) {
    const byKernel = new Map<string, number>();
    for (const { label, nanoseconds } of await trainer.profile({ tokens, lengths }, 1e-3)) {
      byKernel.set(label, (byKernel.get(label) ?? 0) + nanoseconds / 1e6);
    }
    for (const [label, ms] of [...byKernel].sort((a, b) => b[1] - a[1])) {
      results.push({ what: `  ${name}: ${label}`, value: ms, unit: "ms per step" });
    }
  }
  trainer.close();

  for (const prefix of [32, 128]) {
    const scorer = createScorer(gpu, { config, models: [weights], batch: 256, length: prefix });
    const rows = 512;
    const many = Uint32Array.from({ length: rows * prefix }, (_, i) => i % config.vocabulary);
    const full = new Uint32Array(rows).fill(prefix);
    await scorer.score(many, prefix, full);
    const scored: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const start = performance.now();
      await scorer.score(many, prefix, full);
      scored.push((performance.now() - start) / 1000);
    }
    results.push({
      what: `scoring ${name}, ${prefix} tokens`,
      value: rows / median(scored),
      unit: "sequences/s",
    });
    scorer.close();
  }
  return results;
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    boolean: ["quick", "profile", "json", "help"],
    string: ["sizes", "variants"],
    default: { sizes: "R,S,M", variants: "" },
    unknown: (name) => {
      console.error(`Cannot run bench as ${name} must be one of its flags: see --help`);
      Deno.exit(2);
    },
  });
  if (flags.help) {
    console.log(HELP);
    Deno.exit(0);
  }
  const sizes = flags.sizes.split(",") as Size[];
  for (const name of sizes) {
    if (!(name in SIZES)) {
      console.error(
        `Cannot run bench as --sizes must name some of ${Object.keys(SIZES)}: it names "${name}"`,
      );
      Deno.exit(2);
    }
  }
  const rounds = flags.quick ? 1 : 5;
  const gpu = await Promise.resolve(flags.variants).then(parseVariants)
    .then((variants) => openGpu({ variants }))
    .catch((error) => {
      console.error(error.message);
      Deno.exit(2);
    });
  if (!flags.json) {
    const variants = Object.entries(gpu.variants).map((pair) => pair.join("=")).join(", ");
    console.log(`${gpu.adapter}; Deno ${Deno.version.deno}; ${variants}\n`);
  }
  const results: Result[] = [];
  const report = (...more: Result[]) => {
    results.push(...more);
    if (flags.json) return;
    for (const { what, value, unit, ofRoof } of more) {
      const share = ofRoof === undefined ? "" : `  ${(100 * ofRoof).toFixed(0)}% of the roof`;
      console.log(`${what.padEnd(52)} ${value.toPrecision(4).padStart(9)} ${unit}${share}`);
    }
  };
  report(...await measureRoof(gpu, rounds));
  const shapes: [string, number[]][] = [
    ["512³", [512, 512, 512]],
    ...sizes.flatMap((name): [string, number[]][] => {
      const { vocabulary, hidden, batch, length } = SIZES[name];
      return [[`${name} MLP`, [batch * length, 4 * hidden, hidden]], [`${name} head`, [
        batch * length,
        vocabulary,
        hidden,
      ]]];
    }),
    ["router 4.4M MLP", [1024, 384, 96]],
    ["expert 335M MLP", [256, 4096, 1024]],
  ];
  for (const [name, [m, n, k]] of flags.quick ? shapes.slice(0, 2) : shapes) {
    const forward = await measureMatmul(gpu, [m, n, k], false, rounds);
    const gradient = await measureMatmul(gpu, [n, k, m], true, rounds);
    const roof = results[0].value;
    report(
      {
        what: `matmul ${name}, ${m} × ${k} · ${k} × ${n}`,
        value: forward,
        unit: "GFLOP/s",
        ofRoof: forward / roof,
      },
      { what: `  its weight gradient`, value: gradient, unit: "GFLOP/s", ofRoof: gradient / roof },
    );
  }
  for (const name of sizes) report(...await measureModel(gpu, name, rounds, flags.profile));
  if (flags.json) {
    console.log(
      JSON.stringify(
        { adapter: gpu.adapter, deno: Deno.version.deno, variants: gpu.variants, results },
        null,
        2,
      ),
    );
  }
  gpu.close();
}
