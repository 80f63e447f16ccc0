/**
 * The only file that touches a `GPUDevice`: opens the adapter, owns buffers, turns a description of a kernel call
 * into a {@link Dispatch}, submits lists of them and reads results back. It knows nothing of models or data.
 */

import { InputError, RunError, say, setting } from "./errors.ts";
import { type Storage, withStorage } from "./storage.ts";
import { type AdapterKind, chooseVariants, type Variants } from "./variants.ts";

/** A storage buffer with its name, so that every error can say which tensor it is about. */
export interface GpuBuffer {
  /** Name of the tensor. */
  readonly label: string;
  /** Size in bytes, a multiple of 16. */
  readonly bytes: number;
  /** How its values are stored: f32 unless said. */
  readonly storage?: Storage;
  /** The WebGPU handle. */
  readonly raw: GPUBuffer;
}

/** One planned kernel call: pipeline, bindings and grid are fixed, so that a step is a loop over these. */
export interface Dispatch {
  /** Name of the kernel. */
  readonly label: string;
  /** Number of workgroups along x, y, z. */
  readonly grid: readonly [number, number, number];
  /** Compiled pipeline. */
  readonly pipeline: GPUComputePipeline;
  /** Bound buffers. */
  readonly bindings: GPUBindGroup;
}

/** What {@link Gpu.dispatch} needs to plan a kernel call. */
export interface DispatchPlan {
  /** Name of the kernel: with `constants` the key of the pipeline cache. */
  label: string;
  /** WGSL source with one entry point `main`, in its f32 form: {@link withStorage} turns it into what the buffers hold. */
  code: string;
  /** Values of the `override` constants. */
  constants?: Record<string, number>;
  /** `struct Params` at binding 0, in order: u32 values, or f32 values wrapped by {@link floatBits}. */
  params: number[];
  /** Bindings 1, 2, … */
  buffers: GpuBuffer[];
  /** Workgroups along the work axis; folded over x and y. */
  workgroups: number;
  /** Workgroups along z, the model axis of a bank: 1 unless given. */
  models?: number;
}

/** Time that one kernel took in {@link Gpu.profile}. */
export interface KernelTime {
  /** Name of the kernel. */
  label: string;
  /** Time on the device, in nanoseconds. */
  nanoseconds: number;
}

/** Buffers of one owner, destroyed together. */
export interface Arena {
  /** Makes a zeroed buffer of `size` bytes, or one that holds `data`; `storage` says how its values are stored. */
  buffer(label: string, size: number | Uint32Array | Float32Array, storage?: Storage): GpuBuffer;
  /** Bytes allocated so far. */
  readonly bytes: number;
  /** Frees every buffer of the arena. */
  destroy(): void;
}

/** An open device. */
export interface Gpu {
  /** Description of the adapter, for instance `llvmpipe (LLVM 19.1.7, 256 bits)`. */
  readonly adapter: string;
  /** Kind of the adapter. */
  readonly kind: AdapterKind;
  /** Forms of the kernels that run on it. */
  readonly variants: Variants;
  /** Largest size of one binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Whether {@link Gpu.profile} can time kernels. */
  readonly canProfile: boolean;
  /** A small buffer to bind where a kernel's variant reads nothing. */
  readonly empty: GpuBuffer;
  /** The same for a writable binding: one dispatch may not bind one buffer both ways. */
  readonly emptyWritable: GpuBuffer;
  /** Opens an owner of buffers. */
  arena(): Arena;
  /** Plans a kernel call. Throws `RangeError` on a grid or binding that the device cannot take. */
  dispatch(plan: DispatchPlan): Dispatch;
  /** Runs the dispatches in order, in one submit. */
  submit(dispatches: readonly Dispatch[]): void;
  /** Copies `data` into `buffer` before the next submit. */
  write(buffer: GpuBuffer, data: Uint32Array | Float32Array, byteOffset?: number): void;
  /** Reads buffers back in one synchronisation; throws if anything failed on the device since the last read. */
  read(
    sources: readonly { buffer: GpuBuffer; byteOffset?: number; bytes?: number }[],
  ): Promise<ArrayBuffer[]>;
  /** Runs the dispatches and times each one (needs `timestamp-query`). */
  profile(dispatches: readonly Dispatch[]): Promise<KernelTime[]>;
  /** Frees the device. */
  close(): void;
}

