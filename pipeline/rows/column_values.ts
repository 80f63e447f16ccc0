/**
 * Takes the values out of one Arrow column, whoever wrote it, and checks them: integers, floats,
 * texts and lists.
 *
 * @module
 */

import {
  Binary,
  BinaryView,
  type Data,
  DataType,
  LargeBinary,
  Vector,
} from "apache-arrow/Arrow.dom";
import type { InputError } from "../../kernels/errors.ts";
import { unreadable } from "../graph/files.ts";
import { orUnreadable } from "./ipc/library.ts";

/** A column being read: its data, and what to call it in messages. */
export interface ArrowColumn {
  name: string;
  data: Data;
  where: string;
}

function wrongType({ name, data, where }: ArrowColumn, expected: string): InputError {
  return unreadable(where, `column "${name}" must hold ${expected}`, `its type is ${data.type}`);
}

function refuseNulls({ name, data, where }: ArrowColumn): void {
  if (data.nullCount === 0) return;
  let row = 0;
  while (row < data.length - 1 && data.getValid(row)) row++;
  throw unreadable(
    `${where}, row ${row},`,
    `column "${name}" must have no null values`,
    "it is null",
  );
}

/** Returns the numbers of a flat column, and checks that none is missing. Nulls have any number. */
function readSlots({ name, data, where }: ArrowColumn): ArrayLike<number | bigint> {
  const values = data.values ?? new Uint8Array(); // a column of nulls has none
  if (values.length >= data.length) return values.subarray(0, data.length);
  const rule = `the buffer of column "${name}" must hold ${data.length} values`;
  throw unreadable(where, rule, `it holds ${values.length}`);
}

/** Returns the numbers of a flat column, and checks that none is null. */
function readNumbers(column: ArrowColumn): ArrayLike<number | bigint> {
  refuseNulls(column);
  return readSlots(column);
}

/** Returns where each row's list begins among the items, and where the last one ends. */
function listBounds(column: ArrowColumn): Float64Array {
  refuseNulls(column);
  const { name, where, data: { type, length, valueOffsets, children: [child] } } = column;
  const isFixed = DataType.isFixedSizeList(type);
  if (!isFixed && !DataType.isList(type) && !DataType.isLargeList(type)) {
    throw wrongType(column, "lists of one length");
  }
  const bounds = new Float64Array(length + 1).map((_, row) =>
    isFixed ? row * type.listSize : length === 0 ? 0 : Number(valueOffsets[row])
  );
  for (let row = 0; row < length; row++) {
    const [begin, end] = [bounds[row], bounds[row + 1]];
    if (begin >= 0 && begin <= end && end <= child.length) continue;
    const rule = `lists of column "${name}" must lie within their ${child.length} items`;
    throw unreadable(`${where}, row ${row},`, rule, `it lies from ${begin} to ${end}`);
  }
  return bounds;
}

/** Returns the items of a list column as one flat column. All lists must have one length. */
export function listItems(column: ArrowColumn): ArrowColumn {
  const { name, where, data: { length, children: [child] } } = column;
  const bounds = listBounds(column);
  const size = length > 0 ? bounds[1] - bounds[0] : 0;
  for (let row = 0; row < length; row++) {
    const rowSize = bounds[row + 1] - bounds[row];
    if (rowSize === size) continue;
    const rule = `lists of column "${name}" must have one length`;
    throw unreadable(`${where}, row ${row},`, rule, `this one has ${rowSize}, the first ${size}`);
  }
  return { name, data: child.slice(bounds[0], size * length), where };
}

/** An array that a column of integers can be converted to. */
type IntegerArray = typeof Uint16Array | typeof Uint32Array | typeof BigUint64Array;

/**
 * Reads a column of integers as a `Target`. Where the types are the same this is a view; otherwise
 * every value is checked and converted.
 */
