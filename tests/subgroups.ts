/**
 * Trains golden models with the variants for GPUs, which shuffle within subgroups of the adapter's
 * size, and without shuffles. Prints that size, the errors, and whether the bits are the same.
 *
 *   LP_NATIVE_VECTOR_WIDTH=512 deno run -A tests/subgroups.ts
 */

import { type Gpu, openGpu } from "../kernels/device/gpu.ts";
import { goldenErrors } from "../pipeline/doctor/golden.ts";

/** What the script prints. */
export interface Printed {
  size?: number;
  errors: Awaited<ReturnType<typeof goldenErrors>>[];
  sameBits: boolean;
}

if (import.meta.main) {
  const gpu = await openGpu({
    variants: { matmul: "workgroup", attention: "workgroup", rows: "workgroup", loss: "chunks" },
  });
  const plain: Gpu = { ...gpu, subgroupSize: undefined };
  const both = await Promise.all([gpu, plain].map((on) => goldenErrors(on, "odd", "f32")));
  const printed: Printed = {
    size: gpu.subgroupSize,
    errors: [both[0], await goldenErrors(gpu, "tiny", "f32")],
    sameBits: JSON.stringify(both[0]) === JSON.stringify(both[1]),
  };
  gpu.close();
  console.log(JSON.stringify(printed));
}
