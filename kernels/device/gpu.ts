/**
 * Opens the adapter. This folder alone touches a `GPUDevice`: it owns buffers, turns a description
 * of a kernel call into a {@link Dispatch}, submits lists of them and reads results back. It knows
 * nothing of models or data.
 */

import { InputError, RunError, say, setting, task } from "../errors.ts";
import {
  allocatable,
  type Arena,
  createArena,
  createBuffer,
  type GpuBuffer,
  largestBuffer,
  plannedLimit,
  writeBuffer,
} from "./buffers.ts";
import { createPlanner, type Dispatch, type DispatchPlan, encode, splitWork } from "./dispatch.ts";
import { watchFailures } from "./failures.ts";
import { type KernelTime, profile } from "./profile.ts";
import { type BufferRange, createReadback } from "./readback.ts";
import { type AdapterKind, chooseVariants, type Offers, type Variants } from "./variants.ts";

export type { Arena, BufferRange, Dispatch, DispatchPlan, GpuBuffer, KernelTime };
export { floatBits, foldGrid } from "./dispatch.ts";

/** An open device. */
export interface Gpu {
  /** Description of the adapter, for instance `llvmpipe (LLVM 19.1.7, 256 bits)`. */
  readonly adapter: string;
  /** Kind of the adapter. */
  readonly kind: AdapterKind;
  /** Variants of the kernels that run on it. */
  readonly variants: Variants;
  /** Which of the optional features that some variants need the adapter offers. */
  readonly offers: Offers;
  /** Invocations of every subgroup; undefined where kernels may use none, or where sizes differ. */
  readonly subgroupSize?: number;
  /** The features that the adapter lists, and the limits that the device was opened with. */
  readonly capabilities: { features: string[]; limits: Record<string, number> };
  /**
   * Largest size of one binding, in bytes: less than the adapter's limit where a buffer of as many
   * was refused.
   */
  readonly maxBindingBytes: number;
  /** Whether {@link Gpu.profile} can time kernels. */
  readonly canProfile: boolean;
  /** Whether anything failed on it: then every read throws, and only another device can go on. */
  readonly failed: boolean;
  /** A small buffer to bind where a kernel's variant reads nothing. */
  readonly empty: GpuBuffer;
  /**
   * A small buffer to bind where a kernel writes nothing: one dispatch may not bind one buffer both
   * for reading and for writing.
   */
  readonly emptyWritable: GpuBuffer;
  /** A u32: where products in f16 count what f16 cannot hold, over the device's life. */
  readonly saturated: GpuBuffer;
  /** Opens an owner of buffers. */
  arena(): Arena;
  /** Plans a kernel call. Throws a `RangeError` on a grid that the device cannot take. */
  dispatch(plan: DispatchPlan): Dispatch;
  /** Runs the dispatches in order, in submits of a bounded amount of work. */
  submit(dispatches: readonly Dispatch[]): void;
  /** Copies `data` into `buffer` before the next submit. */
  write(buffer: GpuBuffer, data: Uint32Array | Float32Array, byteOffset?: number): void;
  /**
   * Reads buffers back in one synchronisation; throws the first failure of the device, also at
   * every later read.
   */
  read(sources: readonly BufferRange[]): Promise<ArrayBuffer[]>;
  /** Runs the dispatches and times each one (needs `timestamp-query`). */
  profile(dispatches: readonly Dispatch[]): Promise<KernelTime[]>;
  /**
   * Finds how many bytes of buffers can be had at once, up to `most`; what was taken is free again
   * afterwards.
   */
  allocatable(most: number): Promise<number>;
  /** Finds the largest single buffer that can be had, up to `most` bytes, within 8 MiB. */
  largestBuffer(most: number): Promise<number>;
  /** Frees the device. */
  close(): void;
}

/** What {@link openGpu} takes. */
export interface OpenGpuOptions {
  /**
   * `high-performance`, `low-power`, or part of an adapter's name that the adapter obtained must
   * hold.
   */
  adapter?: string;
  /**
   * Variants of kernels to use instead of the table's; each must be one that the adapter can run.
   */
  variants?: Partial<Variants>;
  /** Refuses an adapter that runs on the processor. */
  requireGpu?: boolean;
}

/**
 * Opens the WebGPU device with the adapter's own limits.
 *
 * Throws a `RunError` when there is no adapter (and reports which package brings one) or it gives
 * no device. Throws an `InputError` when `adapter` names another than the one obtained, or a GPU is
 * required and there is none. Also when a variant in `variants` is unknown or beyond the adapter.
 */
export async function openGpu(
  { adapter: wanted, variants, requireGpu = false }: OpenGpuOptions = {},
): Promise<Gpu> {
  const adapter = await requestAdapter(wanted);
  const description = describeAdapter(adapter);
  const kind: AdapterKind =
    adapter.info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(description)
      ? "software"
      : "gpu";
  if (requireGpu && kind === "software") {
    throw new InputError(
      "Cannot open a GPU as one is required: the adapter obtained is " +
        `"${description}", which runs on the processor`,
      {
        remedy: say`${task("doctor")} tells what is wrong; leave ${
          setting("requireGpu")
        } out to go on without one`,
      },
    );
  }
  const { device, subgroupSize } = await requestDevice(adapter);
  try {
    const offers = { subgroupsOf8: subgroupSize === 8, f16: adapter.features.has("shader-f16") };
    const chosen = chooseVariants(kind, offers, variants);
    const canProfile = adapter.features.has("timestamp-query");
    const capabilities = { features: [...adapter.features].sort(), limits: copyLimits(device) };
    return wrapDevice(device, {
      adapter: description,
      kind,
      canProfile,
      variants: chosen,
      offers,
      subgroupSize,
      capabilities,
      maxBindingBytes: await plannedLimit(device),
    }, { directive: subgroupSize !== undefined && await demandsDirective(device) });
  } catch (error) {
    device.destroy();
    throw error;
  }
}

