/**
 * How the kernels that work row by row are laid out: an invocation per row, or a workgroup per row.
 */

import type { DispatchPlan, Gpu } from "./gpu.ts";
import { padded } from "./matrix.ts";
import { remembered } from "./subgroup.ts";
import { compose } from "./wgsl.ts";
import sumCode from "./sum_lanes.wgsl" with { type: "text" };
import sumSubgroupCode from "./sum_lanes_subgroup.wgsl" with { type: "text" };

const INVOCATION_WORKGROUP = 16;
/** Lanes of a workgroup: at least one subgroup of a GPU, and no more than every adapter allows. */
const [FEWEST_LANES, MOST_LANES] = [32, 256];

/**
 * What a text includes as `rows`: which row an invocation of a workgroup of WG works on, and the
 * sum over all that work on the row. Also the first of the row's values that it takes, how far the
 * next one is, and whether it writes what the row has once.
 */
const ROW_PER_INVOCATION = `
fn row_of(group: u32, lane: u32) -> u32 { return group * WG + lane; }
fn first_of(lane: u32) -> u32 { return 0u; }
fn apart() -> u32 { return 1u; }
fn leads(lane: u32) -> bool { return true; }
fn sum_lanes(lane: u32, own: f32) -> f32 { return own; }
`;
const ROW_PER_WORKGROUP = `
fn row_of(group: u32, lane: u32) -> u32 { return group; }
fn first_of(lane: u32) -> u32 { return lane; }
fn apart() -> u32 { return WG; }
fn leads(lane: u32) -> bool { return lane == 0u; }
// include sum_lanes
`;

/**
 * Returns the fragment that sums a value over the lanes of a workgroup, by the name under which
 * texts include it. Subgroups of a known size, up to the fewest lanes, spare some of its barriers;
 * the bits are the same.
 */
export const sumLanes = (subgroupSize?: number): { sum_lanes: string } => ({
  sum_lanes: subgroupSize === undefined || subgroupSize > FEWEST_LANES
    ? sumCode
    : compose(sumSubgroupCode, {}, { SUBGROUP: subgroupSize }),
});

/**
 * Composes both texts of a kernel whose `code` includes `rows`: the first with an invocation per
 * row, the second with a workgroup per row.
 */
export function rowVariants(
  code: string,
  fragments: Record<string, string> = {},
): (gpu: Pick<Gpu, "subgroupSize">) => readonly [string, string] {
  const perInvocation = compose(code, { ...fragments, rows: ROW_PER_INVOCATION });
  const perWorkgroup = remembered((lanes?: number) =>
    compose(code, { ...fragments, rows: compose(ROW_PER_WORKGROUP, sumLanes(lanes)) })
  );
  return ({ subgroupSize }) => [perInvocation, perWorkgroup(subgroupSize)];
}

/**
 * Returns the text, the constants and the workgroups of the variant that runs, for `rows` rows of
 * `columns` f32 values.
 */
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
