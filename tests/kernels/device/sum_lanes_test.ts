import { assertEquals } from "@std/assert";
import { sumLanes } from "../../../kernels/device/sum_lanes.ts";
import { compose } from "../../../kernels/device/wgsl.ts";
import { assertSameBits, bank, gpu, run } from "../support.ts";

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

const SIZES = gpu.subgroupSize === undefined ? [undefined] : [undefined, gpu.subgroupSize];

Deno.test("sum_lanes gives every lane the sum over all, also when it is used again", async () => {
  for (
    const [lanes, size] of [1, 2, 64, 256].flatMap((lanes) => SIZES.map((size) => [lanes, size] as const))
  ) {
    if (size !== undefined && lanes < size) continue;
    const out = bank("out", { rows: 1, columns: lanes, stride: lanes });
    const [actual] = await run(
      [
        gpu.dispatch({
          label: "sum_lanes",
          code: compose(CODE, sumLanes(size)),
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

Deno.test("sum_lanes gives the same bits with subgroups as without", {
  ignore: gpu.subgroupSize === undefined,
}, async () => {
  const code = CODE.replace("f32(lane * params.factor)", "sin(f32(lane * params.factor)) * 1e3")
    .replace("once + sum_lanes(lane, 1.0)", "once");
  for (const lanes of [gpu.subgroupSize!, 32, 64, 256]) {
    const results = [];
    for (const size of SIZES) {
      const out = bank("out", { rows: 1, columns: lanes, stride: lanes });
      results.push(
        await run([
          gpu.dispatch({
            ...{ label: "sum_lanes", code: compose(code, sumLanes(size)), constants: { WG: lanes } },
            ...{ params: [3], buffers: [out.buffer], workgroups: 1 },
          }),
        ], [out]),
      );
    }
    assertSameBits(results[1][0], results[0][0], `${lanes} lanes`);
  }
});