function describeAdapter(adapter: GPUAdapter): string {
  return adapter.info.description || adapter.info.vendor;
}

/** Whether a device that has subgroups takes their functions only in texts that enable them. */
async function demandsDirective(device: GPUDevice): Promise<boolean> {
  const code = "@compute @workgroup_size(1) fn main() { _ = subgroupAdd(1u); }";
  device.pushErrorScope("validation");
  device.createShaderModule({ label: "subgroups without a directive", code });
  return await device.popErrorScope() !== null;
}

/** Copies the limits of a device: their names lie on the prototype. */
function copyLimits({ limits }: GPUDevice): Record<string, number> {
  const names = Object.getOwnPropertyNames(
    Object.getPrototypeOf(limits),
  ) as (keyof GPUSupportedLimits)[];
  const pairs = names.map((name) => [name, limits[name]] as const);
  return Object.fromEntries(pairs.filter(([, value]) => typeof value === "number"));
}

/** Asks for an adapter, and refuses one whose name lacks what is wanted. */
async function requestAdapter(wanted?: string): Promise<GPUAdapter> {
  const preference = wanted === "high-performance" || wanted === "low-power" ? wanted : undefined;
  const powerPreference = preference ?? "high-performance"; // else the first that the loader lists
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference });
  if (!adapter) {
    throw new RunError(
      "Cannot open a GPU as this machine has no Vulkan driver: install one, for " +
        "instance Mesa's software driver " +
        "with `apt-get install mesa-vulkan-drivers libvulkan1`",
    );
  }
  const description = describeAdapter(adapter);
  if (wanted && !preference && !description.toLowerCase().includes(wanted.toLowerCase())) {
    throw new InputError(
      `Cannot open the GPU as its name must hold "${wanted}": the adapter obtained ` +
        `is "${description}"`,
      {
        remedy: say`leave ${
          setting("adapter")
        } out to use that one, or let the process see the other one alone, \
as tasks/SERVERS.md shows`,
      },
    );
  }
  return adapter;
}

/** Asks for a device with the adapter's own limits and all features that kernels can use. */
async function requestDevice(
  adapter: GPUAdapter,
): Promise<{ device: GPUDevice; subgroupSize?: number }> {
  const { limits } = adapter;
  const requiredFeatures: GPUFeatureName[] = (["timestamp-query", "shader-f16"] as const)
    .filter((feature) => adapter.features.has(feature));
  const requiredLimits = {
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
  };
  // Deno 2.9 grants subgroups without listing them among the adapter's features, so asking is the
  // way to know.
  const { subgroupMinSize: subgroupSize, subgroupMaxSize } = adapter.info;
  if (subgroupSize > 1 && subgroupMaxSize === subgroupSize) {
    const device = await adapter.requestDevice({
      requiredFeatures: [...requiredFeatures, "subgroups"],
      requiredLimits,
    }).catch(() => undefined);
    if (device) return { device, subgroupSize };
  }
  try {
    return { device: await adapter.requestDevice({ requiredFeatures, requiredLimits }) };
  } catch (error) {
    const { message } = error as Error;
    throw new RunError(
      `Cannot open the GPU as "${describeAdapter(adapter)}" must give this process a device: ${
        message.replace(/\s+/g, " ").trim()
      }`,
      {
        remedy: say`another program may hold the card or its memory, or its driver failed: ${
          task("doctor")
        } tells what works`,
        cause: error,
      },
    );
  }
}

function wrapDevice(
  device: GPUDevice,
  properties: Pick<
    Gpu,
    | "adapter"
    | "kind"
    | "canProfile"
    | "variants"
    | "offers"
    | "subgroupSize"
    | "capabilities"
    | "maxBindingBytes"
  >,
  { directive }: { directive: boolean },
): Gpu {
  const failures = watchFailures(device);
  const planner = createPlanner(device, { directive });
  const reader = createReadback(device, failures, properties.maxBindingBytes);
  return {
    ...properties,
    get failed() {
      return failures.any;
    },
    empty: createBuffer(device, "empty", 16),
    emptyWritable: createBuffer(device, "empty_writable", 16),
    saturated: createBuffer(device, "saturated", 16),
    arena: () => createArena(device),
    dispatch: planner.dispatch,
    submit(dispatches) {
      for (const part of splitWork(dispatches, properties.kind)) {
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        for (const dispatch of part) {
          encode(pass, dispatch);
          failures.submitted(dispatch.label);
        }
        pass.end();
        device.queue.submit([encoder.finish()]);
      }
    },
    write: (buffer, data, byteOffset) => writeBuffer(device, buffer, data, byteOffset),
    read: reader.read,
    async profile(dispatches) {
      if (!properties.canProfile) {
        throw new RunError(
          "Cannot time kernels as the adapter must offer timestamp-query: it is " +
            properties.adapter,
        );
      }
      for (const { label } of dispatches) failures.submitted(label);
      return await profile(device, reader, dispatches);
    },
    allocatable: (most) => allocatable(device, most),
    largestBuffer: (most) => largestBuffer(device, most),
    close() {
      failures.closed();
      reader.close();
      planner.close();
      device.destroy();
    },
  };
}
