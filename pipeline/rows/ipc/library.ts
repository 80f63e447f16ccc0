/**
 * What the Arrow library lacks: Zstandard, errors that say where something is wrong, and the bytes
 * of a batch as soon as it is written. Also checks that the library does not make: whether columns
 * and buffers of a batch are as long as its rows need.
 *
 * @module
 */

import {
  AsyncByteQueue,
  compressionRegistry,
  CompressionType,
  DataType,
  type Field,
  type Message,
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

/** Where a column's values lie in the body of its batch; of a list, those of its items. */
export interface Place {
  offset: number; // byte of the body where they begin
  nulls: number; // null values among them
}

/** The header of a batch's message. */
interface BatchHeader {
  length: number;
  nodes: { length: number; nullCount: number }[];
  buffers: { offset: number; length: number }[];
  compression: unknown;
  variadicBufferCounts: number[];
}

/**
 * Throws where a column has another number of rows than its batch, or a buffer is too short.
 * Returns the places of the columns by name, up to the first column whose layout is not known here,
 * such as a union.
 */
export function checkNodes(
  where: string,
  { fields }: Schema,
  message: Message,
): Map<string, Place> {
  const { length, nodes, buffers, compression, variadicBufferCounts } = message
    .header() as BatchHeader;
  const rule = "its columns must be as long as it";
  const places = new Map<string, Place>();
  let [node, buffer, variadic] = [0, 0, 0];
  /** Checks a column and its children. Returns undefined where its layout is not known. */
  const visit = (
    { name, type }: Pick<Field, "name" | "type">,
    rows?: number,
  ): Place | undefined => {
    const { length: nodeRows, nullCount } = nodes[node++] ?? { length: -1, nullCount: 0 };
    if (nodeRows < 0 || rows !== undefined && nodeRows !== rows) {
      throw unreadable(
        where,
        rule,
        `it has ${length} rows, column "${name}" has ${nodeRows} of ${rows}`,
      );
    }
    if (nullCount < 0 || nullCount > nodeRows) {
      throw unreadable(where, rule, `column "${name}" has ${nullCount} null values of ${nodeRows}`);
    }
    const stored: DataType = DataType.isDictionary(type) ? type.indices : type;
    const sizes = leastBytes(stored, nodeRows);
    if (sizes === undefined) return undefined;
    if (nullCount === 0 && sizes.length > 0) sizes[0] = 0;
    const place = { offset: 0, nulls: nullCount };
    for (const needed of sizes) {
      const { offset, length: has } = buffers[buffer++] ?? { offset: 0, length: 0 };
      if (compression === null && has < needed) {
        throw unreadable(
          where,
          `the buffers of column "${name}" must hold ${nodeRows} values`,
          `one has ${has} bytes, they take ${needed}`,
        );
      }
      place.offset = offset;
    }
    if (DataType.isUtf8View(stored) || DataType.isBinaryView(stored)) {
      buffer += variadicBufferCounts[variadic++];
    }
    for (const child of stored.children as Field[] ?? []) {
      const fixed = DataType.isFixedSizeList(stored) ? nodeRows * stored.listSize : undefined;
      const inner = visit({ name, type: child.type }, fixed);
      if (!inner) return undefined;
      place.offset = inner.offset;
      place.nulls += inner.nulls;
    }
    return place;
  };
  for (const field of fields) {
    const place = visit(field, length);
    if (!place) return places;
    places.set(field.name, place);
  }
  if (node !== nodes.length) {
    throw unreadable(
      where,
      `it must have ${node} columns and lists, as its schema says`,
      `it has ${nodes.length}`,
    );
  }
  return places;
}

/**
 * Lists the fewest bytes of each buffer of a column, validity first. Returns undefined where the
 * layout is not known.
 */
function leastBytes(type: DataType, length: number): number[] | undefined {
  const validity = Math.ceil(length / 8);
  const offsets = (bytes: number) => length === 0 ? 0 : (length + 1) * bytes;
  if (DataType.isInt(type)) return [validity, length * type.bitWidth / 8];
  if (DataType.isFloat(type)) return [validity, length * (2 << type.precision)];
  if (DataType.isUtf8(type) || DataType.isBinary(type)) return [validity, offsets(4), 0];
  if (DataType.isLargeUtf8(type) || DataType.isLargeBinary(type)) return [validity, offsets(8), 0];
  if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) return [validity, length * 16];
  if (DataType.isList(type) || DataType.isMap(type)) return [validity, offsets(4)];
  if (DataType.isLargeList(type)) return [validity, offsets(8)];
  if (DataType.isFixedSizeList(type) || DataType.isStruct(type)) return [validity];
  if (DataType.isNull(type)) return [];
  if (DataType.isUnion(type)) return undefined;
  return [validity, 0]; // the other types have one buffer of values
}
