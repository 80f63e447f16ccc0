import { assert, assertEquals, assertRejects } from "@std/assert";
import { gpu } from "../support.ts";
import { withoutRoom } from "./support.ts";
import { measurePeak } from "../../../kernels/device/peak.ts";

Deno.test("measurePeak() gives figures of arithmetic and memory, in f16 where that is offered and asked for", async () => {
  const effort = { rounds: 1, seconds: 0, clock: "clock" } as const;
  const { gflops, gbytes, gflopsF16 } = await measurePeak(gpu, effort, {
    small: true,
    halves: true,
  });
  assert(gflops > 0 && gbytes > 0);
  assertEquals(gflopsF16 !== undefined && gflopsF16 > 0, gpu.offers.f16);
  assertEquals((await measurePeak(gpu, effort, { small: true })).gflopsF16, undefined);
});

Deno.test("measurePeak() keeps no buffers where it fails", async () => {
  const { device, held } = withoutRoom(gpu, (label) => label === "copy");
  const effort = { rounds: 1, seconds: 0, clock: "clock" } as const;
  await assertRejects(
    () => measurePeak(device, effort, { small: true }),
    Error,
    "no room for copy",
  );
  assertEquals(held(), 0);
});
