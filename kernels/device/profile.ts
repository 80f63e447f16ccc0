/** How long kernels take on a device. */

import { type Dispatch, encode } from "./dispatch.ts";
import type { Readback } from "./readback.ts";

/** Time that one kernel took. */
export interface KernelTime {
  /** Name of the kernel. */
  label: string;
  /** Time on the device, in nanoseconds. */
  nanoseconds: number;
}

const TIMED_AT_ONCE = 2048; // a query set holds 4,096 timestamps, two per dispatch

/** Runs the dispatches and times each one, on a device with `timestamp-query`. */
export async function profile(
  device: GPUDevice,
  reader: Readback,
  dispatches: readonly Dispatch[],
): Promise<KernelTime[]> {
  if (dispatches.length > TIMED_AT_ONCE) {
    return [
      ...await profile(device, reader, dispatches.slice(0, TIMED_AT_ONCE)),
      ...await profile(device, reader, dispatches.slice(TIMED_AT_ONCE)),
    ];
  }
  const count = dispatches.length * 2;
  const querySet = device.createQuerySet({ type: "timestamp", count });
  const resolved = device.createBuffer({
    label: "timestamps",
    size: count * 8,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  try {
    const encoder = device.createCommandEncoder();
    dispatches.forEach((dispatch, i) => {
      const pass = encoder.beginComputePass({
        timestampWrites: {
          querySet,
          beginningOfPassWriteIndex: 2 * i,
          endOfPassWriteIndex: 2 * i + 1,
        },
      });
      encode(pass, dispatch);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    device.queue.submit([encoder.finish()]);
    const [bytes] = await reader.read([{
      buffer: { label: "timestamps", bytes: count * 8, raw: resolved },
    }]);
    const times = new BigUint64Array(bytes);
    return dispatches.map(({ label }, i) => ({
      label,
      nanoseconds: Math.max(0, Number(times[2 * i + 1] - times[2 * i])),
    }));
  } finally {
    querySet.destroy();
    resolved.destroy();
  }
}
