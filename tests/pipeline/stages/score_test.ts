import { assert, assertEquals } from "@std/assert";
import { toBatch, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { score, scoreBytes } from "../../../pipeline/stages/score.ts";
import { inFolder } from "../../tasks/support.ts";
import { columnsOf, LINEAGE } from "../rows/support.ts";

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
