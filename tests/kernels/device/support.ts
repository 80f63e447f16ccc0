/** A kernel that is enough to test what runs kernels. */

import type { Arena, Gpu } from "../../../kernels/device/gpu.ts";

/** Doubles every value: enough of a kernel to test what runs kernels. */
const DOUBLE = `
struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = group.y * grid.x + group.x;
  if (i >= params.size) { return; }
  y[group.z * params.size + i] = 2.0 * x[i];
}`;

/**
 * Makes buffers `x` of `size` values and `y`, and the plan of a kernel that writes `2 · x` into
 * `y`, once per model.
 */
export function double(on: Gpu, size: number, { models = 1, label = "double" } = {}) {
  const arena = on.arena();
  const x = arena.buffer("x", Float32Array.from({ length: size }, (_, i) => i % 1000));
  const y = arena.buffer("y", size * models * 4);
  const plan = {
    label,
    code: DOUBLE,
    params: [size],
    buffers: [x, y],
    workgroups: size,
    models,
  };
  return { arena, x, y, plan };
}

/**
 * A device that has no room for the buffers of some labels; arenas are numbered from 0. `held()`
 * counts the bytes of all its buffers that nobody has freed.
 */
export function withoutRoom(on: Gpu, refused: (label: string, arena: number) => boolean) {
  const arenas: Arena[] = [];
  const arena = (): Arena => {
    const [own, number] = [on.arena(), arenas.length];
    arenas.push(own);
    return {
      get bytes() {
        return own.bytes;
      },
      buffer(label, ...rest) {
        if (refused(label, number)) throw new Error(`no room for ${label}`);
        return own.buffer(label, ...rest);
      },
      destroy: own.destroy,
    };
  };
  return {
    device: { ...on, arena },
    held: () => arenas.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}
