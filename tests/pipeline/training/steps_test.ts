import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { type StepCount, trainingSteps } from "../../../pipeline/training/steps.ts";

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
