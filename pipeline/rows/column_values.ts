/**
 * Takes the values out of one Arrow column, whoever wrote it, and checks them: integers, floats, texts and lists.
 *
 * @module
 */

import { Binary, BinaryView, type Data, DataType, LargeBinary, Vector } from "apache-arrow/Arrow.dom";
import { InputError } from "../../kernels/errors.ts";
import { unreadable } from "../run/files.ts";
import { orUnreadable } from "./ipc/library.ts";

/** A column being read: its data, and what to call it in messages. */
export interface Column {
  name: string;
  data: Data;
  where: string;
}

function wrongType({ name, data, where }: Column, expected: string): InputError {
  return unreadable(where, `column "${name}" must hold ${expected}`, `its type is ${data.type}`);
}

function refuseNulls({ name, data, where }: Column): void {
  if (data.nullCount === 0) return;
  let row = 0;
  while (row < data.length - 1 && data.getValid(row)) row++;
  throw unreadable(`${where}, row ${row},`, `column "${name}" must have no null values`, "it is null");
}

/** Gives the values of a flat column, and checks that they are all there and that none is null. */
function valuesOf(column: Column): ArrayLike<number | bigint> {
  refuseNulls(column);
  return slotsOf(column);
}

/** Gives the values of a flat column, and checks that they are all there; those of nulls are anything. */
function slotsOf({ name, data, where }: Column): ArrayLike<number | bigint> {
  const values = data.values ?? [];
  if (values.length < data.length) {
    const rule = `the buffer of column "${name}" must hold ${data.length} values`;
    throw unreadable(where, rule, `it holds ${values.length}`);
  }
  return values.length === data.length ? values : values.subarray(0, data.length);
}

/**
 * Gives the items of a list column as one flat column. All lists must have one length; that of a fixed-size
 * list is part of its type.
 */
export function items(column: Column): Column {
  refuseNulls(column);
  const { name, data, where } = column;
  const [child] = data.children;
  if (DataType.isFixedSizeList(data.type)) {
    const wanted = data.length * data.type.listSize;
    if (child.length < wanted) {
      throw unreadable(where, `column "${name}" must hold ${wanted} items`, `it holds ${child.length}`);
    }
    return { name, data: child.length === wanted ? child : child.slice(0, wanted), where };
  }
  if (!DataType.isList(data.type) && !DataType.isLargeList(data.type)) {
    throw wrongType(column, "lists of one length");
  }
  const offsets = data.valueOffsets as Int32Array | BigInt64Array;
  const at = (row: number) => Number(offsets[row]);
  const size = data.length > 0 ? at(1) - at(0) : 0;
  for (let row = 0; row < data.length; row++) {
    if (at(row + 1) - at(row) === size) continue;
    const fact = `this one has ${at(row + 1) - at(row)}, the first ${size}`;
    throw unreadable(`${where}, row ${row},`, `lists of column "${name}" must have one length`, fact);
  }
  const begin = data.length > 0 ? at(0) : 0;
  const end = begin + size * data.length;
  if (begin < 0 || end > child.length) {
    const rule = `lists of column "${name}" must lie within their ${child.length} items`;
    throw unreadable(where, rule, `they lie from ${begin} to ${end}`);
  }
  return { name, data: child.slice(begin, end - begin), where };
}

/** Gives the lists of a column as views of its items. */
export function lists(column: Column): ArrayLike<number | bigint>[] {
  refuseNulls(column);
  const { name, data, where } = column;
  const [child] = data.children;
  const item = { name, data: child, where };
  if (!DataType.isInt(child.type)) throw wrongType(column, "lists of integers");
  const values = valuesOf(item) as Uint32Array;
  const size = DataType.isFixedSizeList(data.type) ? data.type.listSize : undefined;
  const at = (row: number) => size === undefined ? Number(data.valueOffsets[row]) : row * size;
  return Array.from({ length: data.length }, (_, row) => {
    const [begin, end] = [at(row), at(row + 1)];
    if (begin >= 0 && begin <= end && end <= values.length) return values.subarray(begin, end);
    const rule = `lists of column "${name}" must lie within their ${values.length} items`;
    throw unreadable(`${where}, row ${row},`, rule, `it lies from ${begin} to ${end}`);
  });
}

