import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { partition, runOneStage } from "../../../pipeline/stages/partition.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { copyFolder, hashes, inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

const FLAGS = { ...SMALL_SETTINGS, partitioner: "random", method: "argmax", experts: 3, shardSequences: 17 };

/** Makes a run as one process does, and copies of it without its parts; experts get different numbers of sequences. */
async function inRuns(test: (whole: string, unsplit: (name: string) => Promise<string>) => Promise<void>) {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(60));
    const run = `${folder}/whole`;
    await partition({ run, sources: { flags: { ...FLAGS, input: [`${folder}/docs.jsonl`] } } });
    await test(run, async (name) => {
      const other = `${folder}/${name}`;
      copyFolder(run, other);
      for (const path of ["partition", "manifests/split.json"]) {
        await Deno.remove(`${other}/${path}`, { recursive: true });
      }
      return other;
    });
  });
}

Deno.test("split in any number of parts, in any order, some twice and two at once, gives the bytes of one process", () =>
  inRuns(async (whole, unsplit) => {
    const expected = await hashes(whole);
    for (
      const [of, order] of [[1, [1]], [2, [2, 1]], [3, [3, 1, 1, 2]], [7, [5, 1, 7, 2, 6, 3, 4]], [50, [
        1,
      ]]] as const
    ) {
      const run = await unsplit(`of-${of}`);
      const part = (index: number) => runOneStage({ run, stage: "split", part: { index, of } });
      await Promise.all(order.slice(0, 2).map(part));
      for (const index of order.slice(2)) await part(index);
      await runOneStage({ run, stage: "split" });
      assertEquals(await hashes(run), expected, `${of} parts`);
    }
  }));

Deno.test("parts of other divisions, and damaged ones, are put together or made again", () =>
  inRuns(async (whole, unsplit) => {
    const expected = await hashes(whole);
    const run = await unsplit("mixed");
    const part = (index: number, of: number) => runOneStage({ run, stage: "split", part: { index, of } });
    const first = await part(1, 2);
    const shard = `${run}/partition/expert-01/train-00000.arrow`;
    await Deno.truncate(shard, 100);
    await Deno.truncate(`${run}/manifests/split/expert-00/train-00000.arrow.json`, 50);
    const [state] = (await statusOf(run)).stages.filter(({ stage }) => stage === "split");
    assertEquals([state.state, /shards are written by parts so far/.test(String(state.because))], [
      "missing",
      true,
    ]);
    const second = await part(2, 3);
    assertEquals(Number(second.written) < Number(second.shards) && Number(first.written) > 0, true);
    await runOneStage({ run, stage: "split" });
    assertEquals(await hashes(run), expected);
    assertEquals((await verifyRun(run)).problems, []);
    assertEquals((await part(1, 2)).closed, true);
    assertEquals(await hashes(run), expected);
  }));

Deno.test("split with force makes shards again that notes of parts tell of", () =>
  inRuns(async (whole, unsplit) => {
    const run = await unsplit("forced");
    await runOneStage({ run, stage: "split", part: { index: 1, of: 1 } });
    copyFolder(`${run}/manifests/split`, `${run}/notes`);
    await runOneStage({ run, stage: "split" });
    await Deno.rename(`${run}/notes`, `${run}/manifests/split`); // a kill may have left them
    const shard = `${run}/partition/expert-01/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    await runOneStage({ run, stage: "split", force: true });
    assertEquals(await hashes(run), await hashes(whole));
  }));

Deno.test("a stage that has no parts refuses one", () =>
  inRuns(async (run) => {
    await assertRejects(
      () => runOneStage({ run, stage: "assign", part: { index: 1, of: 2 } }),
      InputError,
      'Cannot make a part of "assign"',
    );
  }));

Deno.test("score in parts that overlap, two at once, scores each shard once and gives the bytes of one process", () =>
  inRuns(async (whole, unsplit) => {
    const expected = await hashes(whole);
    const run = await unsplit("score");
    for (
      const path of [
        "scores",
        "manifests/score",
        "manifests/score.json",
        "assignments",
        "manifests/assign.json",
      ]
    ) {
      await Deno.remove(`${run}/${path}`, { recursive: true });
    }
    const part = (index: number, of: number) => runOneStage({ run, stage: "score", part: { index, of } });
    await Promise.all([part(1, 1), part(1, 2), part(3, 3)]);
    const last = await part(2, 2);
    assertEquals([last.scored, last.closed], [last.shards, false]);
    for (const stage of ["score", "assign", "split"]) await runOneStage({ run, stage });
    assertEquals(await hashes(run), expected);
  }));
