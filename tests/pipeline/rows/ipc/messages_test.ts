import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  Dictionary,
  Int32,
  RecordBatchFileWriter,
  Table,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { FileBlock, Footer } from "apache-arrow/ipc/metadata/file";
import { toBatch } from "../../../../pipeline/rows/arrow.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { takeColumns } from "../../../../pipeline/rows/columns.ts";
import { readArrow } from "../../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../../pipeline/rows/ipc/write.ts";
import { openRows } from "../../../../pipeline/rows/random_access.ts";
import { inFolder } from "../../../tasks/support.ts";
import { bytesOf, collect, foreign, LINEAGE, makeColumns, pipe, stream } from "../support.ts";

/** Begins a file as arrow-rs does: its first message is at byte 64, as its footer tells. */
function alignFirst(bytes: Uint8Array): Uint8Array {
  const length = new DataView(bytes.buffer, bytes.length - 10).getInt32(0, true);
  const footer = Footer.decode(bytes.subarray(-10 - length, -10));
  const batches = Array.from(
    footer.recordBatches(),
    ({ metaDataLength, bodyLength, offset }) =>
      new FileBlock(metaDataLength, bodyLength, offset + 56),
  );
  const moved = Footer.encode(new Footer(footer.schema, footer.version, batches, []));
  return joinBytes([
    bytes.subarray(0, 8),
    new Uint8Array(56),
    bytes.subarray(8, -10 - length),
    moved,
    new Uint8Array(Int32Array.of(moved.length).buffer),
    bytes.subarray(-6),
  ]);
}

Deno.test("readArrow() reads files of writers that leave out the schema message or align the first, and dictionaries", () =>
  inFolder(async (folder) => {
    const batch = foreign({});
    await Deno.writeFile(`${folder}/a`, RecordBatchFileWriter.writeAll([batch]).toUint8Array(true));
    assertEquals((await collect(readArrow(`${folder}/a`)))[0].sequence, BigUint64Array.of(1n, 2n));
    const words = vectorFromArray(["x", "y", "x"], new Dictionary(new Utf8(), new Int32(), 7));
    const ids = vectorFromArray([1, 2, 3], new Int32());
    const lengths = vectorFromArray([2, 2, 2], new Int32());
    const table = new Table({ sequence: ids, source: words, length: lengths });
    await Deno.writeFile(`${folder}/b`, tableToIPC(table, "file"));
    assertEquals((await collect(readArrow(`${folder}/b`)))[0].source, ["x", "y", "x"]);
    await writeArrowFile(`${folder}/c`, stream(toBatch(makeColumns(3), LINEAGE)));
    const bytes = await Deno.readFile(`${folder}/c`);
    await Deno.writeFile(`${folder}/c`, alignFirst(bytes));
    assertEquals(await collect(readArrow(`${folder}/c`)), [makeColumns(3)]);
    using rows = await openRows([`${folder}/c`]);
    assertEquals(
      rows.read([2, 0], ["length"]).length,
      takeColumns(makeColumns(3), [2, 0]).length,
    );
    assertEquals((await collect(readArrow(pipe(tableToIPC(table, "stream")))))[0].source, [
      "x",
      "y",
      "x",
    ]);
  }));

Deno.test("readArrow() refuses a stream cut anywhere, also between messages", async () => {
  const bytes = await bytesOf(
    arrowBytes(
      stream(toBatch(makeColumns(2), LINEAGE), toBatch(makeColumns(2, 2), LINEAGE)),
    ),
  );
  for (let cut = 1; cut < bytes.length; cut += 7) {
    const error = await assertRejects(
      () => collect(readArrow(pipe(bytes.subarray(0, cut)), "standard input")),
      InputError,
    );
    assertStringIncludes(error.message, "Cannot read standard input");
    assert(!error.message.includes("\n"));
  }
  const message = "Cannot read standard input, batch 2 as it must end with Arrow's end marker";
  await assertRejects(
    () => collect(readArrow(pipe(bytes.subarray(0, -8)), "standard input")),
    InputError,
    message,
  );
  await assertRejects(() => collect(readArrow(pipe(new Uint8Array()))), InputError, "it is empty");
  const twice = ReadableStream.from([bytes, bytes]);
  await assertRejects(() => collect(readArrow(twice)), InputError, "more bytes follow");
});

Deno.test("readArrow() and openRows() refuse a file cut anywhere, in either format", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const batch = toBatch(makeColumns(2), LINEAGE);
    await writeArrowFile(path, stream(batch));
    for (
      const bytes of [
        await Deno.readFile(path),
        await bytesOf(arrowBytes(stream(batch), batch, { closes: false })),
      ]
    ) {
      for (let cut = 0; cut < bytes.length; cut += 5) {
        await Deno.writeFile(path, bytes.subarray(0, cut));
        await assertRejects(() => collect(readArrow(path)), InputError, path);
        await assertRejects(() => openRows([path]), InputError, path);
        await assertRejects(() => collect(readArrow(pipe(bytes.subarray(0, cut)))), InputError);
      }
    }
  }));

Deno.test("readArrow() reports what it got where the input is no Arrow data, a folder or missing", async () => {
  const found: [input: string, message: string][] = [
    [
      `{"text": "x"}`,
      "it must be an Arrow stream or file: it is something else, it begins with 7b 22 74 65 78 74 22 3a;",
    ],
    ["hello\n", "it is something else, it begins with 68 65 6c 6c 6f 0a; give what"],
    ["", "it must be an Arrow stream or file: it is empty;"],
    ["ARR", "it is cut short"],
    ["\xff\xff", "it is cut short"],
  ];
  for (const [input, message] of found) {
    const bytes = Uint8Array.from(input, (character) => character.charCodeAt(0));
    const read = () => collect(readArrow(pipe(bytes), "standard input"));
    await assertRejects(read, InputError, message);
  }
  await inFolder(async (folder) => {
    await assertRejects(() => collect(readArrow(folder)), InputError, "it is a folder");
    await assertRejects(() => collect(readArrow(`${folder}/none`)), InputError, "no such file");
  });
});