/** What {@link openGpu} takes. */
export interface OpenGpuOptions {
  /** `high-performance`, `low-power`, or part of an adapter's name that the adapter obtained must hold. */
  adapter?: string;
  /** Forms of kernels to use instead of the table's; each must be one that the adapter can run. */
  variants?: Partial<Variants>;
}

const WORKGROUPS_PER_AXIS = 65_535;
const TIMED_AT_ONCE = 2048; // a query set holds 4,096 timestamps, two per dispatch
const MIB = 1024 * 1024;

/** Returns the bits of `value` as an f32, for the `params` of a plan. */
export function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** Folds `count` workgroups over x and y, each at most 65,535, as evenly as can be. */
export function foldGrid(count: number): [number, number] {
  const y = Math.max(1, Math.ceil(count / WORKGROUPS_PER_AXIS));
  return [Math.ceil(count / y), y];
}

/**
 * Opens the WebGPU device with the adapter's own limits.
 *
 * Throws a `RunError` when there is no adapter (and says which package brings one), and an `InputError` when `adapter`
 * names another than the one obtained, or a form in `variants` is unknown or beyond the adapter.
 */
export async function openGpu({ adapter: wanted, variants }: OpenGpuOptions = {}): Promise<Gpu> {
  const preference = wanted === "high-performance" || wanted === "low-power" ? wanted : undefined;
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: preference });
  if (!adapter) {
    throw new RunError(
      "Cannot open a GPU as this machine has no Vulkan driver: install one, for instance Mesa's software driver " +
        "with `apt-get install mesa-vulkan-drivers libvulkan1`",
    );
  }
  const description = adapter.info.description || adapter.info.vendor;
  if (wanted && !preference && !description.toLowerCase().includes(wanted.toLowerCase())) {
    throw new InputError(
      `Cannot open the GPU as its name must hold "${wanted}": the adapter obtained is "${description}"`,
      {
        remedy: say`leave ${
          setting("adapter")
        } out to use that one, or let the process see the other one alone, as tasks/SERVERS.md shows`,
      },
    );
  }
  const kind: AdapterKind =
    adapter.info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(description) ? "software" : "gpu";
  const canProfile = adapter.features.has("timestamp-query");
  const { limits } = adapter;
  const f16 = adapter.features.has("shader-f16");
  const features: GPUFeatureName[] = [
    ...canProfile ? ["timestamp-query"] as const : [],
    ...f16 ? ["shader-f16"] as const : [],
  ];
  const requiredLimits = {
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
  };
  // Deno 2.9 grants subgroups without listing them among the adapter's features, so asking is the way to know.
  let subgroupsOf8 = adapter.info.subgroupMinSize === 8 && adapter.info.subgroupMaxSize === 8;
  let device: GPUDevice | undefined;
  if (subgroupsOf8) {
    device = await adapter.requestDevice({ requiredFeatures: [...features, "subgroups"], requiredLimits })
      .catch(() => undefined);
    subgroupsOf8 = device !== undefined;
  }
  device ??= await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  let chosen: Variants;
  try {
    chosen = chooseVariants(kind, { subgroupsOf8, f16 }, variants);
  } catch (error) {
    device.destroy();
    throw error;
  }
  return wrapDevice(device, {
    adapter: description,
    kind,
    canProfile,
    variants: chosen,
  });
}

