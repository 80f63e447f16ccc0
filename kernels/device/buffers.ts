/** Buffers of a device: how they are made, and who frees them. */

import { InputError } from "../errors.ts";
import type { Storage } from "./storage.ts";

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

/** Buffers of one owner, destroyed together. */
export interface Arena {
  /**
   * Makes a zeroed buffer of `size` bytes, or one that holds `data`; `storage` says how its values
   * are stored.
   */
  buffer(label: string, size: number | Uint32Array | Float32Array, storage?: Storage): GpuBuffer;
  /** Bytes allocated so far. */
  readonly bytes: number;
  /**
   * Set where it only counts bytes and makes no buffers: then nobody needs to compute what the
   * buffers would hold.
   */
  readonly counts?: true;
  /** Frees every buffer of the arena. */
  destroy(): void;
}

const MIB = 1024 * 1024;

/** Returns the largest size of one binding, in bytes. */
function bindingLimit({ limits }: GPUDevice): number {
  return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
}

/**
 * Makes a buffer as {@link Arena.buffer} does. Throws an `InputError` where it exceeds
 * {@link bindingLimit}.
 */
export function createBuffer(
  device: GPUDevice,
  label: string,
  size: number | Uint32Array | Float32Array,
  storage: Storage = "f32",
): GpuBuffer {
  const wantedBytes = typeof size === "number" ? size : size.byteLength;
  const bytes = Math.max(16, Math.ceil(wantedBytes / 16) * 16);
  const limit = bindingLimit(device);
  if (bytes > limit) {
    throw new InputError(
      `Cannot place tensor "${label}" as one tensor must fit the adapter's binding ` +
        "limit: it needs " +
        `${Math.ceil(bytes / MIB)} MiB, the limit is ${Math.floor(limit / MIB)} MiB`,
    );
  }
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const raw = device.createBuffer({ label, size: bytes, usage });
  if (typeof size !== "number" && size.length > 0) {
    device.queue.writeBuffer(raw, 0, size as BufferSource);
  }
  return { label, bytes, storage, raw };
}

/** Opens an owner of buffers. */
export function createArena(device: GPUDevice): Arena {
  const owned: GPUBuffer[] = [];
  let bytes = 0;
  return {
    buffer(label, size, storage) {
      const buffer = createBuffer(device, label, size, storage);
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
}

/** Returns what `make` returns. Where it throws, the owner of its buffers is destroyed first. */
export function orDestroy<Made>(arena: Pick<Arena, "destroy">, make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    arena.destroy();
    throw error;
  }
}

/**
 * Copies `data` into `buffer` before the next submit. Throws a `RangeError` where it does not lie
 * inside.
 */
export function writeBuffer(
  device: GPUDevice,
  buffer: GpuBuffer,
  data: Uint32Array | Float32Array,
  byteOffset = 0,
): void {
  // Deno aborts the process, with no error to catch, where data leaves the buffer, and where there
  // is no data.
  if (byteOffset < 0 || byteOffset % 4 !== 0 || byteOffset + data.byteLength > buffer.bytes) {
    throw new RangeError(
      `Cannot write into "${buffer.label}" as the data must lie inside it: ` +
        `${data.byteLength} bytes at ` +
        `${byteOffset}, its size is ${buffer.bytes}`,
    );
  }
  for (let at = 0; at < data.length; at += PIECE) {
    device.queue.writeBuffer(
      buffer.raw,
      byteOffset + 4 * at,
      data.subarray(at, at + PIECE) as BufferSource,
    );
    if (data.length > PIECE) device.queue.submit([]); // frees what was staged
  }
}

/**
 * Values that are written at once: the driver stages them in memory of which a card may have
 * little.
 */
const PIECE = 2 ** 24;

/** The smallest step of {@link allocatable}. */
const FINEST_BYTES = 64 * MIB;

/** Makes a buffer, or gives undefined where the device refuses it. */
async function tryBuffer(device: GPUDevice, size: number): Promise<GPUBuffer | undefined> {
  device.pushErrorScope("validation");
  device.pushErrorScope("out-of-memory");
  const buffer = device.createBuffer({ label: "memory", size, usage: GPUBufferUsage.STORAGE });
  const errors = [await device.popErrorScope(), await device.popErrorScope()];
  return errors.some((error) => error !== null) ? undefined : buffer;
}

/**
 * Finds how many bytes of buffers can be had at once, up to `most`: takes them in ever smaller
 * steps, and frees them.
 */
export async function allocatable(device: GPUDevice, most: number): Promise<number> {
  const taken: GPUBuffer[] = [];
  let bytes = 0;
  let step = Math.min(1024 * MIB, device.limits.maxBufferSize);
  try {
    while (step >= FINEST_BYTES && bytes < most) {
      const size = Math.min(step, Math.ceil((most - bytes) / 16) * 16);
      const buffer = await tryBuffer(device, size);
      if (buffer === undefined) step /= 2;
      else {
        taken.push(buffer);
        bytes += size;
      }
    }
    return bytes;
  } finally {
    for (const buffer of taken) buffer.destroy();
  }
}

/** Share of what a device grants that plans may use: it loses itself at 99% of its budget. */
export const PLANNED_SHARE = 0.9;

/**
 * Gives the largest size of a binding that plans may count on. That is the adapter's limit, unless
 * the device refuses a buffer of this size and grants a smaller one.
 */
export async function plannedLimit(device: GPUDevice): Promise<number> {
  const limit = bindingLimit(device);
  // Browsers grant their limits, and take seconds to clear a buffer of that size.
  if (!navigator.userAgent.startsWith("Deno/")) return limit;
  const granted = await largestBuffer(device, limit);
  // Where hardly anything is granted, memory has run out: the first read says so.
  if (granted === limit || granted < FINEST_BYTES) return limit;
  return Math.floor(PLANNED_SHARE * granted / 16) * 16;
}

/**
 * Finds the largest single buffer that can be had, up to `most` bytes, within 8 MiB. A card that
 * shows the processor a small window of its memory may refuse buffers that exceed the window,
 * whatever it grants in sum (https://github.com/denoland/deno/issues/35195).
 */
export async function largestBuffer(device: GPUDevice, most: number): Promise<number> {
  const isGranted = async (bytes: number) => {
    const buffer = await tryBuffer(device, bytes);
    buffer?.destroy();
    return buffer !== undefined;
  };
  if (await isGranted(most)) return most;
  let [granted, refused] = [0, most];
  while (refused - granted > 8 * MIB) {
    const middle = Math.floor((granted + refused) / 32) * 16;
    if (await isGranted(middle)) granted = middle;
    else refused = middle;
  }
  return granted;
}
