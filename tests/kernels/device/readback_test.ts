import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { DeviceError, type Failures } from "../../../kernels/device/failures.ts";
import { createReadback } from "../../../kernels/device/readback.ts";
import { RunError } from "../../../kernels/errors.ts";
import { gpu } from "../support.ts";

fc.configureGlobal({ seed: 1 });

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

/**
 * A device whose staging buffers can be counted, and mapped only by whoever may; it copies from
 * byte arrays.
 */
function fakeDevice(maxBufferSize = 1 << 28) {
  const made: { size: number; destroyed: boolean }[] = [];
  let mapping = Promise.resolve();
  const device = {
    limits: { maxBufferSize },
    createBuffer({ size }: { size: number }) {
      const state = { size, destroyed: false };
      made.push(state);
      const values = new Uint8Array(size);
      return {
        size,
        values,
        mapAsync: () => mapping,
        getMappedRange: (offset: number, bytes: number) =>
          values.slice(offset, offset + bytes).buffer,
        unmap() {},
        destroy: () => state.destroyed = true,
      };
    },
    createCommandEncoder: () => ({
      copyBufferToBuffer(
        from: Uint8Array,
        start: number,
        { values }: { values: Uint8Array },
        to: number,
        bytes: number,
      ) {
        assertEquals([start % 4, to % 8, bytes % 4], [0, 0, 0]);
        values.set(from.subarray(start, start + bytes), to);
      },
      finish: () => ({}),
    }),
    queue: { submit() {} },
  };
  return { device: device as unknown as GPUDevice, made, map: (by: Promise<void>) => mapping = by };
}

const SILENT: Failures = {
  any: false,
  submitted() {},
  check() {},
  failed: (error) => Promise.resolve(new DeviceError("validation", (error as Error).message)),
  closed() {},
};
const BYTES = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
const SOURCE = { label: "source", bytes: 64, raw: BYTES as unknown as GPUBuffer };

Deno.test("createReader() keeps one staging buffer, makes a larger one where it must, and frees all", async () => {
  const { device, made } = fakeDevice();
  const reader = createReadback(device, SILENT, device.limits.maxBufferSize);
  await reader.read([{ buffer: SOURCE, bytes: 32 }]);
  await reader.read([{ buffer: SOURCE, bytes: 8 }]);
  assertEquals(made, [{ size: 32, destroyed: false }], "the second read uses the first's");
  await reader.read([{ buffer: SOURCE }]);
  assertEquals(made, [{ size: 32, destroyed: true }, { size: 64, destroyed: false }]);
  await Promise.all([1, 2].map(() => reader.read([{ buffer: SOURCE }])));
  assertEquals(
    made.map(({ destroyed }) => destroyed),
    [true, true, false],
    "reads at once take one each",
  );
  const large = {
    label: "large",
    bytes: 17 << 20,
    raw: new Uint8Array(17 << 20) as unknown as GPUBuffer,
  };
  await reader.read([{ buffer: large }]);
  assertEquals(
    made.slice(2).map(({ destroyed }) => destroyed),
    [true, true],
    "a large one is freed at once",
  );
  reader.close();
});

Deno.test("createReader() reads more than a buffer may hold through several, all of one moment", async () => {
  const range = fc.tuple(fc.nat(15), fc.nat(64)).map(([word, bytes]) => {
    return { byteOffset: 4 * word, bytes: Math.min(bytes, 64 - 4 * word) };
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(range, { maxLength: 6 }),
      fc.integer({ min: 64, max: 200 }), // no buffer is larger than what one may hold
      async (ranges, most) => {
        const { device, made } = fakeDevice(most);
        const results = await createReadback(device, SILENT, device.limits.maxBufferSize).read(
          ranges.map((range) => ({ buffer: SOURCE, ...range })),
        );
        assertEquals(
          results.map((bytes) => [...new Uint8Array(bytes)]),
          ranges.map((
            { byteOffset, bytes },
          ) => [...BYTES.subarray(byteOffset, byteOffset + bytes)]),
        );
        assertEquals(made.filter(({ size }) => size > most), []);
      },
    ),
  );
  const { device, made } = fakeDevice(64);
  let submits = 0;
  device.queue.submit = () => void submits++;
  await createReadback(device, SILENT, device.limits.maxBufferSize).read([{ buffer: SOURCE }, {
    buffer: SOURCE,
  }]);
  assertEquals([made.map(({ size }) => size), submits], [[64, 64], 1]);
});

Deno.test("createReader() reports what failed on the device where its buffer cannot be mapped", async () => {
  const { device, made, map } = fakeDevice();
  map(Promise.reject(new Error("mapping failed")));
  // Which came first.
  const failed = () => Promise.resolve(new DeviceError("validation", "a kernel failed"));
  for (
    const [failures, message] of [[SILENT, "mapping failed"], [
      { ...SILENT, failed },
      "a kernel failed",
    ]] as const
  ) {
    await assertRejects(
      () => createReadback(device, failures, 1 << 28).read([{ buffer: SOURCE }]),
      RunError,
      message,
    );
  }
  assertEquals(made.every(({ destroyed }) => destroyed), true);
});
