import { assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { fromBatch, readShards } from "../../../pipeline/rows/arrow.ts";
import { outputsUnder, readManifest } from "../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { runOneStage } from "../../../pipeline/stages/partition.ts";
import { tokenizeResult } from "../../../pipeline/stages/tokenize.ts";
import { worded } from "../../../tasks/wording.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

const RESULT = {
  ...{ documents: 1, tokens: 20, trainSequences: 3, testSequences: 1, droppedTails: 0 },
  ...{ vocabulary: 99, eos: 0, tokenizer: "ab12" },
};
const manifestOf = (result: Record<string, unknown>) => ({
  ...{ format: 3, stage: "tokenize", revision: 1, key: "", configuration: {}, inputs: {}, outputs: {} },
  result,
});

Deno.test("tokenizeResult() gives what the manifest says, or names the manifest and the field that is wrong", () => {
  assertEquals(tokenizeResult(manifestOf(RESULT), "runs/a"), RESULT);
  const { eos: _, ...without } = RESULT;
  for (const [result, field] of [[without, "eos"], [{ ...RESULT, tokens: "many" }, "tokens"]] as const) {
    const { what, where, remedy } = assertThrows(
      () => tokenizeResult(manifestOf(result), "runs/a"),
      InputError,
    );
    assertStringIncludes(worded(what), `: ${field}: `);
    assertEquals(where, "runs/a/manifests/tokenize.json");
    assertEquals(worded(remedy!), "run deno task tokenize --run runs/a --force, or copy the file again");
  }
});

/** Makes the tokens of a run; gives the keys of its stages, and the tokens and sequences of either side. */
async function tokensOf(folder: string, name: string, more: Partial<Configuration>) {
  const run = `${folder}/${name}`;
  const flags = {
    ...SMALL_SETTINGS,
    input: [`${folder}/docs.jsonl`],
    holdout: 0.3,
    maxDocuments: 40,
    ...more,
  };
  await runOneStage({ run, stage: "corpus", sources: { flags } });
  await runOneStage({ run, stage: "tokenizer" });
  await runOneStage({ run, stage: "tokenize" });
  const read = async (kind: string) => {
    const paths = outputsUnder((await readManifest(run, "tokenize"))!, `tokens/${kind}-`);
    const parts = await Array.fromAsync(
      readShards(paths.map((path) => `${run}/${path}`)),
      (b) => fromBatch(b),
    );
    return parts.flatMap(({ tokens }) => [...tokens!]);
  };
  const keys = await Promise.all(
    ["corpus", "tokenizer", "tokenize"].map(async (stage) => (await readManifest(run, stage))!.key),
  );
  return { keys, test: await read("test"), train: await read("train") };
}

Deno.test("runs of different seeds take and hold out the same documents where the seed of the text is the same", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(60));
    const one = await tokensOf(folder, "one", { seed: 1 });
    const same = await tokensOf(folder, "same", { seed: 1, textSeed: 1 });
    assertEquals(same, one); // without it, it is that of the run
    const two = await tokensOf(folder, "two", { seed: 2, textSeed: 1 });
    assertEquals([two.test, two.keys.slice(0, 2)], [one.test, one.keys.slice(0, 2)]);
    assertNotEquals(two.keys[2], one.keys[2]);
    assertNotEquals(two.train, one.train); // in another order
    assertEquals(two.train.toSorted(), one.train.toSorted());
    assertNotEquals((await tokensOf(folder, "other", { seed: 2 })).test, one.test);
  }));
