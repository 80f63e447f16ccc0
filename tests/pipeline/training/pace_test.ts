import { assertEquals } from "@std/assert";
import { startPace } from "../../../pipeline/training/pace.ts";

/** Counts the steps between looks where each step takes this long. */
function looks(milliseconds: number, steps: number, kind?: "gpu"): number[] {
  let now = 0;
  const pace = startPace(() => now, kind);
  const counts: number[] = [];
  let count = 0;
  for (let step = 0; step < steps; step++) {
    const isDue = pace.step();
    now += milliseconds;
    count++;
    if (!isDue) continue;
    pace.looked();
    counts.push(count);
    count = 0;
  }
  return counts;
}

Deno.test("startPace() looks after the first step, then as often as keeps a wait short, at least every 8, on a GPU every 64", () => {
  assertEquals(looks(1, 25), [1, 8, 8, 8]);
  assertEquals(looks(100, 13), [1, 4, 4, 4]);
  assertEquals(looks(5000, 3), [1, 1, 1]);
  assertEquals(looks(0, 9), [1, 8]);
  assertEquals(looks(0, 130, "gpu"), [1, 64, 64]);
  assertEquals(looks(100, 13, "gpu"), [1, 4, 4, 4]);
});
