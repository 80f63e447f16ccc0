/**
 * Checks the lengths of all vectors in the metadata of Arrow messages, and the order of bytes. Flatbuffers for JavaScript checks nothing:
 * a damaged length would let the Arrow library loop, and allocate, up to 2^31 times. Nor does that library look at the order of bytes.
 * Delete this when flatbuffers has a verifier and the library turns bytes round.
 *
 * @module
 */

import { DictionaryBatch } from "apache-arrow/fb/dictionary-batch";
import { Endianness } from "apache-arrow/fb/endianness";
import type { Field } from "apache-arrow/fb/field";
import { Footer } from "apache-arrow/fb/footer";
import { Message } from "apache-arrow/fb/message";
import { MessageHeader } from "apache-arrow/fb/message-header";
import { RecordBatch } from "apache-arrow/fb/record-batch";
import { Schema } from "apache-arrow/fb/schema";
import { ByteBuffer } from "flatbuffers";

/** Bytes in which no vector may have more elements than there are bytes. */
class CheckedBuffer extends ByteBuffer {
  override __vector_len(offset: number): number {
    const length = super.__vector_len(offset);
    if (length >= 0 && length <= this.capacity()) return length;
    throw new RangeError(`a list of ${length} elements leaves the ${this.capacity()} bytes of its message`);
  }
}

/** Throws a `RangeError` where a vector in the metadata of a message has more elements than the metadata has bytes. */
export function checkMessageVectors(metadata: Uint8Array): void {
  const message = Message.getRootAsMessage(new CheckedBuffer(metadata));
  message.customMetadataLength();
  const type = message.headerType();
  if (type === MessageHeader.Schema) checkSchema(message.header(new Schema()));
  else if (type === MessageHeader.RecordBatch) checkBatch(message.header(new RecordBatch()));
  else if (type === MessageHeader.DictionaryBatch) checkBatch(message.header(new DictionaryBatch())?.data());
}

/** Throws a `RangeError` where a vector in the footer of a file has more elements than the footer has bytes. */
export function checkFooterVectors(bytes: Uint8Array): void {
  const footer = Footer.getRootAsFooter(new CheckedBuffer(bytes));
  footer.dictionariesLength();
  footer.recordBatchesLength();
  checkSchema(footer.schema());
}

function checkSchema(schema: Schema | null): void {
  if (schema?.endianness() === Endianness.Big) {
    throw new TypeError("its numbers are big-endian; write it on a machine that is little-endian");
  }
  schema?.customMetadataLength();
  for (let i = 0; i < (schema?.fieldsLength() ?? 0); i++) checkField(schema!.fields(i));
}

function checkField(field: Field | null): void {
  field?.customMetadataLength();
  for (let i = 0; i < (field?.childrenLength() ?? 0); i++) checkField(field!.children(i));
}

function checkBatch(batch: RecordBatch | null | undefined): void {
  batch?.nodesLength();
  batch?.buffersLength();
  batch?.variadicBufferCountsLength();
}
