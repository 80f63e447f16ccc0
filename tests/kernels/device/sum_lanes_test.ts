import { assertEquals } from "@std/assert";
import { SUM_LANES } from "../../../kernels/device/sum_lanes.ts";
import { compose } from "../../../kernels/device/wgsl.ts";
import { bank, gpu, run } from "../support.ts";

const CODE = `
override WG: u32 = 64u;
struct Params { factor: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// include sum_lanes
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (group.x + group.y > 0u) { return; }
  let once = sum_lanes(lane, f32(lane * params.factor));
  out[lane] = once + sum_lanes(lane, 1.0);
}`;

Deno.test("sum_lanes gives every lane the sum over all, also when it is used again", async () => {
  for (const lanes of [1, 2, 64, 256]) {
    const out = bank("out", { rows: 1, columns: lanes, stride: lanes });
    const [actual] = await run(
      [
        gpu.dispatch({
          label: "sum_lanes",
          code: compose(CODE, SUM_LANES),
          constants: { WG: lanes },
          params: [3],
          buffers: [out.buffer],
          workgroups: 1,
        }),
      ],
      [out],
      { paddingFree: true, scratch: [] },
    );
    assertEquals([...actual], Array(lanes).fill(3 * lanes * (lanes - 1) / 2 + lanes));
  }
});
