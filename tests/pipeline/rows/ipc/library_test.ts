import { assert, assertEquals, assertRejects } from "@std/assert";
import { MessageHeader, MetadataVersion } from "apache-arrow";
import { Endianness } from "apache-arrow/fb/endianness";
import { Message as Metadata } from "apache-arrow/fb/message";
import { Schema } from "apache-arrow/fb/schema";
import { Builder } from "flatbuffers";
import { InputError } from "../../../../kernels/errors.ts";
import { readArrow, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { arrowBytes } from "../../../../pipeline/rows/ipc/write.ts";
import { bytesOf, LINEAGE, listLearnedColumns, pipe, stream } from "../support.ts";

Deno.test("readArrow() refuses vectors in metadata that are longer than it", async () => {
  const bytes = await bytesOf(arrowBytes(stream(toBatch(listLearnedColumns(3), LINEAGE))));
  const view = new DataView(bytes.buffer), schema = view.getInt32(4, true);
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
