import { assert, assertEquals } from "@std/assert";
import { gpu } from "../support.ts";
import { median, medianOf, now, secondsOf } from "../../../kernels/device/time.ts";

Deno.test("median() takes the middle value, of two the larger, and leaves the list as it is", () => {
  const values = [3, 1, 2];
  assertEquals([median(values), median([1, 2]), median([5])], [2, 2, 5]);
  assertEquals(values, [3, 1, 2]);
  assertEquals(medianOf({ clock: [1, 3, 2], processor: [8] }, "clock"), 2);
  assertEquals(medianOf({ clock: [1], processor: [8] }, "processor"), 8 / navigator.hardwareConcurrency);
});

Deno.test("now() goes forward, and secondsOf() gives a time for nothing as well", async () => {
  for (const clock of ["clock", "processor"] as const) {
    const before = now(clock);
    assert(await secondsOf(gpu, [], { rounds: 1, seconds: 0, clock }) > 0);
    assert(now(clock) >= before);
  }
});
