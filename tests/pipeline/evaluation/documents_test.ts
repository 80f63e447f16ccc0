import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  type DocumentScores,
  readDocumentScores,
  writeDocumentScores,
} from "../../../pipeline/evaluation/documents.ts";
import { InputError } from "../../../kernels/errors.ts";
import { type RecordBatch, toTable, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import { readArrow } from "../../../pipeline/rows/arrow.ts";
import { inFolder } from "../../tasks/support.ts";

const SCORES: DocumentScores = {
  document: BigUint64Array.of(3n, 2n ** 64n - 1n),
  source: ["code", ""],
  sequences: Uint32Array.of(2, 1),
  tokens: Uint32Array.of(254, 9),
  nll: { mixture: Float64Array.of(700.1, 1 / 3), dense: Float64Array.of(900, 40) },
};
const LINEAGE = { format: 1, stage: "evaluate" };

Deno.test("readDocumentScores() reads what writeDocumentScores() wrote, with M and E", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/evaluation.arrow`;
    const { bytes } = await writeDocumentScores(path, SCORES, { prefix: 64, experts: 4 });
    assertEquals([bytes, await readDocumentScores(path)], [(await Deno.stat(path)).size, SCORES]);
    for await (const batch of readArrow(path)) {
      assertEquals(readLineage(batch), { ...LINEAGE, prefix: 64, experts: 4 });
    }
  });
});

Deno.test("readDocumentScores() refuses files of another layout, and reports what must be there", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/evaluation.arrow`;
    const refused = async (message: string, ...batches: RecordBatch[]) => {
      await writeArrowFile(path, ReadableStream.from(batches));
      const error = await assertRejects(() => readDocumentScores(path), InputError);
      assertStringIncludes(error.message, message);
      assertStringIncludes(error.message, path);
    };
    const of = (change: object) => {
      const { nll, ...scores } = { ...SCORES, ...change };
      return toTable({ ...scores, ...nll }, LINEAGE);
    };
    await refused("it must hold one batch of documents: it holds more", of({}), of({}));
    await refused(
      'row 1, as column "tokens" must be finite and at least 1: it is 0',
      of({ tokens: Uint32Array.of(4, 0) }),
    );
    for (const wrong of [NaN, Infinity, -1]) {
      await refused(
        `row 1, as column "dense" must be finite and at least 0: it is ${wrong}`,
        of({ nll: { ...SCORES.nll, dense: Float64Array.of(1, wrong) } }),
      );
    }
    await refused('it must have a column "mixture"', of({ nll: { dense: SCORES.nll.dense } }));
    await refused('column "mixture" must hold float64', of({ nll: { mixture: Float32Array.of(1, 2) } }));
    await refused('column "tokens" must hold integers', of({ tokens: Float64Array.of(1, 2) }));
  });
});
