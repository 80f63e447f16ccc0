/**
 * Judges the variants for GPUs on paper: what each kernel of a training step moves and computes,
 * how many workgroups it has, and which time that takes at least on an H100. Opens no device.
 *
 * @module
 */

import type { Dispatch, DispatchPlan, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import { padded } from "../../kernels/device/matrix.ts";
import { VARIANTS, type Variants } from "../../kernels/device/variants.ts";
import {
  chooseTile,
  countInvocations,
  countSplits,
  countWorkgroups,
  MULTIPROCESSORS,
  partsSize,
  planLong,
} from "../../kernels/matmul/matmul_workgroup.ts";
import { trainingFlops } from "../../pipeline/cost/flops.ts";
import { logitsBudget } from "../../pipeline/model/activations.ts";
import { type Kernel, kernelsOf, planKernel, type Tensors } from "./kernels.ts";
import { MODELS, PAPER, type Size, sizeText } from "./sizes.ts";
import { columns, digits, percent } from "./text.ts";

/** What an H100 does at most, by its makers, and what a dispatch costs by estimate. */
export const H100 = {
  /** Multiplications and additions in f32 a second, two to a pair. */
  flops: 60e12,
  /** Bytes of memory a second. */
  memory: 3e12,
  /** Bytes of workgroup memory a second: 128 a clock of 1.755 GHz in each multiprocessor. */
  workgroup: MULTIPROCESSORS * 128 * 1.755e9,
  /** Seconds that a dispatch waits for the one before it. */
  dispatch: 3e-6,
} as const;

/**
 * One use of a kernel, on paper, of one call over all models: calls in a training step, dispatches
 * of a call, workgroups of its largest dispatch, bytes that it moves at least, multiplications with
 * an addition, and seconds at least.
 */
export interface ModelledKernel
  extends
    Record<"calls" | "dispatches" | "workgroups" | "bytes" | "multiplyAdds" | "seconds", number> {
  kernel: string;
  what: string;
  /** Bytes of workgroup memory that a product reads and writes; undefined for other kernels. */
  workgroupBytes?: number;
  /** What bounds it. */
  bound: "arithmetic" | "memory" | "workgroup memory" | "dispatches";
}

/**
 * A training step on paper: models side by side, dispatches, seconds at least, and the share of the
 * f32 peak that this is.
 */
export interface ModelledStep
  extends Record<"models" | "dispatches" | "seconds" | "ofArithmetic", number> {
  size: string;
  shape: Size;
  kernels: ModelledKernel[];
}

/** The models that are judged; experts with as many sequences as one card trains at once. */
export const MODELLED: Record<string, { shape: Size; models: number }> = {
  R: { shape: MODELS.R, models: 1 },
  "4.4M, one": { shape: PAPER["4.4M"], models: 1 },
  "4.4M, bank of 32": { shape: PAPER["4.4M"], models: 32 },
  "335M": { shape: { ...PAPER["335M"], batch: 8 }, models: 1 },
  "1.3B": { shape: { ...PAPER["1.3B"], batch: 4 }, models: 1 },
};

/** A device that runs nothing: plans come back as they are, and `record` sees each. */
export function paperGpu(
  { variants = VARIANTS.gpu, record = () => {} }: {
    variants?: Variants;
    record?: (plan: DispatchPlan) => void;
  } = {},
): { gpu: Gpu; tensors: Tensors } {
  const buffer = (label: string, bytes: number): GpuBuffer => ({
    label,
    bytes: Math.max(16, Math.ceil(bytes / 16) * 16),
    raw: undefined as unknown as GPUBuffer,
  });
  const gpu = {
    adapter: "paper",
    kind: "gpu",
    subgroupSize: 32,
    variants,
    capabilities: { features: [], limits: { maxComputeWorkgroupStorageSize: 48 * 1024 } },
    maxBindingBytes: 2 ** 31 - 1,
    empty: buffer("empty", 16),
    emptyWritable: buffer("empty", 16),
    saturated: buffer("saturated", 16),
    dispatch: (plan: DispatchPlan) => {
      record(plan);
      return {
        label: plan.label,
        grid: [plan.workgroups, 1, plan.models ?? 1],
      } as unknown as Dispatch;
    },
  } as unknown as Gpu;
  const tensors: Tensors = {
    floats: (count) => buffer("a tensor", 4 * count),
    integers: (values) => buffer("a tensor", values.byteLength),
  };
  return { gpu, tensors };
}

/** Judges one use of a kernel. */
function judge(kernel: Kernel, all: number): ModelledKernel {
  const { label, what, calls, together: models = all } = kernel;
  const { gpu, tensors } = paperGpu();
  const plans = planKernel(gpu, tensors, kernel);
  let dispatches = plans.length;
  let bytes = models * 4 * kernel.values;
  let workgroups = models * Math.max(0, ...plans.map(({ grid }) => grid[0]));
  let flops = models * kernel.flops;
  const multiplyAdds = flops / 2;
  let workgroupBytes: number | undefined;
  if (kernel.product) {
    let [m, n, k] = kernel.product;
    const n4 = padded(n) / 4;
    const whole = () => ({ tile: chooseTile(m, n4, models), segments: 0 });
    const { tile, segments } = label === "matmul_transposed"
      ? { ...whole(), segments: countSplits(m, n4, k, models) }
      : kernel.hasTail
      ? whole()
      : planLong({ m, n4, k, models });
    workgroups = models * countWorkgroups(tile, m, n4);
    if (segments > 0) { // parts are written, read and added by a dispatch more
      workgroups *= segments;
      k /= segments;
      bytes += 8 * partsSize(m, padded(n) / 4, segments, models);
      dispatches++;
    }
    // What lies beyond the edges is multiplied as well.
    flops = workgroups * tile.rows * tile.columns * 2 * k;
    // Bytes per term, 16 per vec4 of four terms.
    const read = countInvocations(tile) * (tile.ownRows + 4 * tile.ownVec4s) * 4;
    workgroupBytes = workgroups * k * (read + 4 * (tile.rows + tile.columns));
  }
  const turns = Math.ceil(workgroups / MULTIPROCESSORS) * MULTIPROCESSORS / Math.max(1, workgroups);
  const times = {
    arithmetic: flops / H100.flops * turns,
    memory: bytes / H100.memory,
    "workgroup memory": (workgroupBytes ?? 0) / H100.workgroup * turns,
    dispatches: dispatches * H100.dispatch,
  } as const;
  const seconds = Math.max(times.arithmetic, times.memory, times["workgroup memory"]) +
    times.dispatches;
  const [bound] = (Object.keys(times) as (keyof typeof times)[]).sort((a, b) =>
    times[b] - times[a]
  );
  return {
    kernel: label,
    what,
    calls: calls * Math.ceil(all / models),
    dispatches,
    workgroups,
    bytes,
    workgroupBytes,
    multiplyAdds,
    seconds,
    bound,
  };
}

/** Judges a training step, kernel by kernel. */
export function modelStep(size: string): ModelledStep {
  const { models, shape: plain } = MODELLED[size];
  const shape = { ...plain, models, logitsBytes: logitsBudget("gpu", 2 ** 31 - 1) };
  const kernels = kernelsOf(shape).map((kernel) => judge(kernel, models))
    .filter(({ calls, dispatches }) => calls > 0 && dispatches > 0);
  const seconds = kernels.reduce((sum, { calls, seconds }) => sum + calls * seconds, 0);
  return {
    size,
    models,
    shape,
    kernels,
    seconds,
    dispatches: Math.round(
      kernels.reduce((sum, { calls, dispatches }) => sum + calls * dispatches, 0),
    ),
    ofArithmetic: models * trainingFlops(shape, shape.batch, shape.context) / seconds / H100.flops,
  };
}

/** Lays out a step. */
export function modelText(
  { size, models, shape, kernels, dispatches, seconds, ofArithmetic }: ModelledStep,
): string {
  const total = ({ calls, seconds }: ModelledKernel) => calls * seconds;
  const rows = kernels.toSorted((a, b) => total(b) - total(a)).map((kernel) => [
    kernel.kernel,
    kernel.what,
    `${digits(kernel.calls, 1)}×`,
    digits(kernel.workgroups, 1),
    digits(kernel.bytes / 1e6),
    kernel.workgroupBytes === undefined ? "" : digits(kernel.workgroupBytes / 1e6),
    digits(kernel.multiplyAdds / 1e6),
    digits(1000 * total(kernel)),
    percent(total(kernel) / seconds),
    kernel.bound,
  ]);
  const head = "kernel|on|a step|workgroups|MB|workgroup MB|M mult-adds|ms a step|share|bound by"
    .split("|");
  const inAll = `${digits(dispatches, 1)} dispatches, ${digits(1000 * seconds)} ms a step at least`;
  return [
    `${size}: ${models > 1 ? `${models} models, ` : ""}${sizeText(shape)}`,
    columns([head, ...rows], "llrrrrrrrl"),
    `${inAll}, ${percent(ofArithmetic)} of the f32 peak`,
  ].join("\n");
}

/** Reports what the figures rest on. */
export const ASSUMPTIONS = [
  "on paper, for an H100: 60 TFLOP/s in f32, 3 TB/s of memory, 132 multiprocessors with 128 bytes of workgroup memory a clock,",
  "3 µs for each dispatch; products as their tiles are, edges included, in whole turns of all multiprocessors; of other kernels the",
  "formula's work alone. Real ones take longer: nobody has timed these variants",
].join("\n");
