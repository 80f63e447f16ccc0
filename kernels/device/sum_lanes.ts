/** The fragment that sums a value over the lanes of a workgroup, for the texts of several ops. */

import code from "./sum_lanes.wgsl" with { type: "text" };
import subgroupCode from "./sum_lanes_subgroup.wgsl" with { type: "text" };
import { compose } from "./wgsl.ts";

/** No workgroup that sums its lanes has fewer; larger subgroups than that are not used. */
const FEWEST_LANES = 32;

/**
 * Returns the fragment by the name under which texts include it. Subgroups of a known size spare some of its
 * barriers; the bits are the same.
 */
export function sumLanes(subgroupSize?: number): { sum_lanes: string } {
  return {
    sum_lanes: subgroupSize === undefined || subgroupSize > FEWEST_LANES
      ? code
      : compose(subgroupCode, {}, { SUBGROUP: subgroupSize }),
  };
}
