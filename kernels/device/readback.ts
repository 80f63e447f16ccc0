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
export type Reader = ReturnType<typeof createReader>;

/** The largest staging buffer that is kept for the next read, in bytes. A model's weights leave none behind. */
const KEPT = 16 << 20;

/** A piece of what is read, as it lies in a staging buffer. */
interface Piece {
  /** Index of the range that it belongs to. */
  range: number;
  /** Where it starts in that range, in bytes. */
  at: number;
  /** Its size, a multiple of 4. */
  bytes: number;
  /** Where it lies in the staging buffer, a multiple of 8, as mapped ranges must. */
  place: number;
}

/** A staging buffer that a read needs. */
interface Laid {
  size: number;
  pieces: Piece[];
}

/** Lays ranges of these sizes out in staging buffers of at most `limit` bytes each. */
function layOut(sizes: readonly number[], limit: number): Laid[] {
  let last: Laid = { size: 0, pieces: [] };
  const all = [last];
  sizes.forEach((size, range) => {
    for (let at = 0; at < size;) {
      if (last.size === limit) all.push(last = { size: 0, pieces: [] });
      const bytes = Math.min(size - at, limit - last.size);
      last.pieces.push({ range, at, bytes, place: last.size });
      last.size += Math.ceil(bytes / 8) * 8;
      at += bytes;
    }
  });
  return all;
}

/** Makes a reader. It keeps its staging buffer from read to read, unless that is a large one. */
export function createReader(device: GPUDevice, failures: Failures) {
  const limit = Math.floor(device.limits.maxBufferSize / 8) * 8;
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
    /** Reads buffers back in one synchronisation; throws the first failure of the device, also at every later read. */
    async read(sources: readonly BufferRange[]): Promise<ArrayBuffer[]> {
      failures.check();
      const ranges = sources.map(({ buffer, byteOffset = 0, bytes = buffer.bytes - byteOffset }) => {
        const padded = Math.ceil(bytes / 4) * 4;
        if (!(byteOffset >= 0 && byteOffset % 4 === 0 && bytes >= 0 && byteOffset + padded <= buffer.bytes)) {
          throw new RangeError(
            `Cannot read "${buffer.label}" as the range must lie inside it: ${bytes} bytes at ${byteOffset}, ` +
              `its size is ${buffer.bytes}`,
          );
        }
        return { buffer, byteOffset, bytes, padded };
      });
      // All is copied in one submit, so that it is of one moment, also what takes several staging buffers.
      const encoder = device.createCommandEncoder();
      const copies = layOut(ranges.map(({ padded }) => padded), limit).map(({ size, pieces }) => {
        const mapped = Math.max(16, size);
        const staging = takeStaging(mapped);
        for (const { range, at, bytes, place } of pieces) {
          const { buffer, byteOffset } = ranges[range];
          encoder.copyBufferToBuffer(buffer.raw, byteOffset + at, staging, place, bytes);
        }
        return { staging, mapped, pieces };
      });
      device.queue.submit([encoder.finish()]);
      try {
        await Promise.all(copies.map(({ staging, mapped }) => staging.mapAsync(GPUMapMode.READ, 0, mapped)));
      } catch (error) {
        for (const { staging } of copies) staging.destroy();
        throw await failures.failed(error);
      }
      const results = ranges.map(({ bytes }) => new Uint8Array(bytes));
      for (const { staging, pieces } of copies) {
        for (const { range, at, bytes, place } of pieces) {
          const result = results[range];
          const mapped = new Uint8Array(staging.getMappedRange(place, bytes));
          result.set(mapped.subarray(0, result.length - at), at);
        }
        staging.unmap();
        returnStaging(staging);
      }
      failures.check();
      return results.map(({ buffer }) => buffer);
    },

    /** Frees what it keeps. */
    close(): void {
      spare?.destroy();
    },
  };
}
