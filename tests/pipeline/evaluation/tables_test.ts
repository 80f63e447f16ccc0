import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  type DocumentScores,
  figuresOn,
  readDocumentScores,
  writeDocumentScores,
} from "../../../pipeline/evaluation/tables.ts";
import { InputError } from "../../../kernels/errors.ts";
import { type RecordBatch, toTable, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import { readArrow } from "../../../pipeline/rows/arrow.ts";
import { uniform } from "../../../pipeline/random.ts";
import { inFolder } from "../../tasks/support.ts";

const SCORES: DocumentScores = {
  document: BigUint64Array.of(3n, 2n ** 64n - 1n),
  source: ["code", ""],
  sequences: Uint32Array.of(2, 1),
  tokens: Uint32Array.of(254, 9),
  nll: { mixture: Float64Array.of(700.1, 1 / 3), dense: Float64Array.of(900, 40) },
};
const LINEAGE = { format: 1, stage: "evaluate" };

Deno.test("readDocumentScores() reads what writeDocumentScores() wrote, with M and E", () =>
  inFolder(async (folder) => {
    const path = `${folder}/evaluation.arrow`;
    const { bytes } = await writeDocumentScores(path, SCORES, { prefix: 64, experts: 4 });
    assertEquals([bytes, await readDocumentScores(path)], [(await Deno.stat(path)).size, SCORES]);
    for await (const batch of readArrow(path)) {
      assertEquals(readLineage(batch), { ...LINEAGE, prefix: 64, experts: 4 });
    }
  }));

Deno.test("readDocumentScores() refuses files of another layout, and reports what must be there", () =>
  inFolder(async (folder) => {
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
    await refused('it must have a column "mixture"', of({ nll: { dense: SCORES.nll.dense } }));
    await refused(
      'column "mixture" must hold float64',
      of({ nll: { mixture: Float32Array.of(1, 2) } }),
    );
    await refused('column "tokens" must hold integers', of({ tokens: Float64Array.of(1, 2) }));
  }));

/**
 * Scores of 200 documents, of which the mixture knows every fourth by heart; the gain over the
 * dense model is 10% on the others.
 */
const known = (i: number) => i % 4 === 0;
const ids = BigUint64Array.from({ length: 200 }, (_, i) => BigInt(i));
const tokens = Uint32Array.from(ids, (_, i) => 50 + i % 7);
const nll = (gain: number) =>
  Float64Array.from(
    tokens,
    (count, i) => count * (3 + uniform(1, "nll", i) - (known(i) ? 3 * gain : gain)),
  );
const scores: DocumentScores = {
  document: ids,
  source: Array(200).fill(""),
  sequences: tokens,
  tokens,
  nll: { mixture: nll(-Math.log(0.9)), dense: nll(0) },
};

Deno.test("figuresOn() computes perplexities and gains on some documents", async () => {
  const drawing = { resamples: 200, seed: 3 };
  const found = (await figuresOn(scores, (id) => !known(Number(id)), drawing))!;
  assertEquals(found.documents, 150);
  assert(Math.abs(found.gains[0].percent - 10) < 1e-9);
  const sum = (values: ArrayLike<number>) =>
    Array.from(values).filter((_, i) => !known(i)).reduce((a, b) => a + b);
  assert(Math.abs(found.scores.dense!.nllPerToken - sum(scores.nll.dense!) / sum(tokens)) < 1e-12);
  assertGreater(found.scores.dense!.high, found.scores.dense!.perplexity);
  assertEquals(await figuresOn(scores, () => false, drawing), undefined);
});
