import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { emptyBatch, fromBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { lineageOf } from "../../../pipeline/rows/lineage.ts";
import { type Columns, concatColumns, sliceColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { joinScores } from "../../../pipeline/rows/join.ts";
import { batchesOf, LINEAGE, rowsOf } from "../partition/support.ts";

const ROWS = rowsOf(50);
const tokenRows = (columns: Columns): Columns => ({ ...columns, nll: undefined, expert: undefined });
const scoreRows = (columns: Columns): Columns => ({ ...columns, tokens: undefined });

Deno.test("joinScores() joins rows whatever the batches", async () => {
  for (const [left, right] of [[50, 50], [7, 50], [50, 9], [3, 8], [10, 5]]) {
    const tokens = batchesOf(tokenRows(ROWS), left, { ...LINEAGE, stage: "tokenize", method: undefined });
    const joined = joinScores(tokens, batchesOf(scoreRows(ROWS), right));
    const batches = await Array.fromAsync(joined);
    assertEquals(concatColumns(batches.map((batch) => fromBatch(batch))), ROWS);
    assertEquals(lineageOf(batches[0]), LINEAGE);
  }
});

Deno.test("joinScores() passes over batches without rows and keeps the schema where there are no others", async () => {
  const tokens = emptyBatch(["document", "source", "tokens"], LINEAGE);
  const scored = emptyBatch(["document", "source", "nll", "expert"], LINEAGE);
  const [only, ...more] = await Array.fromAsync(
    joinScores(ReadableStream.from([tokens, tokens]), ReadableStream.from([scored])),
  );
  assertEquals(more, []);
  assertEquals(only.numRows, 0);
  assertEquals(String(only.schema), String(toBatch(ROWS, LINEAGE).schema));

  const [all] = await Array.fromAsync(joinScores(
    ReadableStream.from([tokens, toBatch(tokenRows(ROWS), LINEAGE), tokens]),
    ReadableStream.from([toBatch(scoreRows(ROWS), LINEAGE), scored]),
  ));
  assertEquals(fromBatch(all), ROWS);
  assertEquals(await Array.fromAsync(joinScores(ReadableStream.from([]), ReadableStream.from([]))), []);
});

Deno.test("joinScores() refuses rows that are not the same, naming both", async () => {
  const join = (tokens: Columns, scored: Columns, lineage = LINEAGE) =>
    Array.fromAsync(joinScores(batchesOf(tokenRows(tokens), 20), batchesOf(scoreRows(scored), 15, lineage)));
  const swapped = takeColumns(ROWS, [...ROWS.sequence.keys()].map((i) => i === 32 ? 33 : i === 33 ? 32 : i));
  const message = await assertRejects(
    () => join(ROWS, swapped),
    InputError,
    "sequence is 132 in the former, 133",
  );
  assert(message.message.includes("row 12 and the batch, row 2"), message.message);
  const longer = { ...ROWS, length: ROWS.length.map((n, i) => i === 3 ? 9 : n) };
  await assertRejects(() => join(ROWS, longer), InputError, "length is 3 in the former, 9 in the latter");
  await assertRejects(
    () => join(ROWS, sliceColumns(ROWS, 0, 49)),
    InputError,
    "the scores end after 49 rows",
  );
  await assertRejects(
    () => join(sliceColumns(ROWS, 0, 40), ROWS),
    InputError,
    "the tokens end after 40 rows",
  );
  const other = { ...LINEAGE, tokenizer: "ee" };
  await assertRejects(
    () => join(ROWS, ROWS, other),
    InputError,
    "tokenizer is ee in the former, ab12 in the latter",
  );
});

Deno.test("joinScores() lets both streams go when it is cancelled", async () => {
  const closed: string[] = [];
  const endless = (name: string, columns: Columns) =>
    ReadableStream.from(function* () {
      try {
        for (;;) yield toBatch(columns, LINEAGE);
      } finally {
        closed.push(name);
      }
    }());
  const reader = joinScores(endless("tokens", tokenRows(ROWS)), endless("scores", scoreRows(ROWS)))
    .getReader();
  await reader.read();
  await reader.cancel();
  assertEquals(closed, ["tokens", "scores"]);
});
