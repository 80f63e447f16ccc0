import { assert, assertEquals, assertRejects } from "@std/assert";
import { MessageHeader, MetadataVersion } from "apache-arrow";
import { Endianness } from "apache-arrow/fb/endianness";
import { Message as Metadata } from "apache-arrow/fb/message";
import { Schema } from "apache-arrow/fb/schema";
import { Builder } from "flatbuffers";
import { InputError } from "../../../../kernels/errors.ts";
import { readArrow, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { arrowBytes, writeArrowFile } from "../../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../../tasks/support.ts";
import { bytesOf, columnsOf, LINEAGE, pipe, stream } from "../support.ts";

Deno.test("readArrow() refuses vectors in metadata that are longer than it, in messages and in footers", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`, batch = toBatch(columnsOf(3), LINEAGE);
    await writeArrowFile(path, stream(batch));
    const file = await Deno.readFile(path), pipes = await bytesOf(arrowBytes(stream(batch)));
    const metadata = new DataView(pipes.buffer).getInt32(4, true);
    const batchMetadata = new DataView(pipes.buffer).getInt32(8 + metadata + 4, true);
    const footer = new DataView(file.buffer).getInt32(file.length - 10, true);
    const refusals = async (bytes: Uint8Array<ArrayBuffer>, begin: number, end: number, length: number) => {
      let count = 0;
      for (let at = begin; at + 4 <= end; at += 4) {
        const damaged = bytes.slice();
        new DataView(damaged.buffer).setInt32(at, length, true);
        if (bytes === file) await Deno.writeFile(path, damaged);
        const input = bytes === file ? path : pipe(damaged);
        const message = await Array.fromAsync(readArrow(input)).then(() => "", (error) => {
          assert(error instanceof InputError, `${error}`);
          return error.message;
        });
        if (/a list of -?\d+ elements leaves/.test(message)) count++;
      }
      return count;
    };
    for (const length of [2 ** 20, 2 ** 31 - 1, -1]) {
      assert(await refusals(pipes, 8, 8 + metadata, length) >= 3);
      assert(await refusals(pipes, 16 + metadata, 16 + metadata + batchMetadata, length) >= 2);
      assert(await refusals(file, file.length - 10 - footer, file.length - 10, length) >= 3);
    }
  }));

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
