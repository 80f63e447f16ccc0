import { assert, assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import type { RunEvent } from "../../mod.ts";
import { type Pace, paceOf, progressText } from "../../tasks/pace.ts";

type Step = RunEvent & { type: "progress" };
const step = (done: number, more: Partial<Step> = {}): Step => {
  return { type: "progress", stage: "train-routers", done, total: 1000, unit: "steps", ...more };
};

/** Paces of a stage whose events come at these times, in seconds. */
function paces(events: [seconds: number, done: number][]): Pace[] {
  let pace: Pace | undefined;
  return events.map(([seconds, done]) => pace = paceOf(step(done), pace, 1000 * seconds));
}

Deno.test("paceOf() counts what this process did, gives no rate before a second, and begins anew where a stage does", () => {
  const resumed = paces([[10, 500], [10.001, 510], [12, 520], [20, 600]]);
  assertEquals(resumed.map(({ rate }) => rate), [undefined, undefined, 10, 10]);
  assertEquals(resumed.map(({ left }) => left), [undefined, undefined, 48, 40]);
  const again = paces([[0, 100], [2, 300], [3, 1], [5, 21]]);
  assertEquals(again.map(({ rate }) => rate), [undefined, 100, undefined, 10]);
  const still = paces([[0, 7], [5, 7], [9, 7]]);
  assert(still.every(({ rate, left }) => rate === undefined && left === undefined));
  const unknown = paceOf(step(20, { total: undefined }), paceOf(step(0), undefined, 0), 2000);
  assertEquals([unknown.rate, unknown.left], [10, undefined]);
});

Deno.test("progressText() leaves the least important out of a narrow terminal, and cuts no number", () => {
  const event = step(1234, {
    stage: "train-expert-02",
    total: 128_000,
    loss: 4.1234,
    learningRate: 1e-3,
    tokensPerSecond: 12_345,
  });
  const pace = { rate: 0.5, left: 2 * 86_400 + 3 * 3600 + 60 };
  assertEquals(
    progressText(event, pace),
    "train-expert-02 1,234 of 128,000 steps  12,345 tokens/s  2 d 3 h left  loss 4.123  rate 1.0e-3",
  );
  const at = (width: number) => progressText(event, pace, { width, bar: 24 });
  for (let width = 60; width < 200; width++) assert(at(width).length < width, at(width));
  for (const width of [80, 100, 120]) {
    for (const part of ["1,234 of 128,000", "2 d 3 h left", "loss 4.123", "rate 1.0e-3"]) {
      assertStringIncludes(at(width), part);
    }
  }
  assertFalse(at(80).includes("tokens/s"));
  assertEquals(
    progressText(step(512), { rate: 12.34, left: 249.2 }, { width: 80, bar: 24 }),
    `train-routers  ${"█".repeat(10)}${"░".repeat(10)}  512 of 1,000 steps  12/s  4 min 10 s left`,
  );
  assertEquals(progressText(step(3, { total: undefined }), {}), "train-routers  3 steps");
  assertStringIncludes(progressText(step(3), { rate: 1 / 30 }), "30 s each");
});
