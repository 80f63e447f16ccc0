import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { tableFromIPC } from "@uwdata/flechette";
import { RecordBatchReader } from "apache-arrow";
import { createHash } from "node:crypto";
import { type Columns, emptyBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../../pipeline/rows/columns.ts";
import { readArrow } from "../../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../../tasks/support.ts";
import { bytesOf, LINEAGE, makeColumns, pipe, stream } from "../support.ts";

/** A type as flechette describes it. */
interface Described {
  typeId: number;
  bitWidth?: number;
  stride?: number;
  signed?: boolean;
  precision?: number;
  children?: { type: Described }[];
}

function checkWithFlechette(bytes: Uint8Array, columns: Columns) {
  const table = tableFromIPC(bytes, { useBigInt: true });
  const metadata = Object.fromEntries(table.schema.metadata ?? []);
  assertEquals(metadata["smalltalk.format"], "1");
  assertEquals(metadata["smalltalk.seed"], "9007199254740991");
  assertEquals(metadata["smalltalk.tokenizer"], "ab12");
  const types = table.schema.fields.map(({ name, type, nullable }) => {
    const { typeId, bitWidth, stride, signed, children: [item] = [] } =
      type as unknown as Described;
    const of = item?.type;
    return [name, typeId, bitWidth ?? stride, signed, of?.bitWidth ?? of?.precision, nullable].join(
      " ",
    );
  });
  // Type ids of Schema.fbs: 2 Int, 5 Utf8, 16 FixedSizeList; float precision 1 is 32 bits.
  assertEquals(types, [
    "sequence 2 64 false  false",
    "document 2 64 false  false",
    "source 5    false",
    "tokens 16 4  16 false",
    "length 2 32 false  false",
    "nll 16 2  1 false",
    "expert 2 16 false  false",
  ]);
  assertEquals(table.numRows, columns.rows);
  const rows = table.toArray();
  for (let i = 0; i < columns.rows; i++) {
    assertEquals(rows[i].sequence, columns.sequence[i]);
    assertEquals(rows[i].document, columns.document![i]);
    assertEquals(rows[i].source, columns.source![i]);
    assertEquals([...rows[i].tokens], [...columns.tokens!.subarray(4 * i, 4 * i + 4)]);
    assertEquals(rows[i].length, columns.length[i]);
    assertEquals([...rows[i].nll], [...columns.nll!.subarray(2 * i, 2 * i + 2)]);
    assertEquals(rows[i].expert, columns.expert![i]);
  }
}

Deno.test("arrowBytes() writes what an independent reader reads, schema, metadata and values", async () => {
  const columns = makeColumns(11);
  const parts = [
    sliceColumns(columns, 0, 5),
    sliceColumns(columns, 5, 5),
    sliceColumns(columns, 5, 11),
  ];
  checkWithFlechette(
    await bytesOf(arrowBytes(stream(...parts.map((part) => toBatch(part, LINEAGE))))),
    columns,
  );
  checkWithFlechette(
    await bytesOf(arrowBytes(stream(), toBatch(makeColumns(0), LINEAGE))),
    makeColumns(0),
  );
});

Deno.test("writeArrowFile() writes what an independent reader reads, and reports its rows, bytes and hash", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    for (const [rows, closes] of [[7, false], [0, false], [7, true], [0, true]] as const) {
      const batches = stream(toBatch(makeColumns(rows), LINEAGE));
      const { batches: _, ...written } = await writeArrowFile(path, batches, undefined, {
        closes,
      });
      const bytes = await Deno.readFile(path);
      checkWithFlechette(bytes, makeColumns(rows));
      assertEquals(written, {
        rows,
        bytes: bytes.length,
        sha256: createHash("sha256").update(bytes).digest("hex"),
      });
    }
    assertEquals(Array.from(Deno.readDirSync(folder), (entry) => entry.name), ["a.arrow"]);
  }));

Deno.test("a pipe's closing batch is seen by no other reader, nor its announcement by what reads batches here", async () => {
  const written = [
    toBatch(makeColumns(2), LINEAGE),
    toBatch(makeColumns(1, 2), LINEAGE),
  ];
  for (const batches of [written, [emptyBatch(["tokens"], LINEAGE)]]) {
    const bytes = await bytesOf(arrowBytes(stream(...batches)));
    const rows = batches.reduce((sum, { numRows }) => sum + numRows, 0);
    assertEquals(tableFromIPC(bytes, { useBigInt: true }).numRows, rows);
    assertEquals(
      [...RecordBatchReader.from(bytes)].reduce((sum, { numRows }) => sum + numRows, 0),
      rows,
    );
    for await (const batch of readArrow(pipe(bytes))) {
      assertEquals([...batch.schema.metadata], [...batches[0].schema.metadata]);
    }
  }
  await inFolder(async (folder) => { // what comes from a pipe makes the same file as what does not
    const [direct, piped] = [`${folder}/direct`, `${folder}/piped`];
    await writeArrowFile(direct, stream(...written));
    await writeArrowFile(piped, readArrow(arrowBytes(stream(...written))));
    assertEquals(await Deno.readFile(piped), await Deno.readFile(direct));
  });
});

Deno.test("writeArrowFile() leaves nothing behind where its source fails, and passes the error on", () =>
  inFolder(async (folder) => {
    const failing = ReadableStream.from(async function* () {
      yield toBatch(makeColumns(2), LINEAGE);
      await Promise.resolve();
      throw new RangeError("upstream");
    }());
    await assertRejects(() => writeArrowFile(`${folder}/a.arrow`, failing), RangeError, "upstream");
    const other = toBatch({ ...makeColumns(2), expert: undefined }, LINEAGE);
    const mixed = stream(toBatch(makeColumns(2), LINEAGE), other);
    await assertRejects(
      () => writeArrowFile(`${folder}/a.arrow`, mixed),
      InputError,
      "must have one schema",
    );
    await assertRejects(
      () => writeArrowFile(`${folder}/a.arrow`, stream()),
      TypeError,
      "there is none",
    );
    assertEquals([...Deno.readDirSync(folder)], []);
    const error = await assertRejects(
      () => writeArrowFile(`${folder}/no/a.arrow`, stream()),
      Error,
      "Cannot write",
    );
    assertStringIncludes(error.message, `${folder}/no/a.arrow`);
  }));
