import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  Message,
  MessageHeader,
  MetadataVersion,
  RecordBatch,
  RecordBatchStreamWriter,
} from "apache-arrow";
import { Endianness } from "apache-arrow/fb/endianness";
import { Message as Metadata } from "apache-arrow/fb/message";
import { Schema } from "apache-arrow/fb/schema";
import { Builder } from "flatbuffers";
import { InputError } from "../../../../kernels/errors.ts";
import { readArrow, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { arrowBytes } from "../../../../pipeline/rows/ipc/write.ts";
import { bytesOf, collect, LINEAGE, makeColumns, pipe, stream } from "../support.ts";

Deno.test("readArrow() refuses vectors in metadata that are longer than it", async () => {
  const bytes = await bytesOf(arrowBytes(stream(toBatch(makeColumns(3), LINEAGE))));
  const view = new DataView(bytes.buffer);
  const schema = view.getInt32(4, true);
  const refusals = async (begin: number, size: number, length: number) => {
    let count = 0;
    for (let at = begin; at + 4 <= begin + size; at += 4) {
      const damaged = bytes.slice();
      new DataView(damaged.buffer).setInt32(at, length, true);
      const message = await Array.fromAsync(readArrow(pipe(damaged))).then(() => "", (error) => {
        assert(error instanceof InputError, `${error}`);
        return error.message;
      });
      if (/a list of -?\d+ elements leaves/.test(message)) count++;
    }
    return count;
  };
  for (const length of [2 ** 20, 2 ** 31 - 1, -1]) {
    assert(await refusals(8, schema, length) >= 3);
    assert(await refusals(16 + schema, view.getInt32(8 + schema + 4, true), length) >= 2);
  }
});

/** Makes a stream of a schema without columns that says how the bytes of numbers lie. */
function streamOf(endianness: Endianness): ReadableStream<Uint8Array> {
  const builder = new Builder();
  const fields = Schema.createFieldsVector(builder, []);
  Schema.startSchema(builder);
  Schema.addEndianness(builder, endianness);
  Schema.addFields(builder, fields);
  const schema = Schema.endSchema(builder);
  Metadata.startMessage(builder);
  Metadata.addVersion(builder, MetadataVersion.V5);
  Metadata.addHeaderType(builder, MessageHeader.Schema);
  Metadata.addHeader(builder, schema);
  builder.finish(Metadata.endMessage(builder));
  const metadata = builder.asUint8Array();
  return ReadableStream.from([
    joinBytes([new Uint8Array(Int32Array.of(-1, metadata.length).buffer), metadata]),
    new Uint8Array(Int32Array.of(-1, 0).buffer),
  ]);
}

Deno.test("readArrow() refuses numbers that are big-endian, which the library would take for others", async () => {
  const [batch] = await Array.fromAsync(readArrow(streamOf(Endianness.Little)));
  assertEquals(batch.numRows, 0);
  await assertRejects(
    () => Array.fromAsync(readArrow(streamOf(Endianness.Big), "big.arrows")),
    InputError,
    "Cannot read big.arrows as it must be whole Arrow data: its numbers are big-endian; write it on a machine",
  );
});

/** Rewrites the messages of a stream: `change` may alter a batch's header. */
function rewrite(
  batch: RecordBatch,
  change: (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void,
) {
  class Writer extends RecordBatchStreamWriter {
    protected override _writeMessage(message: Message): this {
      const header = message.header() as unknown as Parameters<typeof change>[0];
      if (message.isRecordBatch()) change(header);
      return super._writeMessage(message as never);
    }
  }
  const writer = new Writer();
  writer.write(batch);
  writer.close();
  return writer.toUint8Array(true) as Uint8Array<ArrayBuffer>;
}
type Node = { length: number; nullCount: number };
type Region = { offset: number; length: number };

Deno.test("readArrow() refuses batches that say less, or more, than they hold", async () => {
  const batch = toBatch(makeColumns(40), LINEAGE);
  const cases: [
    string,
    (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void,
  ][] = [
    ['it has 20 rows, column "sequence" has 40', (header) => header._length = 20],
    ["it has 41 rows", (header) => header._length = 41],
    ['column "sequence" has 39 of 40', (header) => header._nodes[0] = { length: 39, nullCount: 0 }],
    [
      'column "tokens" has 120 of 160',
      (header) => header._nodes[4] = { length: 120, nullCount: 0 },
    ],
    ["41 null values of 40", (header) => header._nodes[0] = { length: 40, nullCount: 41 }],
    ["they take 320", (header) => header._buffers[1].length = 300],
    ["leaves its body", (header) => header._buffers[3].offset = 1e6],
    ["columns and lists", (header) => header._nodes.push({ length: 40, nullCount: 0 })],
    ["buffers, as its schema says", (header) => header._buffers.push({ offset: 0, length: 0 })],
    ["they leave gaps or overlap", (header) => header._buffers[1].offset += 8],
  ];
  await collect(readArrow(pipe(rewrite(batch, () => {}))));
  for (const [message, change] of cases) {
    const bytes = rewrite(batch, change);
    const read = await collect(readArrow(pipe(bytes))).catch((error) => error.message);
    assertStringIncludes(String(read), message);
  }
});
