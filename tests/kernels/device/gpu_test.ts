import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import fc from "fast-check";
import { floatBits, foldGrid, type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import { gpu } from "../support.ts";

const ONE_LINE = /^[^\n\r]+$/;

fc.configureGlobal({ seed: 1 });

/** Doubles every value: enough of a kernel to test what runs kernels. */
const DOUBLE = `
struct Params { size: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = group.y * grid.x + group.x;
  if (i >= params.size) { return; }
  y[group.z * params.size + i] = params.factor * x[i];
}`;

function double(on: Gpu, size: number, { factor = 2, models = 1, label = "double" } = {}) {
  const arena = on.arena();
  const x = arena.buffer("x", Float32Array.from({ length: size }, (_, i) => i % 1000));
  const y = arena.buffer("y", size * models * 4);
  const plan = {
    label,
    code: DOUBLE,
    params: [size, floatBits(factor)],
    buffers: [x, y],
    workgroups: size,
    models,
  };
  return { arena, x, y, plan };
}

Deno.test("foldGrid() covers every count with the fewest rows, wasting less than a row's length", () => {
  const axis = 65_535;
  const holds = (count: number) => {
    const [x, y] = foldGrid(count);
    assert(x >= 1 && y >= 1 && x <= axis && y <= axis, `${x} × ${y}`);
    assert(x * y >= count && x * y - count < y, `${x} × ${y} for ${count}`);
    assertEquals(y, Math.max(1, Math.ceil(count / axis)), "rows");
  };
  [1, axis - 1, axis, axis + 1, 2 * axis, 2 * axis + 1, axis * axis - 1, axis * axis].forEach(holds);
  fc.assert(fc.property(fc.integer({ min: 1, max: axis * axis }), holds));
});

Deno.test("floatBits() gives an f32's bits", () => {
  assertEquals([0, 1, -2, 1e-5].map(floatBits), [0, 0x3f800000, 0xc0000000, 0x3727c5ac]);
});

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

Deno.test("Gpu.dispatch() refuses a number of workgroups or models that no grid has", () => {
  const { arena, plan } = double(gpu, 4);
  for (const workgroups of [0, -1, NaN, 65_535 ** 2 + 1]) {
    assertThrows(() => gpu.dispatch({ ...plan, workgroups }), RangeError, `workgroups is ${workgroups}`);
  }
  for (const models of [0, 65_536]) {
    assertThrows(() => gpu.dispatch({ ...plan, models }), RangeError, `models is ${models}`);
  }
  const error = assertThrows(
    () => gpu.dispatch({ ...plan, workgroups: 0 }),
    RangeError,
    "Cannot plan double as",
  );
  assertMatch(error.message, ONE_LINE);
  arena.destroy();
});

Deno.test("Gpu.dispatch() keeps apart plans that differ in parameters alone", async () => {
  const { arena, x, y, plan } = double(gpu, 4);
  const z = arena.buffer("z", 16);
  const plans = [plan, { ...plan, params: [4, floatBits(3)], buffers: [x, z] }].map((plan) =>
    gpu.dispatch(plan)
  );
  gpu.submit(plans);
  const [a, b] = (await gpu.read([{ buffer: y }, { buffer: z }])).map((
    bytes,
  ) => [...new Float32Array(bytes)]);
  assertEquals([a, b], [[0, 2, 4, 6], [0, 3, 6, 9]]);
  arena.destroy();
});

Deno.test("Gpu.arena() rounds sizes up to 16 bytes, zeroes, counts and frees", async () => {
  const arena = gpu.arena();
  const buffers = [0, 1, 16, 17].map((size) => arena.buffer(`of ${size}`, size));
  assertEquals(buffers.map(({ bytes }) => bytes), [16, 16, 16, 32]);
  assertEquals(arena.bytes, 80);
  assertEquals([...new Uint8Array((await gpu.read([{ buffer: buffers[3] }]))[0])], new Array(32).fill(0));
  const filled = arena.buffer("filled", Uint32Array.of(1, 2, 3));
  assertEquals([...new Uint32Array((await gpu.read([{ buffer: filled }]))[0])], [1, 2, 3, 0]);
  arena.destroy();
  assertEquals(arena.bytes, 0);
});

Deno.test("Gpu.arena() refuses a tensor beyond the binding limit, by name and with both numbers", () => {
  const arena = gpu.arena();
  const limit = gpu.maxBindingBytes;
  const mib = 1024 * 1024;
  const error = assertThrows(() => arena.buffer("embedding", limit + 1), InputError);
  assertEquals(
    error.message,
    `Cannot place tensor "embedding" as one tensor must fit the adapter's binding limit: it needs ` +
      `${Math.ceil((limit + 16) / mib)} MiB, the limit is ${Math.floor(limit / mib)} MiB`,
  );
  assertEquals(arena.bytes, 0);
});

Deno.test("Gpu.write() puts data at its offset, and refuses what does not lie inside the buffer", async () => {
  const arena = gpu.arena();
  const buffer = arena.buffer("target", Uint32Array.of(1, 2, 3, 4));
  gpu.write(buffer, Uint32Array.of(9, 8), 4);
  gpu.write(buffer, Uint32Array.of(6, 7, 8).subarray(1, 2), 12); // a view: its own bytes alone
  gpu.write(buffer, new Uint32Array(0));
  assertEquals([...new Uint32Array((await gpu.read([{ buffer }]))[0])], [1, 9, 8, 7]);
  for (const [size, offset] of [[5, 0], [1, 16], [2, 12], [1, -4], [1, 2], [1, NaN]]) {
    const error = assertThrows(() => gpu.write(buffer, new Uint32Array(size), offset), RangeError);
    assertMatch(error.message, ONE_LINE);
    assertMatch(error.message, /^Cannot write into "target" as .*: \d+ bytes at .*, its size is 16$/);
  }
  arena.destroy();
});

Deno.test("Gpu.read() returns any ranges of any buffers, in order", async () => {
  const arena = gpu.arena();
  const values = Uint8Array.from({ length: 64 }, (_, i) => i);
  const buffer = arena.buffer("source", new Uint32Array(values.buffer));
  const range = fc.tuple(fc.nat(15), fc.nat(64)).map(([word, bytes]) => {
    return { byteOffset: 4 * word, bytes: Math.min(bytes, 64 - 4 * word) };
  });
  await fc.assert(
    fc.asyncProperty(fc.array(range, { maxLength: 6 }), async (ranges) => {
      const results = await gpu.read(ranges.map((range) => ({ buffer, ...range })));
      assertEquals(
        results.map((bytes) => [...new Uint8Array(bytes)]),
        ranges.map(({ byteOffset, bytes }) => [...values.subarray(byteOffset, byteOffset + bytes)]),
      );
    }),
    { numRuns: 30 }, // every read waits for the device
  );
  arena.destroy();
});

Deno.test("Gpu.read() refuses ranges that do not lie inside the buffer", async () => {
  const arena = gpu.arena();
  const buffer = arena.buffer("source", 16);
  for (
    const range of [{ bytes: 17 }, { byteOffset: 4, bytes: 16 }, { byteOffset: -4 }, { byteOffset: 20 }, {
      bytes: -4,
    }, { byteOffset: 2, bytes: 4 }]
  ) {
    const error = await assertRejects(
      () => gpu.read([{ buffer, ...range }]),
      RangeError,
      'Cannot read "source" as',
    );
    assertMatch(error.message, ONE_LINE);
    assertMatch(error.message, /its size is 16$/);
  }
  await gpu.read([{ buffer }]);
  arena.destroy();
});

Deno.test("Gpu.read() may overlap with another: each gives what was there when it was called", async () => {
  const arena = gpu.arena();
  const buffer = arena.buffer("source", Uint32Array.of(1, 0, 0, 0));
  const reads = [1, 2, 3].map((value) => {
    gpu.write(buffer, Uint32Array.of(value));
    return gpu.read([{ buffer, bytes: 4 }]);
  });
  const results = await Promise.all(reads);
  assertEquals(results.map(([bytes]) => new Uint32Array(bytes)[0]), [1, 2, 3]);
  arena.destroy();
});

Deno.test("Gpu.submit() runs dispatches in order, and takes none", async () => {
  const { arena, y, plan } = double(gpu, 4);
  const z = arena.buffer("z", 16);
  gpu.submit([]);
  gpu.submit([gpu.dispatch(plan), gpu.dispatch({ ...plan, label: "again", buffers: [y, z] })]);
  assertEquals([...new Float32Array((await gpu.read([{ buffer: z }]))[0])], [0, 4, 8, 12]);
  arena.destroy();
});

for (
  const [what, change] of [
    ["a shader that does not compile", { code: "this is no shader" }],
    ["one buffer bound for reading and for writing", {}],
    ["a missing buffer", {}],
  ] as const
) {
  Deno.test(`Gpu.read() reports ${what}, with the kernel's label, in one line`, async () => {
    const own = await openGpu(); // its failure stays
    const { x, y, plan } = double(own, 4, { label: "broken_kernel" });
    const buffers = what.startsWith("one") ? [y, y] : what.startsWith("a missing") ? [x] : [x, y];
    const failure = async () => {
      own.submit([own.dispatch({ ...plan, ...change, buffers })]);
      await own.read([{ buffer: x }]);
    };
    const error = await assertRejects(failure, Error, "broken_kernel");
    assertMatch(error.message, /^Cannot /);
    assertMatch(error.message, ONE_LINE);
    await assertRejects(() => own.read([{ buffer: x }]), Error, "broken_kernel"); // and goes on saying so
    own.close();
  });
}

Deno.test("Gpu.read() reports the use of freed buffers", async () => {
  const own = await openGpu();
  const { arena, x, plan } = double(own, 4);
  const dispatch = own.dispatch(plan);
  arena.destroy();
  own.submit([dispatch]);
  const error = await assertRejects(
    () => own.read([{ buffer: x }]),
    RunError,
    'Cannot go on as the GPU refused its work, at or before kernel "double"',
  );
  assertMatch(error.message, ONE_LINE);
  own.close();
});

Deno.test("Gpu.profile() times every dispatch and leaves the same results, however many there are", {
  ignore: !gpu.canProfile,
}, async () => {
  const { arena, y, plan } = double(gpu, 4);
  const z = arena.buffer("z", 16);
  const many = Array.from({ length: 2500 }, (_, i) =>
    // more than one query set holds
    gpu.dispatch(i % 2 ? { ...plan, label: "again", buffers: [y, z] } : plan));
  const times = await gpu.profile(many);
  assertEquals(times.map(({ label }) => label), many.map(({ label }) => label));
  assert(times.every(({ nanoseconds }) => nanoseconds >= 0));
  assertEquals([...new Float32Array((await gpu.read([{ buffer: z }]))[0])], [0, 4, 8, 12]);
  arena.destroy();
});

Deno.test("openGpu() says which adapter it opened and what kind it is", () => {
  assert(gpu.adapter.length > 0);
  assertEquals(gpu.kind, /llvmpipe/.test(gpu.adapter) ? "software" : gpu.kind);
  assert(gpu.maxBindingBytes >= 128 * 1024 * 1024, "WebGPU's own minimum");
});

Deno.test("openGpu() takes a part of the adapter's name or a preference, and refuses another name", async () => {
  for (const adapter of [gpu.adapter.slice(0, 4).toUpperCase(), "high-performance", "low-power"]) {
    const own = await openGpu({ adapter });
    assertEquals(own.adapter, gpu.adapter);
    own.close();
  }
  const error = await assertRejects(() => openGpu({ adapter: "no such card" }), InputError);
  assertEquals(
    error.message,
    `Cannot open the GPU as its name must hold "no such card": the adapter obtained is "${gpu.adapter}"; leave adapter ` +
      "out to use that one, or let the process see the other one alone, as tasks/SERVERS.md shows",
  );
});

Deno.test("openGpu() names the package to install where there is no driver", async () => {
  const module = new URL("../../../kernels/device/gpu.ts", import.meta.url).href;
  const code = `const { openGpu } = await import("${module}");
    await openGpu().then(() => console.log("opened"), (error) => console.log(error.message));`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", code],
    env: { DENO_WEBGPU_BACKEND: "vulkan", VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" },
    stderr: "null",
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /^Cannot open a GPU as .*mesa-vulkan-drivers/);
});

Deno.test("Gpu.allocatable() finds that memory can be had, at most as much as was asked for, and gives it back", async () => {
  const own = await openGpu();
  const most = 200 * 2 ** 20;
  for (let i = 0; i < 3; i++) assertEquals(await own.allocatable(most), most);
  assertEquals(await own.allocatable(0), 0);
  await own.read([{ buffer: own.empty }]); // nothing of it counts as a failure
  own.close();
});

Deno.test("openGpu() refuses an adapter that runs on the processor where a GPU is required", async () => {
  if (gpu.kind === "gpu") return (await openGpu({ requireGpu: true })).close();
  const error = await assertRejects(() => openGpu({ requireGpu: true }), InputError);
  assertMatch(
    error.message,
    /^Cannot open a GPU as one is required: the adapter obtained is ".*", which runs on the processor/,
  );
});
