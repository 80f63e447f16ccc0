/**
 * Kernel calls as data: compiled pipelines, parameters and bindings, planned once and run again and
 * again.
 */

import type { GpuBuffer } from "./buffers.ts";
import type { AdapterKind } from "./variants.ts";
import { withStorage } from "./storage.ts";
import { enableSubgroups } from "./wgsl.ts";

/**
 * One planned kernel call: pipeline, bindings and grid are fixed, so that a step is a loop over
 * these.
 */
export interface Dispatch {
  /** Name of the kernel. */
  readonly label: string;
  /** Number of workgroups along x, y, z. */
  readonly grid: readonly [number, number, number];
  /** Compiled pipeline. */
  readonly pipeline: GPUComputePipeline;
  /** Bound buffers. */
  readonly bindings: GPUBindGroup;
  /** Multiplications of all models, about; 0 where they take no time next to those of products. */
  readonly multiplications: number;
}

/** What a device needs to plan a kernel call. */
export interface DispatchPlan {
  /** Name of the kernel: with `code` and `constants` the key of the pipeline cache. */
  label: string;
  /**
   * WGSL source with one entry point `main`, in its f32 text: {@link withStorage} turns it into
   * what the buffers hold.
   */
  code: string;
  /** Values of the `override` constants. */
  constants?: Record<string, number>;
  /**
   * `struct Params` at binding 0, in order: u32 values, or f32 values wrapped by {@link floatBits}.
   */
  params: number[];
  /** Bindings 1, 2, … */
  buffers: GpuBuffer[];
  /** Workgroups along the work axis; folded over x and y. */
  workgroups: number;
  /** Workgroups along z, the model axis of a bank: 1 unless given. */
  models?: number;
  /** Multiplications of one model, about: 0 unless given. */
  multiplications?: number;
}

const WORKGROUPS_PER_AXIS = 65_535;
/**
 * Parameters that are kept for calls to come, those that were made last: a server plans calls of
 * ever new sizes.
 */
const MOST_PARAMS = 1024;

/** Returns the bits of `value` as an f32, for the `params` of a plan. */
export function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** Folds `count` workgroups over x and y, each at most `axis`, as evenly as can be. */
export function foldGrid(count: number, axis = WORKGROUPS_PER_AXIS): [number, number] {
  const y = Math.max(1, Math.ceil(count / axis));
  return [Math.ceil(count / y), y];
}

/**
 * Makes a planner, which keeps what calls can share: pipelines by their texts, parameters by their
 * values. With a `directive`, texts that use subgroups say so.
 */
export function createPlanner(device: GPUDevice, { directive = false } = {}) {
  const pipelines = new Map<string, GPUComputePipeline>();
  const getPipeline = ({ label, code, constants = {} }: DispatchPlan) => {
    const key = `${label}\n${JSON.stringify(constants)}\n${code}`;
    return pipelines.getOrInsertComputed(key, () => {
      const module = device.createShaderModule({ label, code });
      return device.createComputePipeline({
        label,
        layout: "auto",
        compute: { module, constants },
      });
    });
  };

  // Parameters never change after planning, so equal ones share a buffer. Those that are no longer
  // kept live on in the calls that bind them.
  const uniforms = new Map<string, GPUBuffer>();
  const makeUniform = (label: string, params: number[]) => {
    const key = params.join();
    let buffer = uniforms.get(key);
    if (!buffer) {
      const size = Math.max(16, Math.ceil(params.length / 4) * 16);
      buffer = device.createBuffer({
        label,
        size,
        usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      });
      device.queue.writeBuffer(buffer, 0, Uint32Array.from(params));
      uniforms.set(key, buffer);
      if (uniforms.size > MOST_PARAMS) uniforms.delete(uniforms.keys().next().value!); // the oldest
    }
    return buffer;
  };

  return {
    /** Plans a kernel call. Throws a `RangeError` on a grid that the device cannot take. */
    dispatch(plan: DispatchPlan): Dispatch {
      const { label, params, buffers, workgroups, models = 1, multiplications = 0 } = plan;
      if (
        !(workgroups >= 1) || workgroups > WORKGROUPS_PER_AXIS ** 2 || models < 1 ||
        models > WORKGROUPS_PER_AXIS
      ) {
        throw new RangeError(
          `Cannot plan ${label} as it must have 1 to ${WORKGROUPS_PER_AXIS}² workgroups and 1 to ` +
            `${WORKGROUPS_PER_AXIS} models: workgroups is ${workgroups}, models is ${models}`,
        );
      }
      const stored = withStorage(label, plan.code, buffers.map(({ storage }) => storage));
      const code = directive ? enableSubgroups(stored) : stored;
      const pipeline = getPipeline({ ...plan, code });
      const bindings = device.createBindGroup({
        label,
        layout: pipeline.getBindGroupLayout(0),
        entries: [makeUniform(label, params), ...buffers.map((buffer) => buffer.raw)].map((
          buffer,
          binding,
        ) => ({
          binding,
          resource: { buffer },
        })),
      });
      return {
        label,
        grid: [...foldGrid(workgroups), models],
        pipeline,
        bindings,
        multiplications: models * multiplications,
      };
    },

    /** Frees the parameters. */
    close(): void {
      for (const buffer of uniforms.values()) buffer.destroy();
    },
  };
}

/**
 * Multiplications of one submit, at most, by kind of adapter: a fraction of a second on any that
 * trains. Drivers give up a device whose submit takes seconds (Windows two, amdgpu ten), and nobody
 * else gets a share of the device in the meantime.
 */
export const SUBMIT_MULTIPLICATIONS: Record<AdapterKind, number> = { software: 1e10, gpu: 2e11 };

/** Splits dispatches into submits of a bounded amount of work, or of one dispatch. */
export function splitWork(dispatches: readonly Dispatch[], kind: AdapterKind): Dispatch[][] {
  const parts: Dispatch[][] = [];
  let work = Infinity;
  for (const dispatch of dispatches) {
    work += dispatch.multiplications;
    if (work > SUBMIT_MULTIPLICATIONS[kind]) {
      parts.push([]);
      work = dispatch.multiplications;
    }
    parts.at(-1)!.push(dispatch);
  }
  return parts;
}

/** Puts a call into a pass. */
export function encode(pass: GPUComputePassEncoder, { pipeline, bindings, grid }: Dispatch): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(...grid);
}
