/** The fragment that sums a value over the lanes of a workgroup, for the texts of several ops. */

import code from "./sum_lanes.wgsl" with { type: "text" };

/** The fragment by the name under which texts include it. */
export const SUM_LANES = { sum_lanes: code };
