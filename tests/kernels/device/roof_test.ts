import { assert, assertEquals, assertRejects } from "@std/assert";
import { gpu } from "../support.ts";
import { withoutRoom } from "./support.ts";
import { measureRoof } from "../../../kernels/device/roof.ts";

Deno.test("measureRoof() gives figures of arithmetic and memory, in f16 where that is offered and asked for", async () => {
  const effort = { rounds: 1, seconds: 0, clock: "clock" } as const;
  const { gflops, gbytes, gflopsF16 } = await measureRoof(gpu, effort, { small: true, halves: true });
  assert(gflops > 0 && gbytes > 0);
  assertEquals(gflopsF16 !== undefined && gflopsF16 > 0, gpu.offers.f16);
  assertEquals((await measureRoof(gpu, effort, { small: true })).gflopsF16, undefined);
});

Deno.test("measureRoof() keeps no buffers where it fails", async () => {
  const { device, held } = withoutRoom(gpu, (label) => label === "copy");
  const effort = { rounds: 1, seconds: 0, clock: "clock" } as const;
  await assertRejects(() => measureRoof(device, effort, { small: true }), Error, "no room for copy");
  assertEquals(held(), 0);
});
