/**
 * What the Arrow library lacks: Zstandard, errors that say where something is wrong, and the bytes of a batch as soon as it is written.
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
import { zstdDecompressSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { oneLine, unreadable } from "../../run/files.ts";

const zstd = { decode: (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes)) };
compressionRegistry.set(CompressionType.ZSTD, zstd);

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
