import { assertEquals } from "@std/assert";
import { createPlanner } from "../../../kernels/device/dispatch.ts";
import type { Storage } from "../../../kernels/device/storage.ts";
import { gpu } from "../support.ts";
import { double } from "./support.ts";

Deno.test("Gpu.dispatch() numbers workgroups beyond one axis, and models along z", async () => {
  for (const [size, models] of [[1, 3], [65_535, 1], [65_536, 2], [200_001, 1]]) {
    const { arena, y, plan } = double(gpu, size, { models });
    gpu.submit([gpu.dispatch(plan)]);
    const values = new Float32Array((await gpu.read([{ buffer: y, bytes: size * models * 4 }]))[0]);
    const wrong = values.findIndex((value, i) => value !== 2 * ((i % size) % 1000));
    assertEquals(wrong, -1, `value ${wrong} of ${size} × ${models}`);
    arena.destroy();
  }
});

const COPY = `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
fn load_x(i: u32) -> vec4f { return x[i]; }
@compute @workgroup_size(1)
fn main() { y[0] = load_x(params.x); }`;

/**
 * A planner that tells what it compiles, which parameters it writes, and how many of them it frees.
 */
function reportedPlanner({ directive = false } = {}) {
  const reported = {
    compiled: [] as string[],
    codes: [] as string[],
    written: [] as number[][],
    freed: 0,
  };
  const device = {
    createShaderModule: ({ code }: GPUShaderModuleDescriptor) => {
      reported.codes.push(code);
      return { code };
    },
    createComputePipeline: ({ label, compute }: GPUComputePipelineDescriptor) => {
      reported.compiled.push(`${label} ${JSON.stringify(compute.constants)}`);
      return { getBindGroupLayout: () => ({}) };
    },
    createBuffer: () => ({ destroy: () => reported.freed++ }),
    createBindGroup: () => ({}),
    queue: {
      writeBuffer: (_: unknown, __: number, data: Uint32Array) => reported.written.push([...data]),
    },
  };
  const buffer = (storage: Storage) => ({ label: "x", bytes: 16, storage, raw: {} as GPUBuffer });
  const copy = {
    label: "copy",
    code: COPY,
    buffers: [buffer("f32"), buffer("f32")],
    workgroups: 1,
  };
  const planner = createPlanner(device as unknown as GPUDevice, { directive });
  return { planner, reported, buffer, copy };
}

Deno.test("createPlanner() enables subgroups in texts that use them, where the device demands it", () => {
  const subgroups = COPY.replace("load_x(params.x)", "subgroupBroadcast(load_x(params.x), 0u)");
  for (const directive of [false, true]) {
    const { planner, reported, copy } = reportedPlanner({ directive });
    for (const code of [COPY, subgroups]) planner.dispatch({ ...copy, code, params: [1] });
    const [plain, own] = reported.codes;
    assertEquals(plain, COPY);
    assertEquals(own, directive ? `enable subgroups;\n${subgroups}` : subgroups);
  }
});

Deno.test("createPlanner() compiles a text once, whatever is bound, and again for other constants or storage", () => {
  const { planner, reported, buffer, copy } = reportedPlanner();
  const { buffers } = copy;
  planner.dispatch({ ...copy, params: [1, 2] });
  planner.dispatch({ ...copy, params: [1, 2], buffers: [...buffers].reverse(), workgroups: 7 });
  planner.dispatch({ ...copy, params: [3] });
  assertEquals(reported.compiled, ["copy {}"]);
  assertEquals(reported.written, [[1, 2], [3]], "equal parameters share a buffer");
  planner.dispatch({ ...copy, constants: { WG: 2 }, params: [3] });
  planner.dispatch({ ...copy, params: [3], buffers: [buffer("bf16"), buffers[1]] });
  assertEquals(reported.compiled, ["copy {}", 'copy {"WG":2}', "copy {}"]);
  planner.close();
  assertEquals(reported.freed, 2, "both buffers of parameters are freed");
});

Deno.test("createPlanner() keeps the last parameters alone, however many calls are planned", () => {
  const { planner, reported, copy } = reportedPlanner();
  for (let i = 0; i < 1100; i++) planner.dispatch({ ...copy, params: [i] });
  assertEquals(reported.written.splice(0).length, 1100);
  for (const i of [1099, 76]) planner.dispatch({ ...copy, params: [i] });
  assertEquals(reported.written, []);
  planner.dispatch({ ...copy, params: [75] });
  assertEquals(reported.written, [[75]]);
  planner.close();
  assertEquals(reported.freed, 1024, "the others are freed with the calls that bind them");
});