function wrapDevice(
  device: GPUDevice,
  { adapter, kind, canProfile, variants }: Pick<Gpu, "adapter" | "kind" | "canProfile" | "variants">,
): Gpu {
  // Invalid work drops its whole command buffer without a throw, so the first message is kept for the next read.
  let failure: string | undefined;
  let lastLabel = "none";
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    failure ??= (event as GPUUncapturedErrorEvent).error.message.trim();
  });
  device.lost.then((info) => {
    if (info.reason !== "destroyed") failure ??= `device lost: ${info.message}`;
  }, () => {});
  const failed = (reason: string, cause?: unknown) =>
    new RunError(
      `Cannot go on as the GPU failed at or before kernel "${lastLabel}": ${reason.replace(/\s+/g, " ")}`,
      { cause },
    );
  const check = () => {
    if (failure !== undefined) throw failed(failure);
  };

  const pipelines = new Map<string, GPUComputePipeline>();
  const pipelineOf = ({ label, code, constants = {} }: DispatchPlan) => {
    const key = `${label}\n${JSON.stringify(constants)}\n${code}`;
    let pipeline = pipelines.get(key);
    if (!pipeline) {
      const module = device.createShaderModule({ label, code });
      pipeline = device.createComputePipeline({ label, layout: "auto", compute: { module, constants } });
      pipelines.set(key, pipeline);
    }
    return pipeline;
  };

  // Parameters never change after planning, so that equal ones share a buffer.
  const uniforms = new Map<string, GPUBuffer>();
  const uniformOf = (label: string, params: number[]) => {
    const key = params.join();
    let buffer = uniforms.get(key);
    if (!buffer) {
      const size = Math.max(16, Math.ceil(params.length / 4) * 16);
      buffer = device.createBuffer({ label, size, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
      device.queue.writeBuffer(buffer, 0, Uint32Array.from(params));
      uniforms.set(key, buffer);
    }
    return buffer;
  };

  const maxBindingBytes = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);

  function createBuffer(
    label: string,
    size: number | Uint32Array | Float32Array,
    storage: Storage = "f32",
  ): GpuBuffer {
    const wantedBytes = typeof size === "number" ? size : size.byteLength;
    const bytes = Math.max(16, Math.ceil(wantedBytes / 16) * 16);
    if (bytes > maxBindingBytes) {
      throw new InputError(
        `Cannot place tensor "${label}" as one tensor must fit the adapter's binding limit: it needs ` +
          `${Math.ceil(bytes / MIB)} MiB, the limit is ${Math.floor(maxBindingBytes / MIB)} MiB`,
      );
    }
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const raw = device.createBuffer({ label, size: bytes, usage });
    if (typeof size !== "number" && size.length > 0) device.queue.writeBuffer(raw, 0, size as BufferSource);
    return { label, bytes, storage, raw };
  }

  function encode(pass: GPUComputePassEncoder, dispatch: Dispatch) {
    pass.setPipeline(dispatch.pipeline);
    pass.setBindGroup(0, dispatch.bindings);
    pass.dispatchWorkgroups(...dispatch.grid);
    lastLabel = dispatch.label;
  }

  // The readback buffer, unless a read is using it: reads that overlap take one each.
  let spare: GPUBuffer | undefined;
  const takeStaging = (size: number) => {
    const staging = spare;
    spare = undefined;
    if (staging && staging.size >= size) return staging;
    staging?.destroy();
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return device.createBuffer({ label: "staging", size, usage });
  };
  const returnStaging = (staging: GPUBuffer) => {
    spare?.destroy();
    spare = staging;
  };

  const gpu: Gpu = {
    adapter,
    kind,
    variants,
    maxBindingBytes,
    canProfile,
    empty: createBuffer("empty", 16),
    emptyWritable: createBuffer("empty_writable", 16),

    arena() {
      const owned: GPUBuffer[] = [];
      let bytes = 0;
      return {
        buffer(label, size, storage) {
          const buffer = createBuffer(label, size, storage);
          owned.push(buffer.raw);
          bytes += buffer.bytes;
          return buffer;
        },
        get bytes() {
          return bytes;
        },
        destroy() {
          for (const buffer of owned.splice(0)) buffer.destroy();
          bytes = 0;
        },
      };
    },

    dispatch(plan) {
      const { label, params, buffers, workgroups, models = 1 } = plan;
      if (
        !(workgroups >= 1) || workgroups > WORKGROUPS_PER_AXIS ** 2 || models < 1 ||
        models > WORKGROUPS_PER_AXIS
      ) {
        throw new RangeError(
          `Cannot plan ${label} as it must have 1 to ${WORKGROUPS_PER_AXIS}² workgroups and 1 to ` +
            `${WORKGROUPS_PER_AXIS} models: workgroups is ${workgroups}, models is ${models}`,
        );
      }
      const code = withStorage(label, plan.code, buffers.map(({ storage }) => storage));
      const pipeline = pipelineOf({ ...plan, code });
      const bindings = device.createBindGroup({
        label,
        layout: pipeline.getBindGroupLayout(0),
        entries: [uniformOf(label, params), ...buffers.map((buffer) => buffer.raw)].map((
          buffer,
          binding,
        ) => ({
          binding,
          resource: { buffer },
        })),
      });
      return { label, grid: [...foldGrid(workgroups), models], pipeline, bindings };
    },

    submit(dispatches) {
      if (dispatches.length === 0) return;
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const dispatch of dispatches) encode(pass, dispatch);
      pass.end();
      device.queue.submit([encoder.finish()]);
    },

    write(buffer, data, byteOffset = 0) {
      // Out of range would abort the process, uncatchably, and so would nothing at all.
      if (byteOffset < 0 || byteOffset % 4 !== 0 || byteOffset + data.byteLength > buffer.bytes) {
        throw new RangeError(
          `Cannot write into "${buffer.label}" as the data must lie inside it: ${data.byteLength} bytes at ` +
            `${byteOffset}, its size is ${buffer.bytes}`,
        );
      }
      if (data.length > 0) device.queue.writeBuffer(buffer.raw, byteOffset, data as BufferSource);
    },

    async read(sources) {
      check();
      let end = 0;
      const ranges = sources.map(({ buffer, byteOffset = 0, bytes = buffer.bytes - byteOffset }) => {
        const padded = Math.ceil(bytes / 4) * 4;
        if (!(byteOffset >= 0 && byteOffset % 4 === 0 && bytes >= 0 && byteOffset + padded <= buffer.bytes)) {
          throw new RangeError(
            `Cannot read "${buffer.label}" as the range must lie inside it: ${bytes} bytes at ${byteOffset}, ` +
              `its size is ${buffer.bytes}`,
          );
        }
        const place = end;
        end += Math.ceil(padded / 8) * 8; // mapped ranges start at multiples of 8
        return { buffer, byteOffset, bytes, padded, place };
      });
      const staging = takeStaging(Math.max(16, end));
      const encoder = device.createCommandEncoder();
      for (const { buffer, byteOffset, padded, place } of ranges) {
        if (padded > 0) encoder.copyBufferToBuffer(buffer.raw, byteOffset, staging, place, padded);
      }
      device.queue.submit([encoder.finish()]);
      try {
        await staging.mapAsync(GPUMapMode.READ, 0, Math.max(16, end));
      } catch (error) {
        staging.destroy();
        check(); // says what failed, where the rejection does not
        throw failed((error as Error).message, error);
      }
      const results = ranges.map(({ bytes, padded, place }) =>
        padded === 0 ? new ArrayBuffer(0) : staging.getMappedRange(place, padded).slice(0, bytes)
      );
      staging.unmap();
      returnStaging(staging);
      check();
      return results;
    },

    async profile(dispatches) {
      if (!canProfile) {
        throw new RunError(`Cannot time kernels as the adapter must offer timestamp-query: it is ${adapter}`);
      }
      if (dispatches.length > TIMED_AT_ONCE) {
        return [
          ...await gpu.profile(dispatches.slice(0, TIMED_AT_ONCE)),
          ...await gpu.profile(dispatches.slice(TIMED_AT_ONCE)),
        ];
      }
      const count = dispatches.length * 2;
      const querySet = device.createQuerySet({ type: "timestamp", count });
      const resolved = device.createBuffer({
        label: "timestamps",
        size: count * 8,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      });
      const encoder = device.createCommandEncoder();
      dispatches.forEach((dispatch, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encode(pass, dispatch);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const [bytes] = await gpu.read([{ buffer: { label: "timestamps", bytes: count * 8, raw: resolved } }]);
      const times = new BigUint64Array(bytes);
      querySet.destroy();
      resolved.destroy();
      return dispatches.map(({ label }, i) => ({
        label,
        nanoseconds: Math.max(0, Number(times[2 * i + 1] - times[2 * i])),
      }));
    },

    close() {
      spare?.destroy();
      for (const buffer of uniforms.values()) buffer.destroy();
      device.destroy();
    },
  };
  return gpu;
}
