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
export interface Reader {
  /** Reads buffers back in one synchronisation; throws if anything failed on the device since the last read. */
  read(sources: readonly BufferRange[]): Promise<ArrayBuffer[]>;
  /** Frees what it keeps. */
  close(): void;
}

/** Makes a reader. It keeps its staging buffer from read to read. */
export function createReader(device: GPUDevice, failures: Failures): Reader {
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
    spare?.destroy();
    spare = staging;
  };

  return {
    async read(sources) {
      failures.check();
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
        throw await failures.failed(error);
      }
      const results = ranges.map(({ bytes, padded, place }) =>
        padded === 0 ? new ArrayBuffer(0) : staging.getMappedRange(place, padded).slice(0, bytes)
      );
      staging.unmap();
      returnStaging(staging);
      failures.check();
      return results;
    },

    close() {
      spare?.destroy();
    },
  };
}
