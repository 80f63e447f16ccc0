import { assertEquals } from "@std/assert";
import { constantRate } from "../../../pipeline/training/schedule.ts";

Deno.test("constantRate() warms up linearly from 0 and stays", () => {
  const rates = [1, 2, 3, 4, 5, 1000].map((step) => constantRate(step, { rate: 1, warmup: 4 }));
  assertEquals(rates, [0.25, 0.5, 0.75, 1, 1, 1]);
});

Deno.test("constantRate() is constant without warm-up", () => {
  assertEquals([1, 2].map((step) => constantRate(step, { rate: 0.5, warmup: 0 })), [0.5, 0.5]);
});
