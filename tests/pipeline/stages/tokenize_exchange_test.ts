import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  type ExchangePlan,
  groupOf,
  groupsOf,
  MADE_EXCHANGE,
  pieceRecords,
  shardsOf,
  writeOwnShards,
} from "../../../pipeline/stages/tokenize_exchange.ts";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import { writeNote } from "../../../pipeline/stages/notes.ts";
import type { Work } from "../../../pipeline/stages/stage.ts";
import { inFolder } from "../../tasks/support.ts";
import { STAGES } from "../../../pipeline/stages/graph.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";

Deno.test("groupOf() divides any number of files into groups that follow one another, none of them empty, of about one size", () => {
  for (const files of [1, 2, 3, 7, 255, 256, 257, 500, 512, 600, 10_001]) {
    const groups = groupsOf(files);
    assert(groups <= 256 && groups <= files && groups >= Math.min(files, 256));
    const sizes = new Array<number>(groups).fill(0);
    let before = 0;
    for (let file = 0; file < files; file++) {
      const group = groupOf(file, files);
      assert(group === before || group === before + 1, `file ${file} of ${files}`);
      sizes[before = group]++;
    }
    assert(Math.min(...sizes) >= Math.floor(files / groups), `${files} files: ${sizes}`);
    assert(Math.max(...sizes) <= Math.ceil(files / groups), `${files} files: ${sizes}`);
  }
});

const noteOf = (rows: number) => ({ key: "", bytes: 0, sha256: "", rows });
const planOf = (train: number[], test?: number[]): ExchangePlan => ({
  ...{ key: "k", seed: 1, shardSequences: 10, lineage: { format: 1, stage: "tokenize" } },
  files: train.map((rows, i) => ({
    paths: { train: "", test: "" },
    notes: { train: noteOf(rows), test: test && noteOf(test[i]) },
    before: { sequences: 0n, documents: 0n },
  })),
});

Deno.test("shardsOf() counts a shard where there are no rows, and none where nothing is held out", () => {
  assertEquals([[0], [10, 0], [10, 1], [4, 4, 4]].map((rows) => shardsOf(planOf(rows), "train")), [
    1,
    1,
    2,
    2,
  ]);
  assertEquals(shardsOf(planOf([5]), "test"), 0);
  assertEquals([shardsOf(planOf([5], [0]), "test"), shardsOf(planOf([5, 5], [20, 5]), "test")], [1, 3]);
});

Deno.test("writeOwnShards() says what to do where another process has removed what was exchanged", () =>
  inFolder(async (run) => {
    const lock = () => Promise.resolve(() => Promise.resolve());
    const work = { run, lock, files: { read: {} } } as unknown as Work;
    const error = await assertRejects(() => writeOwnShards(work, planOf([5]), "train", [0]), InputError);
    assertEquals(error.where, `${run}/tokens/exchange`);
    assertEquals(error.remedy, "run the same again, which makes it again");
  }));

Deno.test("writeOwnShards() holds nothing where all shards are written", () =>
  inFolder(async (run) => {
    const lock = () => Promise.reject(new Error("it holds something"));
    const work = { run, lock, files: { read: {} } } as unknown as Work;
    const plan = planOf([15], [5]);
    for (const file of ["train-00000.arrow", "train-00001.arrow"]) {
      await writeAtomic(`${run}/tokens/${file}`, "shard");
      await writeNote(run, "tokenize", file, { key: plan.key, bytes: 5, sha256: "", rows: 10 });
    }
    await writeOwnShards(work, plan, "train", [0, 1]);
    await assertRejects(() => writeOwnShards(work, plan, "test", [0]), Error, "it holds something");
  }));

Deno.test("the names of an exchange are those of parts that go, and of the stage", () => {
  const [path] = Object.keys(pieceRecords(3, [{ bucket: 12, bytes: 5, sha256: "ab", rows: 1 }]));
  assertEquals(path, "tokens/exchange/00012/00003.arrows");
  const [stage] = STAGES.get("tokenize")!.of(defaultConfiguration());
  for (
    const name of [
      path,
      "manifests/tokenize/exchange-00003.json",
      "manifests/tokenize/train-00005.arrow.json",
    ]
  ) {
    assert(MADE_EXCHANGE.test(name) && stage.makes!.test(name), name);
  }
  assert(stage.makes!.test("tokens/spill.partial/00004/17.arrows.parts/3.arrows"));
  for (const name of ["tokens/train-00005.arrow", "tokens/exchange/mine.arrows", "manifests/tokenize.json"]) {
    assert(!MADE_EXCHANGE.test(name), name);
  }
});
