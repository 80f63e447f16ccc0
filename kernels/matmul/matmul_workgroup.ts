/** The form of `C = A · B` for GPUs: its text, and the size of tiles in workgroup memory. Untimed so far: kernels/NOTES.md. */

import { compose } from "../device/wgsl.ts";
import tail from "./matmul_tail.wgsl" with { type: "text" };
import code from "./matmul_workgroup.wgsl" with { type: "text" };

/** Workgroups below which tiles become smaller: about one for every core of a large GPU. */
const FEW_WORKGROUPS = 128;
const TILES = [64, 32];

/** Chooses the tile's edge for C `[models, m, 4 · n4]`, and counts the workgroups per model. It changes no bit of C. */
export function workgroupTiles(
  m: number,
  n4: number,
  models: number,
): { tile: number; workgroups: number } {
  const plans = TILES.map((tile) => ({
    tile,
    workgroups: Math.ceil(m / tile) * Math.ceil((4 * n4) / tile),
  }));
  return plans.find(({ workgroups }) => workgroups * models >= FEW_WORKGROUPS) ?? plans[plans.length - 1];
}

const element = (type: string, value: string) =>
  `alias Element = ${type};\nfn element(x: vec4f) -> Element { return ${value}; }`;

/**
 * WGSL of `A · B` by what its tiles hold; sums are in f32. With f16, values beyond its largest, 65,504, count as that; those
 * below its smallest, 6e-8, as 0: so it is for values of order 1, and not for gradients.
 */
export const matmulWorkgroup = {
  f32: compose(code, { matmul_tail: tail, element: element("vec4f", "x") }),
  f16: "enable f16;\n" + compose(code, {
    matmul_tail: tail,
    element: element("vec4h", "vec4h(clamp(x, vec4f(-65504.0), vec4f(65504.0)))"),
  }),
};
