import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { BASELINES } from "../../../pipeline/evaluation/evaluation.ts";
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
  for (const { match, batch, times } of denseTargets()) {
    assertEquals(batch(SETTINGS) * times(SETTINGS), 5 * 16, match);
    assertEquals(match === "batch" ? times(SETTINGS) : batch(SETTINGS), match === "batch" ? 1 : 16);
  }
});

Deno.test("dense models have the baselines' names, a folder, a rate and a command of their own", () => {
  const targets = denseTargets();
  assertEquals(targets.map(({ name }) => name), [...BASELINES]);
  assertEquals(targets.map(({ folder }) => folder), [...BASELINES]);
  assertEquals(targets.map(({ rates }) => rates[0]), ["denseRate", "denseStepsRate"]);
  assertEquals(targets.map(({ command }) => command.with ?? {}), [{}, { match: "steps" }]);
  assertEquals(denseStages.of(SETTINGS).map(({ name }) => name), ["train-dense", "train-dense-steps"]);
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
