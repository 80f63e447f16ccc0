import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { toBatch } from "../../../pipeline/rows/arrow.ts";
import { arrowBytes } from "../../../pipeline/rows/ipc/write.ts";
import { showRows } from "../../../pipeline/text/show.ts";
import type { Tokenizer } from "../../../pipeline/text/tokenizer.ts";
import { LINEAGE, makeColumns } from "../rows/support.ts";

/** A tokenizer that spells ids. */
const SPELLING: Tokenizer = {
  vocabulary: 500,
  eos: 0,
  sha256: "ab12",
  json: "{}",
  encode: () => Promise.reject(new Error("it only decodes")),
  decode: (ids) => Promise.resolve(Array.from(ids).join(" ")),
};

/** An Arrow stream of five rows in two batches. */
function shard(lineage = LINEAGE): ReadableStream<Uint8Array> {
  const batches = [makeColumns(2), makeColumns(3, 2)].map((columns) => toBatch(columns, lineage));
  return arrowBytes(ReadableStream.from(batches));
}

Deno.test("showRows() gives every row with its text, padding left out, and ids of 64 bits whole", async () => {
  const rows = await Array.fromAsync(showRows(shard(), SPELLING));
  const columns = makeColumns(5);
  assertEquals(rows.length, 5);
  rows.forEach((row, i) => {
    const tokens = columns.tokens!.slice(4 * i, 4 * i + columns.length[i]);
    assertEquals(row, {
      sequence: String(2n ** 60n + BigInt(i)),
      document: String(columns.document![i]),
      source: columns.source![i],
      length: columns.length[i],
      nll: [...columns.nll!.slice(2 * i, 2 * i + 2)],
      expert: columns.expert![i],
      text: tokens.join(" "),
    });
  });
});

Deno.test("showRows() leaves out what the rows lack, and text where there is no tokenizer", async () => {
  assertEquals(
    (await Array.fromAsync(showRows(shard()))).map(({ text }) => text),
    new Array(5).fill(undefined),
  );
  const { sequence, length, rows } = makeColumns(1);
  const bare = arrowBytes(ReadableStream.from([toBatch({ rows, sequence, length }, LINEAGE)]));
  const [row] = await Array.fromAsync(showRows(bare, SPELLING));
  assertEquals(JSON.parse(JSON.stringify(row)), { sequence: String(2n ** 60n), length: 2 });
});

Deno.test("showRows() decodes with no other tokenizer than the one that made the rows: it refuses, or leaves text out", async () => {
  const other = { ...SPELLING, sha256: "cd34" };
  const error = await assertRejects(() => Array.fromAsync(showRows(shard(), other)), InputError);
  assertEquals(
    error.message,
    "Cannot show the text of these rows as its tokenizer must be the one that made it: " +
      "it is cd34, that one is ab12; name the tokenizer.json of its run with tokenizer",
  );
  let reported = 0;
  const rows = await Array.fromAsync(showRows(shard(), other, () => reported++));
  assertEquals([reported, rows.map(({ text }) => text)], [1, new Array(5).fill(undefined)]);
  const { tokens: _, ...scores } = makeColumns(2);
  const bare = () => arrowBytes(ReadableStream.from([toBatch(scores, LINEAGE)]));
  // There is nothing to decode.
  assertEquals((await Array.fromAsync(showRows(bare(), other))).length, 2);
});
