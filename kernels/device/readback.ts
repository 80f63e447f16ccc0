/** How results come back from a device. */

import type { GpuBuffer } from "./buffers.ts";
import type { Failures } from "./failures.ts";

/** A part of a buffer to read: all of it from `byteOffset` (0 unless given), or `bytes` of it. */
export interface BufferRange {
  /** The buffer. */
  buffer: GpuBuffer;
  /** Where the part starts, a multiple of 4. */
  byteOffset?: number;
  /** Its size. */
  bytes?: number;
}

/** Reads the buffers of one device. */
export type Readback = ReturnType<typeof createReadback>;

/**
 * The largest staging buffer that is kept for the next read, in bytes. A model's weights leave none
 * behind.
 */
const KEPT = 16 << 20;

/** Fills in the defaults of a range and checks it. Copies take `padded` bytes, a multiple of 4. */
function resolveRange(
  { buffer, byteOffset = 0, bytes = buffer.bytes - byteOffset }: BufferRange,
): Required<BufferRange> & { padded: number } {
  const padded = Math.ceil(bytes / 4) * 4;
  if (
    !(byteOffset >= 0 && byteOffset % 4 === 0 && bytes >= 0 && byteOffset + padded <= buffer.bytes)
  ) {
    throw new RangeError(
      `Cannot read "${buffer.label}" as the range must lie inside it: ${bytes} bytes ` +
        `at ${byteOffset}, its size is ${buffer.bytes}`,
    );
  }
  return { buffer, byteOffset, bytes, padded };
}

/**
 * A staging buffer that a read needs, and where each range lies in it. Places are multiples of 8,
 * because mapped ranges begin there.
 */
interface StagingLayout {
  size: number;
  places: { range: number; place: number }[];
}

/**
 * Lays ranges of these sizes out in staging buffers of at most `limit` bytes, or of one range that
 * is larger.
 */
function layOut(sizes: readonly number[], limit: number): StagingLayout[] {
  let last: StagingLayout = { size: 0, places: [] };
  const all = [last];
  sizes.forEach((size, range) => {
    if (size === 0) return;
    if (last.size > 0 && last.size + size > limit) all.push(last = { size: 0, places: [] });
    last.places.push({ range, place: last.size });
    last.size += Math.ceil(size / 8) * 8;
  });
  return all;
}

/** Makes a reader. It keeps its staging buffer from read to read, unless that is a large one. */
export function createReadback(device: GPUDevice, failures: Failures, largest: number) {
  const limit = Math.floor(largest / 16) * 8; // half: the driver stages them in memory of its own
  // The staging buffer, unless a read is using it: reads that overlap take one each.
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
    if (staging.size > KEPT) return staging.destroy();
    spare?.destroy();
    spare = staging;
  };

  return {
    /**
     * Reads buffers back in one synchronisation; throws the first failure of the device, also at
     * every later read.
     */
    async read(sources: readonly BufferRange[]): Promise<ArrayBuffer[]> {
      failures.check();
      const ranges = sources.map(resolveRange);
      // One submit copies everything, so that all results are of the same moment.
      const encoder = device.createCommandEncoder();
      const copies = layOut(ranges.map(({ padded }) => padded), limit).map(({ size, places }) => {
        const mapped = Math.max(16, size);
        const staging = takeStaging(mapped);
        for (const { range, place } of places) {
          const { buffer, byteOffset, padded } = ranges[range];
          encoder.copyBufferToBuffer(buffer.raw, byteOffset, staging, place, padded);
        }
        return { staging, mapped, places };
      });
      device.queue.submit([encoder.finish()]);
      try {
        await Promise.all(
          copies.map(({ staging, mapped }) => staging.mapAsync(GPUMapMode.READ, 0, mapped)),
        );
      } catch (error) {
        for (const { staging } of copies) staging.destroy();
        throw await failures.failed(error);
      }
      const results = ranges.map(() => new ArrayBuffer());
      for (const { staging, places } of copies) {
        for (const { range, place } of places) {
          const { bytes, padded } = ranges[range];
          results[range] = staging.getMappedRange(place, padded).slice(0, bytes);
        }
        staging.unmap();
        returnStaging(staging);
      }
      failures.check();
      return results;
    },

    /** Frees what it keeps. */
    close(): void {
      spare?.destroy();
    },
  };
}
