import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { checkTokens, fromBatch, readShards, toBatch } from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { readArrow } from "../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../tasks/support.ts";
import { bytesOf, collect, LINEAGE, makeColumns, pipe, stream } from "./support.ts";

Deno.test("toBatch() takes u32 tokens where the vocabulary does not fit 16 bits", () => {
  const wide = toBatch({
    ...makeColumns(2),
    tokens: Uint32Array.from([70000, 1, 2, 3, 4, 5, 6, 7]),
  }, {
    ...LINEAGE,
    vocabulary: 70001,
  });
  assertEquals(wide.schema.fields[3].type.toString(), "FixedSizeList[4]<Uint32>");
  assertEquals(fromBatch(wide).tokens![0], 70000);
  const narrow = toBatch({ ...makeColumns(1), tokens: Uint32Array.of(1, 2, 3, 4) }, {
    ...LINEAGE,
    vocabulary: 65536,
  });
  assertEquals(fromBatch(narrow).tokens, Uint16Array.of(1, 2, 3, 4));
});

Deno.test("readShards() stops with both values where shards come from two tokenizers", () =>
  inFolder(async (folder) => {
    await writeArrowFile(`${folder}/a`, stream(toBatch(makeColumns(2), LINEAGE)));
    await writeArrowFile(
      `${folder}/b`,
      stream(toBatch(makeColumns(2), { ...LINEAGE, tokenizer: "ff" })),
    );
    const error = await assertRejects(
      () => collect(readShards([`${folder}/a`, `${folder}/b`])),
      InputError,
      "tokenizer",
    );
    assertStringIncludes(error.message, "ff in the former, ab12 in the latter");
  }));

Deno.test("fromBatch() reads slices at any offset, which can be written again", async () => {
  const batch = toBatch(makeColumns(9), LINEAGE);
  for (const [begin, end] of [[1, 8], [3, 4], [5, 5], [0, 9], [8, 9]]) {
    const slice = batch.slice(begin, end);
    assertEquals(fromBatch(slice), sliceColumns(makeColumns(9), begin, end));
    const [again] = await collect(readArrow(pipe(await bytesOf(arrowBytes(stream(slice))))));
    assertEquals(again, sliceColumns(makeColumns(9), begin, end));
  }
});

Deno.test("fromBatch() names the row of a token id that the vocabulary lacks", () => {
  const batch = toBatch(
    { ...makeColumns(2), tokens: Uint16Array.of(1, 2, 3, 4, 5, 6, 499, 500) },
    LINEAGE,
  );
  assertThrows(
    () => fromBatch(batch),
    InputError,
    "row 1, as token ids must be below the vocabulary: id is 500, vocabulary is 500",
  );
  assertThrows(() => checkTokens(makeColumns(2), 7, "x"), InputError, "id is 7");
});
