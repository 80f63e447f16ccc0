import { assert, assertEquals, assertRejects } from "@std/assert";
import { gpu } from "../support.ts";
import { profile } from "../../../kernels/device/profile.ts";
import { double } from "./support.ts";

Deno.test(
  "Gpu.profile() times every dispatch and leaves the same results, however many there are",
  {
    ignore: !gpu.canProfile,
  },
  async () => {
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
  },
);

Deno.test("profile() frees what it timed with where reading fails", async () => {
  const freed: string[] = [];
  const owned = (name: string) => ({ destroy: () => void freed.push(name) });
  const device = {
    createQuerySet: () => owned("queries"),
    createBuffer: () => owned("timestamps"),
    createCommandEncoder: () => ({ resolveQuerySet() {}, finish() {} }),
    queue: { submit() {} },
  } as unknown as GPUDevice;
  const reader = { read: () => Promise.reject(new Error("the device is lost")), close() {} };
  await assertRejects(() => profile(device, reader, []), Error, "the device is lost");
  assertEquals(freed, ["queries", "timestamps"]);
});
