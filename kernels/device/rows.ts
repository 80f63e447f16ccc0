/** How the kernels that work row by row are laid out: an invocation per row, or a workgroup per row. */

import type { DispatchPlan, Gpu } from "./gpu.ts";
import { padded } from "./matrix.ts";

const INVOCATION_WORKGROUP = 16;
/** Lanes of a workgroup: at least one subgroup of a GPU, and no more than every adapter allows. */
const [FEWEST_LANES, MOST_LANES] = [32, 256];

/** Returns the text, the constants and the workgroups of the form that runs, for `rows` rows of `columns` f32 values. */
export function rowPlan(
  gpu: Gpu,
  { rows, columns }: { rows: number; columns: number },
  perInvocation: string,
  perWorkgroup: string,
): Pick<DispatchPlan, "code" | "constants" | "workgroups"> {
  if (gpu.variants.rows !== "workgroup") {
    const workgroups = Math.ceil(rows / INVOCATION_WORKGROUP);
    return { code: perInvocation, constants: { WG: INVOCATION_WORKGROUP }, workgroups };
  }
  let lanes = FEWEST_LANES;
  while (lanes < Math.min(MOST_LANES, padded(columns) / 4)) lanes *= 2;
  return { code: perWorkgroup, constants: { WG: lanes }, workgroups: rows };
}