/** An array that a column of integers can be converted to. */
export type IntegerArray =
  | typeof Uint16Array
  | typeof Uint32Array
  | typeof Int32Array
  | typeof BigUint64Array;

/**
 * Gives an integer column as a `Target`. Where the type is the same, this is the column itself; otherwise
 * every value is checked and converted.
 */
export function integers<T extends IntegerArray>(column: Column, Target: T): InstanceType<T> {
  const { name, data, where } = column;
  if (!DataType.isInt(data.type)) throw wrongType(column, "integers");
  const values = valuesOf(column);
  if (values instanceof Target) return values as InstanceType<T>;
  const isWider = !data.type.isSigned && data.type.bitWidth < 8 * Target.BYTES_PER_ELEMENT;
  if (isWider && Target !== BigUint64Array) {
    return new (Target as Uint32ArrayConstructor)(values as Uint32Array) as InstanceType<T>;
  }
  const result = new Target(values.length);
  const limit = 2 ** (8 * Target.BYTES_PER_ELEMENT - (result instanceof Int32Array ? 1 : 0));
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value < 0 || value >= limit) {
      const rule = `column "${name}" must hold integers from 0 to ${BigInt(limit) - 1n}`;
      throw unreadable(where, rule, `value ${row} is ${value}`);
    }
    result[row] = result instanceof BigUint64Array ? BigInt(value) : Number(value);
  }
  return result as InstanceType<T>;
}

export function tokenIds(column: Column): Uint16Array | Uint32Array {
  const { bitWidth = 32 } = column.data.type as { bitWidth?: number };
  return integers(column, bitWidth <= 16 ? Uint16Array : Uint32Array);
}

export function floats(column: Column): Float32Array {
  const type = column.data.type;
  if (!DataType.isFloat(type) || type.precision === 0) throw wrongType(column, "lists of float32 or float64");
  const values = valuesOf(column);
  return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
}

/** Gives a column of float64. */
export function doubles(column: Column): Float64Array {
  const values = valuesOf(column);
  if (values instanceof Float64Array) return values;
  throw wrongType(column, "float64");
}

/** Gives a column of texts. */
export function strings(column: Column): string[] {
  refuseNulls(column);
  return texts(column) as string[];
}

/** Gives a column of labels: texts, numbers, or true and false; null where there is none. */
export function labels(column: Column): unknown[] {
  const { data } = column;
  const { isBool, isFloat, isInt, isNull } = DataType;
  if ([isBool, isFloat, isInt, isNull].some((isOne) => isOne(data.type))) return [...new Vector([data])];
  return texts(column, "strings, numbers, or true and false");
}

function texts(column: Column, expected = "strings"): (string | null)[] {
  const { name, data, where } = column;
  const isThere = (row: number) => data.nullCount === 0 || data.getValid(row);
  if (DataType.isDictionary(data.type)) {
    const vector = data.dictionary!;
    const words = vector.data.flatMap((part: Data) => strings({ name, data: part, where }));
    return Array.from(slotsOf({ name, data: data.clone(data.type.indices), where }), (index, row) => {
      const word = isThere(row) ? words[Number(index)] : null;
      if (word !== undefined) return word;
      throw unreadable(where, `indices of column "${name}" must be below ${words.length}`, `one is ${index}`);
    });
  }
  const { isUtf8, isLargeUtf8, isUtf8View } = DataType, { type } = data;
  const bytes = isUtf8(type) ? new Binary() : isLargeUtf8(type) ? new LargeBinary() : new BinaryView();
  if (!isUtf8(type) && !isLargeUtf8(type) && !isUtf8View(type)) throw wrongType(column, expected);
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const decode = (value: Uint8Array | null, row: number) => {
    if (!isThere(row)) return null;
    try {
      return strict.decode(value!);
    } catch {
      throw unreadable(`${where}, row ${row},`, `column "${name}" must hold text in UTF-8`, "it does not");
    }
  };
  return orUnreadable(where, () => Array.from(new Vector<DataType>([data.clone(bytes)]), decode));
}
