import { assertAlmostEquals, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import {
  constantRate,
  cosineRate,
  longWarmup,
  trainingSteps,
} from "../../../pipeline/training/schedule.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

Deno.test("constantRate() rises linearly over the warm-up, then stays", () => {
  const rates = [1, 2, 4, 5, 100].map((step) => constantRate(step, { rate: 0.8, warmup: 4 }));
  assertEquals(rates, [0.2, 0.4, 0.8, 0.8, 0.8]);
  assertEquals(constantRate(1, { rate: 0.8, warmup: 0 }), 0.8);
});

Deno.test("cosineRate() rises linearly, falls by half a cosine and ends at its final share", () => {
  const rate = (step: number) => cosineRate(step, { rate: 2, warmup: 4, steps: 12, final: 0.1 });
  assertEquals([1, 2, 4].map(rate), [0.5, 1, 2]);
  assertAlmostEquals(rate(8), 1.1, 1e-12); // half way, where the cosine is 0: the mean of 2 and 0.2
  assertAlmostEquals(rate(6), 0.2 + 1.8 * (1 + Math.SQRT1_2) / 2, 1e-12);
  assertAlmostEquals(rate(12), 0.2, 1e-12);
  for (let step = 5; step <= 12; step++) assertEquals(rate(step) < rate(step - 1), true);
});

Deno.test("cosineRate() stays at its final share after the last step, and needs no warm-up", () => {
  assertAlmostEquals(cosineRate(99, { rate: 1, warmup: 0, steps: 10, final: 0.25 }), 0.25, 1e-12);
  assertAlmostEquals(cosineRate(5, { rate: 1, warmup: 0, steps: 10, final: 0 }), 0.5, 1e-12);
});

Deno.test("longWarmup() warns of more than a quarter of the steps, and of a rate that still rises at the end", () => {
  const schedule = { rate: 0.01, warmup: 10 };
  assertEquals(longWarmup("expert 1", { ...schedule, steps: 40 }), undefined);
  for (const steps of [10, 39]) {
    assertMatch(
      wordText(longWarmup("expert 1", { ...schedule, steps })!),
      /more than a quarter of its steps;/,
    );
  }
  // Half of the warm-up reaches half of the peak.
  assertMatch(
    wordText(longWarmup("expert 1", { ...schedule, steps: 5 })!),
    /ends at 5\.0e-3 .* 1\.0e-2;/,
  );
});

type StepCount = Parameters<typeof trainingSteps>[1];

function steps(flags: Partial<Configuration>, count?: StepCount) {
  const c = resolveConfiguration({
    flags: { sequenceLength: 128, expertBatch: 16, expertSteps: 70, ...flags },
  });
  return trainingSteps(c, count);
}

Deno.test("trainingSteps() takes the configured steps, times what a dense model takes", () => {
  assertEquals(steps({}), 70);
  assertEquals(steps({}, { batch: 64, sequences: 1 }), 70);
  assertEquals(steps({}, { multiple: 4 }), 280);
});

Deno.test("trainingSteps() counts tokens by an expert's batch, and epochs by the model's own", () => {
  assertEquals(steps({ expertTokens: 128 * 16 * 9 + 100 }), 9);
  assertEquals(steps({ expertTokens: 128 * 16 * 9 + 100 }, { batch: 64, multiple: 4 }), 36);
  assertEquals(steps({ expertEpochs: 1.5 }, { sequences: 1000 }), 93);
  assertEquals(steps({ expertEpochs: 1.5 }, { sequences: 1000, batch: 64, multiple: 4 }), 23);
});

Deno.test("trainingSteps() refuses tokens and epochs at once, epochs of unknown sequences and less than a step", () => {
  const refused = (flags: Partial<Configuration>, count: StepCount, line: string) =>
    assertThrows(() => steps(flags, count), InputError, line);
  refused(
    { expertTokens: 9999, expertEpochs: 1 },
    { sequences: 100 },
    "only one of expertTokens and expertEpochs",
  );
  refused({ expertEpochs: 1 }, {}, "the number of sequences must be known: epochs is 1");
  refused({ expertTokens: 100 }, {}, "at least one step: expertTokens is 100, a step takes 2048");
  refused({ expertEpochs: 1 }, { sequences: 15 }, "1 epochs of 15 sequences make no batch of 16");
});
