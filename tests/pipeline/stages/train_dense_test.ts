import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { BASELINES } from "../../../pipeline/evaluation/baselines.ts";
import { writeManifest } from "../../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { denseStages, denseTarget, denseTargets } from "../../../pipeline/stages/train_dense.ts";
import { inFolder } from "../../tasks/support.ts";

const SETTINGS = {
  ...defaultConfiguration(),
  experts: 5,
  expertBatch: 16,
  denseRate: 0.5,
  denseStepsRate: 0.25,
};

Deno.test("a dense model sees the tokens of all experts together, by its batch or by its steps", () => {
  const experts = SETTINGS.expertSteps * SETTINGS.expertBatch * SETTINGS.experts;
  for (const match of ["batch", "steps"] as const) {
    const { batch, steps } = denseTarget(match);
    assertEquals(batch(SETTINGS) * steps(SETTINGS, { sequences: 1000, heldOut: 100 }), experts, match);
    assertEquals(batch(SETTINGS), match === "batch" ? 5 * 16 : 16);
  }
});

Deno.test("dense models are baselines, each with a folder, a rate and a command of its own", () => {
  const targets = denseTargets();
  const names = BASELINES.filter((name) => name !== "switch");
  assertEquals(targets.map(({ name }) => name), names);
  assertEquals(targets.map(({ folder }) => folder), names);
  assertEquals(targets.map(({ rates }) => rates[0]), ["denseRate", "denseStepsRate", "denseComputeRate"]);
  assertEquals(targets.map(({ command }) => command.with ?? {}), [{}, { match: "steps" }, {
    match: "compute",
  }]);
  assertEquals(denseStages.of(SETTINGS).map(({ name }) => name), names.map((name) => `train-${name}`));
});

Deno.test("a dense model reads all shards of tokens, as their manifest says; without them it is refused", () =>
  inFolder(async (run) => {
    const { data } = denseTarget("batch");
    const read = () => data({ run, configuration: SETTINGS });
    await assertRejects(read, InputError, '"tokenize" has not run');
    const record = { bytes: 9, sha256: "ab" };
    const names = ["train-00001", "train-00000", "test-00000"].map((name) => `tokens/${name}.arrow`);
    const identity = { stage: "tokenize", revision: 1, key: "k", configuration: {}, inputs: {} };
    await writeManifest(run, identity, {
      outputs: Object.fromEntries(names.map((name) => [name, record])),
      result: {
        ...{ documents: 1, tokens: 20, trainSequences: 3, testSequences: 1, droppedTails: 0 },
        ...{ vocabulary: 99, eos: 0, tokenizer: "ab12" },
      },
    });
    const { train, test, sequences, files } = await read();
    assertEquals(train, [0, 1].map((i) => `${run}/tokens/train-0000${i}.arrow`));
    assertEquals([test, sequences], [[`${run}/tokens/test-00000.arrow`], 3]);
    assertEquals(Object.keys(files).sort(), names.map((name) => `${run}/${name}`).sort());
  }));
