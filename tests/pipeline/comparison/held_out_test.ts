import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { sharedHeldOut, valueText } from "../../../pipeline/comparison/held_out.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import { inFolder } from "../../tasks/support.ts";
import { type Unlike, writeComparedRun } from "./support.ts";

/** Reads two runs. */
async function twoRuns(folder: string, first: Unlike, second: Unlike) {
  await writeComparedRun(`${folder}/a`, first);
  await writeComparedRun(`${folder}/b`, second);
  return await Promise.all(["a", "b"].map(async (name) => {
    const run = `${folder}/${name}`;
    return { name, record: await readRun(run) };
  }));
}

Deno.test("sharedHeldOut() takes the same tokens for the same text, whatever their blocks", async () => {
  await inFolder(async (folder) => {
    const runs = await twoRuns(folder, {}, { perBlock: 1 });
    const [own, other] = runs.map(({ record }) => record.heldOut!.sha256);
    assertMatch(own, /^[0-9a-f]{64}$/);
    assertEquals(own === other, false); // another number of shards, and another lineage
    assertEquals(await sharedHeldOut(runs), { sha256: own, sequences: 1092, untold: [] });
  });
});

Deno.test("sharedHeldOut() refuses two runs whose tokens differ, with what their settings differ in", async () => {
  await inFolder(async (folder) => {
    const runs = await twoRuns(folder, {}, {
      tokens: [1, 2, 3, 4, 5, 7],
      settings: { seed: 3, holdout: 0.2 },
    });
    const error = await assertRejects(() => sharedHeldOut(runs), InputError);
    assertMatch(
      error.message,
      /^Cannot compare "\S+\/a" and "\S+\/b" as their held-out tokens must be the same: SHA/,
    );
    assertMatch(error.message, /, holdout 0\.1 and 0\.2, textSeed 0 and 3; make one/);
  });
});

Deno.test("sharedHeldOut() refuses tokens that differ under equal settings, or as a shard is gone", async () => {
  await inFolder(async (folder) => {
    const runs = await twoRuns(folder, {}, { tokens: [1, 2, 3, 4] });
    const error = await assertRejects(() => sharedHeldOut(runs), InputError);
    assertMatch(wordText(error.remedy!), /of the same text with the other's tokenizer$/);
  });
  await inFolder(async (folder) => {
    const runs = await twoRuns(folder, {}, { perBlock: 1 });
    await Deno.remove(`${folder}/b/tokens/1/test.arrow`);
    await assertRejects(() => sharedHeldOut(runs), InputError, "must be the same");
  });
});

Deno.test("sharedHeldOut() names runs that do not tell, as their manifests are not there", async () => {
  await inFolder(async (folder) => {
    const runs = await twoRuns(folder, {}, {});
    const without = runs.map((run) => ({ ...run, record: { ...run.record, heldOut: null } }));
    assertEquals(await sharedHeldOut(without), null);
    const { sequences, untold } = (await sharedHeldOut([without[0], runs[1]]))!;
    assertEquals([sequences, untold], [1092, ["a"]]);
  });
});

Deno.test("valueText() writes what a setting may be", () => {
  assertEquals([undefined, "", [], ["a", "b"], 0, false].map(valueText), [
    "–",
    "none",
    "none",
    "a, b",
    "0",
    "false",
  ]);
});
