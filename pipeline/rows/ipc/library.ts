/**
 * What the Arrow library lacks: Zstandard, errors that say where something is wrong, and the bytes
 * of a batch as soon as it is written.
 *
 * @module
 */

import {
  AsyncByteQueue,
  compressionRegistry,
  CompressionType,
  type RecordBatchWriter,
  type Schema,
} from "apache-arrow/Arrow.dom";
import { Endianness } from "apache-arrow/fb/endianness";
import { Schema as Metadata } from "apache-arrow/fb/schema";
import { ByteBuffer } from "flatbuffers";
import { zstdDecompressSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { oneLine, unreadable } from "../../graph/files.ts";

const zstd = { decode: (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes)) };
compressionRegistry.set(CompressionType.ZSTD, zstd);

// Flatbuffers for JavaScript checks nothing: a damaged length of a vector would let the library
// loop, and allocate, up to 2^31 times. Delete this when flatbuffers has a verifier.
const { __vector_len } = ByteBuffer.prototype;
ByteBuffer.prototype.__vector_len = function (offset) {
  const length = __vector_len.call(this, offset);
  if (length >= 0 && length <= this.capacity()) return length;
  throw new RangeError(
    `a list of ${length} elements leaves the ${this.capacity()} bytes of its message`,
  );
};

// The library does not look at the order of bytes. Delete this when it does.
const { fieldsLength } = Metadata.prototype;
Metadata.prototype.fieldsLength = function () {
  if (this.endianness() !== Endianness.Big) return fieldsLength.call(this);
  throw new TypeError("its numbers are big-endian; write it on a machine that is little-endian");
};

/** Runs a call into the library. Turns its errors into one line that says where. */
export function orUnreadable<T>(where: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw unreadable(where, "it must be whole Arrow data", oneLine(error));
  }
}

/**
 * Opens a writer. Returns a function that takes the bytes written since its last call, as views.
 */
export function openWriter(writer: RecordBatchWriter, schema: Schema): () => Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const sink = new AsyncByteQueue<Uint8Array>();
  sink.write = (chunk) => void chunks.push(chunk as Uint8Array);
  writer.reset(sink, schema);
  return () => chunks.splice(0);
}
