/**
 * The texts of matrix products with tiles in workgroup memory, and the size of their tiles: for GPUs. Untimed so far;
 * kernels/NOTES.md tells how they were designed.
 */

import code from "./matmul_workgroup.wgsl" with { type: "text" };
import transposedCode from "./matmul_transposed_workgroup.wgsl" with { type: "text" };

/** WGSL of `A · B` and of `Aᵀ · B`. */
export { code as matmulWorkgroupCode, transposedCode as matmulTransposedWorkgroupCode };

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

/**
 * WGSL of `A · B` with tiles in f16 and sums in f32. Values beyond f16's largest, 65,504, count as that; those below its
 * smallest, 6e-8, as 0: so it is for values of order 1, and not for gradients.
 */
export const matmulWorkgroupF16Code: string = "enable f16;\n" +
  code.replace("alias Element = vec4f;", "alias Element = vec4h;")
    .replace("{ return x; }", "{ return vec4h(clamp(x, vec4f(-65504.0), vec4f(65504.0))); }");
