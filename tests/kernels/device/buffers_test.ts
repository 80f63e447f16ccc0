import { assert, assertEquals, assertThrows } from "@std/assert";
import { plannedLimit } from "../../../kernels/device/buffers.ts";
import { InputError } from "../../../kernels/errors.ts";
import { gpu } from "../support.ts";

Deno.test("Gpu.arena() rounds sizes up to 16 bytes, zeroes, counts and frees", async () => {
  const arena = gpu.arena();
  const buffers = [0, 1, 16, 17].map((size) => arena.buffer(`of ${size}`, size));
  assertEquals(buffers.map(({ bytes }) => bytes), [16, 16, 16, 32]);
  assertEquals(arena.bytes, 80);
  assertEquals(
    [...new Uint8Array((await gpu.read([{ buffer: buffers[3] }]))[0])],
    new Array(32).fill(0),
  );
  const filled = arena.buffer("filled", Uint32Array.of(1, 2, 3));
  assertEquals([...new Uint32Array((await gpu.read([{ buffer: filled }]))[0])], [1, 2, 3, 0]);
  arena.destroy();
  assertEquals(arena.bytes, 0);
});

Deno.test("Gpu.arena() refuses a tensor beyond the binding limit, by name and with both numbers", () => {
  const arena = gpu.arena();
  const limit = gpu.maxBindingBytes;
  const facts = [limit + 16, limit].map((bytes) => bytes / 2 ** 20);
  const message = `it needs ${Math.ceil(facts[0])} MiB, the limit is ${Math.floor(facts[1])} MiB`;
  assertThrows(
    () => arena.buffer("embedding", limit + 1),
    InputError,
    `tensor "embedding" as one tensor must fit the adapter's binding limit: ${message}`,
  );
  assertEquals(arena.bytes, 0);
});

/** A device that refuses single buffers of more than so many bytes. */
function refusing(most: number, limit: number): GPUDevice {
  let isRefused = false;
  return {
    limits: { maxBufferSize: limit, maxStorageBufferBindingSize: limit },
    pushErrorScope() {},
    popErrorScope: () => Promise.resolve(isRefused ? { message: "out of memory" } : null),
    createBuffer({ size }: GPUBufferDescriptor) {
      isRefused = size > most;
      return { destroy() {} };
    },
  } as unknown as GPUDevice;
}

Deno.test("plannedLimit() is a binding's, or nine tenths of the largest buffer where the device refuses that", async () => {
  const MIB = 2 ** 20;
  const limit = 2048 * MIB;
  for (const most of [100, 230, 1000]) {
    const planned = await plannedLimit(refusing(most * MIB, limit)) / MIB;
    assert(planned <= 0.9 * most && planned > 0.9 * (most - 9), `${planned} of ${most} MiB`);
  }
  assertEquals(await plannedLimit(refusing(limit, limit)), limit);
  assertEquals(await plannedLimit(refusing(0, limit)), limit); // memory has run out
});

Deno.test("Gpu.write() puts data at its offset, and refuses what does not lie inside the buffer", async () => {
  const arena = gpu.arena();
  const buffer = arena.buffer("target", Uint32Array.of(1, 2, 3, 4));
  gpu.write(buffer, Uint32Array.of(9, 8), 4);
  gpu.write(buffer, Uint32Array.of(6, 7, 8).subarray(1, 2), 12); // a view: its own bytes alone
  gpu.write(buffer, new Uint32Array(0));
  assertEquals([...new Uint32Array((await gpu.read([{ buffer }]))[0])], [1, 9, 8, 7]);
  for (const [size, offset] of [[5, 0], [1, 16], [2, 12], [1, -4], [1, 2], [1, NaN]]) {
    const writing = () => gpu.write(buffer, new Uint32Array(size), offset);
    assertThrows(writing, RangeError, 'Cannot write into "target" as the data must lie inside it');
  }
  arena.destroy();
});
