/**
 * Checks what the Arrow library takes for granted: that the columns and buffers of a batch are as long as its
 * rows need.
 *
 * @module
 */

import { DataType, type Message, type Schema } from "apache-arrow/Arrow.dom";
import { unreadable } from "../../run/files.ts";
import { OURS } from "./marks.ts";

/** Throws where a column of a batch has another number of rows than the batch says, or a buffer is too short for them. */
export function checkNodes(where: string, { fields, metadata }: Schema, message: Message): void {
  const isOurs = metadata.has(OURS);
  const { length, nodes, buffers, compression } = message.header() as MessageBatch;
  const rule = "its columns must be as long as it";
  let [node, buffer] = [0, 0];
  /** Checks a column and the columns in it, and returns false where it cannot go on. */
  const visit = (name: string, type: DataType, rows: number | undefined): boolean => {
    const { length: own, nullCount } = nodes[node++] ?? { length: -1, nullCount: 0 };
    if (own < 0 || rows !== undefined && own !== rows) {
      throw unreadable(where, rule, `it has ${length} rows, column "${name}" has ${own} of ${rows}`);
    }
    if (nullCount < 0 || nullCount > own) {
      throw unreadable(where, rule, `column "${name}" has ${nullCount} null values of ${own}`);
    }
    const stored = DataType.isDictionary(type) ? type.indices : type;
    const isList = DataType.isList(stored) || DataType.isFixedSizeList(stored);
    const sizes = bytesOf(stored, own);
    if (sizes === undefined) return false;
    if (nullCount === 0) sizes[0] = 0;
    const slack = isOurs ? PADDING : Infinity; // other writers may keep room behind their values
    for (const needed of sizes) {
      const has = buffers[buffer++]?.length ?? 0;
      if (compression === null && (has < needed || needed > 0 && has - needed >= slack)) {
        throw unreadable(
          where,
          `the buffers of column "${name}" must hold ${own} values`,
          `one has ${has} bytes, they take ${needed}`,
        );
      }
    }
    const child = isList ? stored.children[0] : undefined;
    if (!child) return !isList;
    const fixed = DataType.isFixedSizeList(stored) ? own * stored.listSize : undefined;
    return visit(name, child.type, fixed);
  };
  if (fields.every(({ name, type }) => visit(name, type, length)) && node !== nodes.length) {
    throw unreadable(
      where,
      `it must have ${node} columns and lists, as its schema says`,
      `it has ${nodes.length}`,
    );
  }
}

const PADDING = 64; // bytes; a buffer of ours has less of it

/** What a message says of a batch. */
interface MessageBatch {
  length: number;
  nodes: { length: number; nullCount: number }[];
  buffers: { offset: number; length: number }[];
  compression: unknown;
}

/** Lists the bytes that the buffers of a column take at least, validity first; undefined for types that are no column of ours. */
function bytesOf(type: DataType, length: number): number[] | undefined {
  const validity = Math.ceil(length / 8);
  const offsets = (bytes: number) => length === 0 ? 0 : (length + 1) * bytes;
  if (DataType.isInt(type)) return [validity, length * type.bitWidth / 8];
  if (DataType.isFloat(type)) return [validity, length * (2 << type.precision)];
  if (DataType.isUtf8(type)) return [validity, offsets(4), 0];
  if (DataType.isLargeUtf8(type)) return [validity, offsets(8), 0];
  if (DataType.isList(type)) return [validity, offsets(4)];
  if (DataType.isFixedSizeList(type)) return [validity];
}
