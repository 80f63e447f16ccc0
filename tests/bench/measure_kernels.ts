/**
 * Times every kernel of kernels.ts at one size, next to the peak.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Arena, Gpu } from "../../kernels/device/gpu.ts";
import { type Kernel, planKernel, type Tensors } from "./kernels.ts";
import type { Peak } from "../../kernels/device/peak.ts";
import { columns, digits, percent } from "./text.ts";
import { type Effort, measureSeconds } from "../../kernels/device/time.ts";

/**
 * How fast something ran, and how near the peak: GFLOP/s and their share of the arithmetic peak,
 * left out where nothing is computed; GB/s and their share of the memory peak, above 1 where the
 * data stay in a cache.
 */
export type Speed =
  & Partial<Record<"gflops" | "ofArithmetic", number>>
  & Record<"gbytes" | "ofMemory", number>;

/** Divides work by time and by the peak. */
export function computeSpeed(seconds: number, flops: number, bytes: number, peak: Peak): Speed {
  const gbytes = bytes / seconds / 1e9;
  const speed = { gbytes, ofMemory: gbytes / peak.gbytes };
  if (flops === 0) return speed;
  const gflops = flops / seconds / 1e9;
  return { ...speed, gflops, ofArithmetic: gflops / peak.gflops };
}

/** One use of a kernel, measured. */
export interface KernelTimes {
  /** Label of the kernel. */
  kernel: string;
  /** What it works on. */
  what: string;
  /** How often a training step runs it; left out where it does not. */
  calls?: number;
  /** Milliseconds of one run. */
  ms?: number;
  /** Its speed. */
  speed?: Speed;
  /** Why it was not run: a tensor does not fit this adapter. */
  refused?: string;
}

/** Times those kernels that this adapter's variants have. */
export async function measureKernels(
  gpu: Gpu,
  kernels: readonly Kernel[],
  { effort, peak }: { effort: Effort; peak: Peak },
): Promise<KernelTimes[]> {
  const rows: KernelTimes[] = [];
  for (const kernel of kernels) {
    const arena = gpu.arena();
    const { label, what, calls, flops, values } = kernel;
    const row: KernelTimes = { kernel: label, what, ...calls > 0 && { calls } };
    try {
      const dispatches = planKernel(gpu, tensorsIn(gpu, arena), kernel);
      if (dispatches.length === 0) continue;
      const seconds = await measureSeconds(gpu, dispatches, effort);
      row.ms = seconds * 1000;
      row.speed = computeSpeed(seconds, flops, 4 * values, peak);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      row.refused = error.message;
    } finally {
      arena.destroy();
    }
    rows.push(row);
  }
  return rows;
}

let pool = new Float32Array(0);

/** The same values between 0 and 0.1 every time: no zeros, which some adapters multiply faster. */
function someValues(count: number): Float32Array {
  if (pool.length < count) {
    pool = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      pool[i] = (Math.imul(i + 1, 2_654_435_761) >>> 8) * (0.1 / 2 ** 24);
    }
  }
  return pool.subarray(0, count);
}

/** Makes tensors that an arena owns. */
function tensorsIn(gpu: Gpu, arena: Arena): Tensors {
  return {
    floats(count) {
      // Refuses what is too large before values are made.
      const buffer = arena.buffer("a tensor", 4 * count);
      gpu.write(buffer, someValues(count));
      return buffer;
    },
    integers: (values) => arena.buffer("a tensor", values),
  };
}

/** Titles of {@link speedCells}, and the sides that they are flush to. */
export const SPEED = {
  titles: ["GFLOP/s", "of peak", "GB/s", "of peak", "bound by"],
  sides: "rrrrl",
};

/** Writes a speed and both shares; the peak that is nearer is what bounds it. */
export function speedCells({ gflops, gbytes, ofArithmetic, ofMemory }: Speed): string[] {
  return [
    digits(gflops),
    ofArithmetic === undefined ? "" : percent(ofArithmetic),
    digits(gbytes),
    percent(ofMemory),
    (ofArithmetic ?? 0) >= ofMemory ? "arithmetic" : "memory",
  ];
}

/** Writes the table of a size. */
export function kernelsText(rows: readonly KernelTimes[]): string {
  return columns([
    ["kernel", "on", "a step", "ms", ...SPEED.titles],
    ...rows.map(({ kernel, what, calls, ms, speed }) => [
      kernel,
      what,
      calls === undefined ? "" : `${digits(calls, 1)}×`,
      digits(ms),
      ...(speed ? speedCells(speed) : ["", "", "", "", "not run: a tensor exceeds a binding"]),
    ]),
  ], `llrr${SPEED.sides}`);
}
