/**
 * What the Arrow library lacks: Zstandard, a check of the lengths that a message gives, errors that say where, and the bytes of a
 * batch as soon as it is written.
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
import { ByteBuffer } from "flatbuffers";
import { zstdDecompressSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { oneLine, unreadable } from "../../run/files.ts";

const zstd = { decode: (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes)) };
compressionRegistry.set(CompressionType.ZSTD, zstd);

// A damaged count in a message would have the library loop, and allocate, up to 2^31 times: nothing is checked by
// flatbuffers for JavaScript. Delete this when it has a verifier.
const vectorLength = ByteBuffer.prototype.__vector_len;
ByteBuffer.prototype.__vector_len = function (offset) {
  const length = vectorLength.call(this, offset);
  if (length >= 0 && length <= this.capacity()) return length;
  throw new RangeError(`a list of ${length} elements leaves the ${this.capacity()} bytes of its message`);
};

/** Runs a call into the library; what it throws becomes one line that says where. */
export function orUnreadable<T>(where: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw unreadable(where, "it must be whole Arrow data", oneLine(error));
  }
}

/** Opens a writer. What this returns gives the bytes written since its last call, as views of the batches' memory. */
export function openWriter(writer: RecordBatchWriter, schema: Schema): () => Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const sink = new AsyncByteQueue<Uint8Array>();
  sink.write = (chunk) => void chunks.push(chunk as Uint8Array);
  writer.reset(sink, schema);
  return () => chunks.splice(0);
}
