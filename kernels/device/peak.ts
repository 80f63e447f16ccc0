/**
 * The peak of an adapter: how fast it multiplies and adds in registers, and how fast it copies
 * between buffers.
 *
 * @module
 */

import type { Gpu } from "./gpu.ts";
import type { AdapterKind } from "./variants.ts";
import { type Effort, measureSeconds } from "./time.ts";

/** The measured peak of an adapter. */
export interface Peak {
  /** Arithmetic, in GFLOP/s. */
  gflops: number;
  /** The same in f16, where the adapter offers it. */
  gflopsF16?: number;
  /** Memory traffic, read and written together, in GB/s. */
  gbytes: number;
}

/** Chains of multiplications and additions, three of four numbers each, in registers. */
function arithmeticCode(type: "f32" | "f16"): string {
  const line =
    `a0 = fma(a0, Four(0.999), a1); a1 = fma(a1, Four(0.998), a2); a2 = fma(a2, Four(0.997), a0);`;
  return `${type === "f16" ? "enable f16;" : ""}
alias Four = vec4<${type}>;
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var a0 = Four(${type}(id.x % 64u)); var a1 = a0 + Four(1.0); var a2 = a0 + Four(2.0);
  for (var i = 0u; i < params.x; i++) {
    ${Array(8).fill(line).join("\n    ")}
  }
  out[id.x] = vec4f(a0 + a1 + a2);
}`;
}
const FLOPS = 8 * 3 * 4 * 2; // per iteration and invocation
const ITERATIONS = 256;

const COPIED = 8; // vec4s per invocation

/**
 * A software adapter is fastest where the vec4s of one invocation are neighbours, a GPU where those
 * of neighbouring lanes are.
 */
function copyCode(kind: AdapterKind): string {
  const [apart, lane] = kind === "software" ? [1, `lane * ${COPIED}u`] : [64, "lane"];
  const places = Array.from({ length: COPIED }, (_, i) => `first + ${apart * i}u`);
  return `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = (group.y * grid.x + group.x) * ${64 * COPIED}u + ${lane};
  if (${places.at(-1)} >= arrayLength(&out)) { return; }
  ${places.map((at) => `out[${at}] = source[${at}] + f32(params.x);`).join("\n  ")}
}`;
}

const COPY_BYTES = 64 << 20;

/**
 * Measures the peak, with `halves` that of f16 too. With `small` it does so little work that the
 * figures only show that it runs.
 */
export async function measurePeak(
  gpu: Gpu,
  effort: Effort,
  { small = false, halves = false } = {},
): Promise<Peak> {
  const arena = gpu.arena();
  try {
    // A GPU needs many more invocations than a processor before all of it is at work.
    const invocations = gpu.kind === "gpu" ? 1 << 20 : 1 << 12;
    const iterations = small ? 1 : ITERATIONS;
    const out = arena.buffer("out", invocations * 16);
    const flops = async (type: "f32" | "f16") => {
      const arithmetic = gpu.dispatch({
        label: `arithmetic_${type}`,
        code: arithmeticCode(type),
        params: [iterations, 0, 0, 0],
        buffers: [out],
        workgroups: invocations / 64,
      });
      return invocations * iterations * FLOPS / await measureSeconds(gpu, [arithmetic], effort) /
        1e9;
    };
    const bytes = small ? 1 << 16 : Math.min(COPY_BYTES, gpu.maxBindingBytes / 2);
    const copy = gpu.dispatch({
      label: "copy",
      code: copyCode(gpu.kind),
      params: [0, 0, 0, 0],
      buffers: [arena.buffer("source", bytes), arena.buffer("copy", bytes)],
      workgroups: bytes / 16 / 64 / COPIED,
    });
    const gflops = await flops("f32");
    const gflopsF16 = halves && gpu.offers.f16 ? await flops("f16") : undefined;
    const gbytes = 2 * bytes / await measureSeconds(gpu, [copy], effort) / 1e9;
    return { gflops, gflopsF16, gbytes };
  } finally {
    arena.destroy();
  }
}
