import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { bindingLimit, createArena, createBuffer } from "../../../kernels/device/buffers.ts";
import { gpu } from "../support.ts";
import { ONE_LINE } from "./support.ts";

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

Deno.test("createArena() frees its own buffers alone, once each, and may be used again", () => {
  const freed: string[] = [];
  const device = fakeDevice((label) => freed.push(label));
  const [kept, ended] = [createArena(device), createArena(device)];
  kept.buffer("kept", 16);
  ended.buffer("first", 16);
  ended.buffer("second", 20);
  ended.destroy();
  assertEquals([freed, ended.bytes, kept.bytes], [["first", "second"], 0, 16]);
  ended.buffer("third", 4);
  ended.destroy();
  assertEquals(freed, ["first", "second", "third"]);
});

Deno.test("bindingLimit() is the lower of the two limits that a tensor must keep", () => {
  const limits = (binding: number, buffer: number) =>
    ({ limits: { maxStorageBufferBindingSize: binding, maxBufferSize: buffer } }) as GPUDevice;
  assertEquals([bindingLimit(limits(64, 256)), bindingLimit(limits(256, 64))], [64, 64]);
});

Deno.test("createBuffer() takes a tensor of exactly the limit, and says how its values are stored", () => {
  const device = fakeDevice(() => {});
  const { bytes, storage } = createBuffer(device, "whole", 1024, "bf16");
  assertEquals([bytes, storage], [1024, "bf16"]);
  assertEquals(createBuffer(device, "plain", 4).storage, "f32");
  assertThrows(() => createBuffer(device, "more", 1025), InputError, 'tensor "more"');
});

/** A device of 1,024 bytes per buffer that tells which buffers are freed. */
function fakeDevice(onDestroy: (label: string) => void): GPUDevice {
  const device: Pick<GPUDevice, "createBuffer" | "limits"> = {
    limits: { maxStorageBufferBindingSize: 1024, maxBufferSize: 4096 } as GPUSupportedLimits,
    createBuffer: ({ label }) => ({ destroy: () => onDestroy(label!) }) as GPUBuffer,
  };
  return device as GPUDevice;
}
