import { assert, assertEquals } from "@std/assert";
import { toBatch, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { score, scoreBytes } from "../../../pipeline/stages/score.ts";
import { runOneStage } from "../../../pipeline/stages/partition.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes, inFolder } from "../../tasks/support.ts";
import { columnsOf, LINEAGE } from "../rows/support.ts";
import { withPartition } from "./support.ts";

Deno.test("scoreBytes() is what score shards come to, give or take a tenth", () =>
  inFolder(async (folder) => {
    const [rows, experts] = [4000, 8];
    const { sequence, document, source, length } = columnsOf(rows);
    const columns = { rows, sequence, document, source, length, nll: new Float32Array(rows * experts) };
    const batch = toBatch(columns, { ...LINEAGE, experts });
    const { bytes } = await writeArrowFile(`${folder}/a.arrow`, ReadableStream.from([batch]));
    const ratio = scoreBytes(experts, rows) / bytes;
    assert(ratio > 0.9 && ratio < 1.1, `${ratio}`);
  }));

Deno.test("scoring is estimated to cost as much per router as there are sequences, and nothing per expert without a model", () => {
  const configuration = defaultConfiguration();
  const secondsOf = (more: Partial<typeof configuration>, sequences = 1000) => {
    const [stage] = score.of({ ...configuration, ...more });
    return stage.estimate!({ ...configuration, ...more }, { characters: 0, sequences }, 1e9).seconds;
  };
  const one = secondsOf({ experts: 4 });
  assertEquals(secondsOf({ experts: 8 }), 2 * one);
  assertEquals(secondsOf({ experts: 4 }, 3000), 3 * one);
  assertEquals(
    secondsOf({ experts: 8, partitioner: "random" }),
    secondsOf({ experts: 4, partitioner: "random" }),
  );
});

Deno.test({
  name: "a part of score with force scores its shards again, and one without takes them as they are",
  ignore: gpu === null,
  fn: () =>
    withPartition(async (run) => {
      const before = await hashes(run);
      const shards = Array.from(Deno.readDirSync(`${run}/scores`), ({ name }) => `${run}/scores/${name}`);
      const files = async () =>
        (await Promise.all(shards.map((path) => Deno.stat(path)))).map(({ ino }) => ino);
      const part = (index: number, force: boolean) =>
        runOneStage({ run, gpu: gpu!, stage: "score", part: { index, of: 2 }, force });
      const first = await files();
      await part(1, true);
      const second = await files();
      assert(second.some((ino, i) => ino !== first[i]) && second.some((ino, i) => ino === first[i]));
      await part(2, true);
      const third = await files();
      assertEquals(third.filter((ino, i) => ino === first[i]), []);
      await part(1, false);
      await runOneStage({ run, stage: "score" }); // which closes it
      assertEquals(await files(), third);
      assertEquals(await hashes(run), before);
    }),
});
