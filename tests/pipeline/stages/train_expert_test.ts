import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { partHash, type PartManifest } from "../../../pipeline/partition/manifests.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { expertStages, expertTarget } from "../../../pipeline/stages/train_expert.ts";
import { inFolder } from "../../tasks/support.ts";

const SETTINGS = defaultConfiguration();
const COUNTS = { sequences: 5, tokens: 50, nllPerToken: null, sources: {} };
const shard = (name: string, rows: number) => ({ name, rows, tokens: 10, bytes: 99, sha256: "a".repeat(64) });
const PART: PartManifest = {
  format: 1,
  expert: 3,
  files: [shard("train-00000.arrow", 4), shard("train-00001.arrow", 1), shard("test-00000.arrow", 2)],
  train: COUNTS,
  test: { ...COUNTS, sequences: 2 },
};

Deno.test("there is a stage per expert, each in a folder of its own", () => {
  const stages = expertStages.of({ ...SETTINGS, experts: 11 });
  assertEquals(stages.length, 11);
  assertEquals([stages[3].name, stages[10].name], ["train-expert-03", "train-expert-10"]);
  assertEquals(new Set(stages.map(({ outputs }) => outputs.join())).size, 11);
});

Deno.test("an expert reads its part and nothing else, and is refused a part that is missing, empty or untrue", () =>
  inFolder(async (run) => {
    const folder = `${run}/partition/expert-03`;
    const read = () => expertTarget(3).data({ run, configuration: SETTINGS });
    await assertRejects(read, InputError, `there is no "${folder}/manifest.json"`);
    await Deno.mkdir(folder, { recursive: true });
    const write = (part: PartManifest) => Deno.writeTextFile(`${folder}/manifest.json`, JSON.stringify(part));
    await write(PART);
    const { train, test, sequences, shards, files } = await read();
    assertEquals(train, [0, 1].map((i) => `${folder}/train-0000${i}.arrow`));
    assertEquals([test, sequences, shards], [[`${folder}/test-00000.arrow`], 5, partHash(PART)]);
    assertEquals(files[train[0]], { bytes: 99, sha256: "a".repeat(64) });
    await write({ ...PART, train: { ...COUNTS, sequences: 6 } });
    await assertRejects(read, InputError, "its train shards hold 5 sequences, it counts 6");
    await write({ ...PART, files: [shard("test-00000.arrow", 2)], train: { ...COUNTS, sequences: 0 } });
    await assertRejects(read, InputError, "its part must hold sequences");
  }));
