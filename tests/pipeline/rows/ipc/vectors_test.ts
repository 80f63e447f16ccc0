import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Message,
  MessageHeader,
  MetadataVersion,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
} from "apache-arrow";
import { Endianness } from "apache-arrow/fb/endianness";
import { Message as Metadata } from "apache-arrow/fb/message";
import { Schema } from "apache-arrow/fb/schema";
import { Builder } from "flatbuffers";
import { InputError } from "../../../../kernels/errors.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { readArrow, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { checkFooterVectors, checkMessageVectors } from "../../../../pipeline/rows/ipc/vectors.ts";
import { columnsOf, LINEAGE } from "../support.ts";

const batch = toBatch(columnsOf(3), LINEAGE);

/** Yields the bytes with this value in place of each of their i32s, one after another. */
function* damaged(bytes: Uint8Array, value: number): Generator<Uint8Array> {
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    const copy = bytes.slice();
    new DataView(copy.buffer).setInt32(at, value, true);
    yield copy;
  }
}

/** Counts how many of the damaged bytes are refused for the length of a vector. */
function refusals(check: (bytes: Uint8Array) => void, bytes: Uint8Array, value: number): number {
  let count = 0;
  for (const copy of damaged(bytes, value)) {
    try {
      check(copy);
    } catch (error) {
      if (/a list of -?\d+ elements leaves/.test((error as Error).message)) count++;
    }
  }
  return count;
}

Deno.test("checkMessageVectors() passes what the library writes, and refuses lengths beyond the message", () => {
  const messages: Uint8Array[] = [Message.encode(Message.from(batch.schema))];
  const writer = new RecordBatchStreamWriter();
  writer.write(batch);
  const bytes = writer.finish().toUint8Array(true);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  // ff ff ff ff, the length of the metadata, and the metadata: the schema first, which has no body
  const schemaEnd = 8 + view.getInt32(4, true);
  messages.push(bytes.slice(schemaEnd + 8, schemaEnd + 8 + view.getInt32(schemaEnd + 4, true)));
  for (const metadata of messages) {
    checkMessageVectors(metadata);
    for (const length of [metadata.length + 1, 2 ** 31 - 1, -1]) {
      assert(refusals(checkMessageVectors, metadata, length) >= 2, `${length}`);
    }
  }
});

Deno.test("checkFooterVectors() refuses lengths beyond the footer", () => {
  const bytes = RecordBatchFileWriter.writeAll([batch]).toUint8Array(true);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getInt32(bytes.length - 10, true);
  const footer = bytes.slice(bytes.length - 10 - length, bytes.length - 10);
  checkFooterVectors(footer);
  assert(refusals(checkFooterVectors, footer, 2 ** 31 - 1) >= 3);
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
    "Cannot read big.arrows, batch 0 as it must be whole Arrow data: its numbers are big-endian; write it on a machine",
  );
});