export function readIntegers<T extends IntegerArray>(
  column: ArrowColumn,
  Target: T,
): InstanceType<T> {
  const { name, data, where } = column;
  if (!DataType.isInt(data.type)) throw wrongType(column, "integers");
  const values = readNumbers(column);
  if (values instanceof Target) return values as InstanceType<T>;
  const isWider = !data.type.isSigned && data.type.bitWidth < 8 * Target.BYTES_PER_ELEMENT;
  if (isWider && Target !== BigUint64Array) {
    return new (Target as Uint32ArrayConstructor)(values as Uint32Array) as InstanceType<T>;
  }
  const result = new Target(values.length);
  const limit = 2 ** (8 * Target.BYTES_PER_ELEMENT);
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

/** Reads a column of token ids, as u16 where its type has at most 16 bits. */
export function readTokenIds(column: ArrowColumn): Uint16Array | Uint32Array {
  const { bitWidth = 32 } = column.data.type as { bitWidth?: number };
  return readIntegers(column, bitWidth <= 16 ? Uint16Array : Uint32Array);
}

/** Reads a column of floats as float32. */
export function readFloats(column: ArrowColumn): Float32Array {
  const type = column.data.type;
  if (!DataType.isFloat(type) || type.precision === 0) {
    throw wrongType(column, "lists of float32 or float64");
  }
  const values = readNumbers(column);
  return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
}

/** Reads a column of float64. */
export function readDoubles(column: ArrowColumn): Float64Array {
  const values = readNumbers(column);
  if (values instanceof Float64Array) return values;
  throw wrongType(column, "float64");
}

/** Reads a column of texts. */
export function readStrings(column: ArrowColumn): string[] {
  refuseNulls(column);
  return texts(column, "strings") as string[];
}

/** Reads a column of texts, numbers, booleans or lists of integers; null where a value is null. */
export function columnValues(column: ArrowColumn): ArrayLike<unknown> {
  const { name, where, data } = column;
  const { type, children: [child] } = data;
  if (child && DataType.isInt(child.type)) {
    const bounds = listBounds(column);
    const values = readNumbers({ name, data: child, where }) as Uint32Array;
    return Array.from(
      { length: data.length },
      (_, row) => values.subarray(bounds[row], bounds[row + 1]),
    );
  }
  const { isBool, isFloat, isInt, isNull } = DataType;
  if ([isBool, isFloat, isInt, isNull].some((isOne) => isOne(type))) return [...new Vector([data])];
  return texts(column, "strings, numbers, or true and false");
}

const WORDS = new WeakMap<Data, string[]>(); // of parts of dictionaries, which batches share

/** Reads texts in UTF-8; null where a value is null. */
function texts(column: ArrowColumn, expected: string): (string | null)[] {
  const { name, data, where } = column;
  const isThere = (row: number) => data.nullCount === 0 || data.getValid(row);
  if (DataType.isDictionary(data.type)) {
    const words = data.dictionary!.data.flatMap((data) =>
      WORDS.getOrInsertComputed(data, () => readStrings({ name, data, where }))
    );
    return Array.from(
      readSlots({ name, data: data.clone(data.type.indices), where }),
      (index, row) => {
        const word = isThere(row) ? words[Number(index)] : null;
        if (word !== undefined) return word;
        throw unreadable(
          where,
          `indices of column "${name}" must be below ${words.length}`,
          `one is ${index}`,
        );
      },
    );
  }
  const { isUtf8, isLargeUtf8, isUtf8View } = DataType;
  const { type } = data;
  const bytes = isUtf8(type)
    ? new Binary()
    : isLargeUtf8(type)
    ? new LargeBinary()
    : new BinaryView();
  if (!isUtf8(type) && !isLargeUtf8(type) && !isUtf8View(type)) throw wrongType(column, expected);
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const ascii = isUtf8(type) && data.nullCount === 0 ? asciiTexts(data, strict) : undefined;
  if (ascii) return ascii;
  const decode = (value: Uint8Array | null, row: number) => {
    if (!isThere(row)) return null;
    try {
      return strict.decode(value!);
    } catch {
      throw unreadable(
        `${where}, row ${row},`,
        `column "${name}" must hold text in UTF-8`,
        "it does not",
      );
    }
  };
  return orUnreadable(where, () => Array.from(new Vector<DataType>([data.clone(bytes)]), decode));
}

/** Most bytes of a column that are decoded at once, because strings have a limit. */
const MOST_AT_ONCE = 2 ** 26;

/**
 * Reads a column of ASCII: one call decodes all texts, which are then cut out of the result.
 * Returns undefined where characters are not ASCII, or damaged.
 */
function asciiTexts(
  { valueOffsets, values, length }: Data,
  decoder: TextDecoder,
): string[] | undefined {
  const first = valueOffsets[0];
  const bytes = values.subarray(first, valueOffsets[length]);
  if (length < 2 || bytes.length > MOST_AT_ONCE) return undefined;
  let all: string;
  try {
    all = decoder.decode(bytes);
  } catch {
    return undefined; // the caller decodes text by text, and so finds the row
  }
  if (all.length < bytes.length) return undefined;
  const texts = new Array<string>(length);
  for (let row = 0; row < length; row++) {
    texts[row] = all.slice(valueOffsets[row] - first, valueOffsets[row + 1] - first);
  }
  return texts;
}
