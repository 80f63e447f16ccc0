/**
 * Checks what the Arrow library takes for granted: whether the lengths, offsets and counts of a
 * batch agree with each other, with its schema and with its body. Values are not checked: any bits
 * are a number.
 *
 * @module
 */

import {
  compressionRegistry,
  DataType,
  DateUnit,
  type Dictionary,
  type Field,
  type Message,
  type Schema,
} from "apache-arrow/Arrow.dom";
import { unreadable } from "../../graph/files.ts";

/** Where a column's values lie in the body of its batch; of a list, those of its items. */
export interface Place {
  offset: number; // byte of the body where they begin
  nulls: number; // null values among them
}

/** The header of a batch's message, or of the values of a dictionary. */
export interface BatchHeader {
  length: number;
  nodes: { length: number; nullCount: number }[];
  buffers: Region[];
  compression: { type: number } | null;
  variadicBufferCounts: number[];
}

/** Where a buffer lies in its body. */
interface Region {
  offset: number;
  length: number;
}

/** A batch to check. */
interface BatchToCheck {
  where: string; // its name in errors
  columns: readonly Column[]; // by its schema
  header: BatchHeader;
  bodyLength: number;
  /** Its body. Without it offsets and indices in it are not checked. */
  body?: Uint8Array;
  /** How many values each dictionary has so far, by its id. */
  dictionaries?: ReadonlyMap<number, number>;
}

type Column = Pick<Field, "name" | "type">;

/** Checks the batches of a file or stream in their order, as a dictionary counts for later ones. */
export class LayoutChecks {
  readonly #dictionaries = new Map<number, number>(); // how many values they have, by id
  #compression?: number | null; // of the first batch that has bytes

  /** Throws where a message and its body do not agree with each other or with the schema. */
  check(where: string, schema: Schema, message: Message, body: Uint8Array): void {
    const { bodyLength } = message;
    const dictionaries = this.#dictionaries;
    if (!message.isDictionaryBatch()) {
      const header = message.header() as BatchHeader;
      const { fields: columns } = schema;
      this.#checkCompression(where, header, body);
      checkLayout({ where, columns, header, bodyLength, body, dictionaries });
      return;
    }
    const { id, isDelta, data: header } = message.header();
    const type = schema.dictionaries.get(id);
    if (!type) {
      throw unreadable(where, "a dictionary must be of a column", `none has dictionary ${id}`);
    }
    const columns = [{ name: `dictionary ${id}`, type }];
    this.#checkCompression(where, header, body);
    checkLayout({ where, columns, header, bodyLength, body, dictionaries });
    dictionaries.set(id, header.length + (isDelta ? dictionaries.get(id) ?? 0 : 0));
  }

  #checkCompression(where: string, { compression }: BatchHeader, body: Uint8Array): void {
    if (body.length === 0) return;
    const type = compression?.type ?? null;
    if (this.#compression === undefined) this.#compression = type;
    if (this.#compression === type) return;
    const fact = "it is compressed in another way than the first";
    throw unreadable(where, "all batches must be compressed alike", fact);
  }
}

/**
 * Throws where a batch does not agree with itself or with its schema. Returns the places of the
 * columns by name, up to the first column whose layout is not known here, such as a union.
 */
export function checkLayout(batch: BatchToCheck): Map<string, Place> {
  const places = new Map<string, Place>();
  const walk = new ColumnWalk(batch);
  const isKnown = batch.columns.every((column) => {
    const place = walk.check(column, batch.header.length);
    if (place) places.set(column.name, place);
    return place !== undefined;
  });
  if (isKnown) walk.end();
  checkRegions(batch);
  return places;
}

/** Bytes to which writers align buffers, each writer to one of them. */
const ALIGNMENTS = [8, 16, 32, 64];

/** Throws unless buffers follow one another, aligned, and fill the body. */
function checkRegions({ where, header, bodyLength }: BatchToCheck): void {
  const used = header.buffers.filter(({ length }) => length > 0);
  const isFilled = ALIGNMENTS.some((alignment) => {
    let end = 0;
    for (const { offset, length } of used) {
      if (offset !== end) return false;
      end = Math.ceil((offset + length) / alignment) * alignment;
    }
    return end === bodyLength;
  });
  if (isFilled) return;
  const rule = "its buffers must follow one another and fill its body";
  throw unreadable(where, rule, "they leave gaps or overlap");
}

/** Goes through the columns of a batch and what they consist of, in the order of the format. */
class ColumnWalk {
  #node = 0;
  #buffer = 0;
  #variadic = 0;

  constructor(private readonly batch: BatchToCheck) {}

  /**
   * Checks a column of so many rows, and its children. Returns undefined where its layout is not
   * known.
   */
  check({ name, type }: Column, rows?: number): Place | undefined {
    const { where, header, body } = this.batch;
    const { length, nullCount } = this.#nextNode() ?? { length: -1, nullCount: 0 };
    const rule = "its columns must be as long as it";
    if (length < 0 || rows !== undefined && length !== rows) {
      const fact = `it has ${header.length} rows, column "${name}" has ${length} of ${rows}`;
      throw unreadable(where, rule, fact);
    }
    if (nullCount < 0 || nullCount > length) {
      throw unreadable(where, rule, `column "${name}" has ${nullCount} null values of ${length}`);
    }
    const stored: DataType = DataType.isDictionary(type) ? type.indices : type;
    const sizes = leastBytes(stored, length);
    if (sizes === undefined) return undefined;
    if (nullCount === 0 && sizes.length > 0) sizes[0] = 0;
    const regions = sizes.map((needed) => this.#nextRegion(name, length, needed));
    const isView = DataType.isUtf8View(stored) || DataType.isBinaryView(stored);
    const views = isView ? this.#nextViews(name, length) : [];
    const children = (stored.children ?? []) as Field[];
    if (body && length > 0) {
      const validity = regions.length > 0 ? this.#bytes(regions[0]) : new Uint8Array();
      checkValidity(this.#place(name), validity, length, nullCount);
      if (hasOffsets(stored)) {
        const isList = children.length > 0;
        const most = isList ? header.nodes[this.#node]?.length ?? 0 : this.#size(regions[2]);
        checkOffsets(this.#place(name), offsetsOf(stored, this.#bytes(regions[1])), length, most);
      }
      const isValid = (row: number) => nullCount === 0 || (validity[row >> 3] >> row % 8 & 1) === 1;
      if (isView) {
        const sizes = views.map((view) => this.#size(view));
        checkViews(this.#place(name), this.#bytes(regions[1]), length, sizes, isValid);
      }
      if (DataType.isDictionary(type)) {
        this.#checkIndices(name, type, this.#bytes(regions[1]), length, isValid);
      }
    }
    const place = { offset: regions.at(-1)?.offset ?? 0, nulls: nullCount };
    for (const child of children) {
      const childRows = DataType.isFixedSizeList(stored)
        ? length * stored.listSize
        : DataType.isStruct(stored)
        ? length
        : undefined;
      const inner = this.check({ name, type: child.type }, childRows);
      if (!inner) return undefined;
      place.offset = inner.offset;
      place.nulls += inner.nulls;
    }
    return place;
  }

  /** Throws where a batch has more than its columns. */
  end(): void {
    const { where, header: { nodes, buffers, variadicBufferCounts } } = this.batch;
    const counts: [what: string, used: number, has: number][] = [
      ["columns and lists", this.#node, nodes.length],
      ["buffers", this.#buffer, buffers.length],
      ["counts of buffers of views", this.#variadic, variadicBufferCounts.length],
    ];
    for (const [parts, used, has] of counts) {
      if (used === has) continue;
      throw unreadable(where, `it must have ${used} ${parts}, as its schema says`, `it has ${has}`);
    }
  }

  #place = (name: string): string => `${this.batch.where}, column "${name}"`;
  #nextNode = () => this.batch.header.nodes[this.#node++];

  /** Takes the next buffer, which must hold so many bytes. */
  #nextRegion(name: string, rows: number, needed: number): Region {
    const { where, header: { buffers, compression }, body } = this.batch;
    const region = buffers[this.#buffer++] ?? { offset: 0, length: 0 };
    const size = compression === null || body ? this.#size(region) : needed;
    if (size >= needed) return region;
    throw unreadable(
      where,
      `the buffers of column "${name}" must hold ${rows} values`,
      `one has ${size} bytes, they take ${needed}`,
    );
  }

  /** Takes the buffers of the texts of a column of views. */
  #nextViews(name: string, rows: number): Region[] {
    const count = this.batch.header.variadicBufferCounts[this.#variadic++] ?? 0;
    const left = this.batch.header.buffers.length - this.#buffer;
    if (count >= 0 && count <= left) {
      return Array.from({ length: count }, () => this.#nextRegion(name, rows, 0));
    }
    const rule = `column "${name}" must have the buffers of its texts`;
    throw unreadable(this.batch.where, rule, `it has ${count} of ${left}`);
  }

  /** Uncompressed bytes of a buffer. A compressed one begins with them, else with -1. */
  #size({ offset, length }: Region): number {
    const { header: { compression }, body } = this.batch;
    if (compression === null || length === 0) return length;
    if (length < COMPRESSED_PREFIX) return -1;
    const view = new DataView(body!.buffer, body!.byteOffset + offset, COMPRESSED_PREFIX);
    const size = Number(view.getBigInt64(0, true));
    return size === -1 ? length - COMPRESSED_PREFIX : size;
  }

  /** Reads a buffer, uncompressed. */
  #bytes(region: Region): Uint8Array {
    const { header: { compression }, body } = this.batch;
    const stored = body!.subarray(region.offset, region.offset + region.length);
    if (compression === null || region.length === 0) return stored;
    const compressed = stored.slice(COMPRESSED_PREFIX);
    const isPlain = new DataView(stored.buffer, stored.byteOffset).getBigInt64(0, true) === -1n;
    const bytes = isPlain
      ? compressed
      : compressionRegistry.get(compression.type)!.decode!(compressed);
    if (bytes.length === this.#size(region)) return bytes;
    throw new RangeError(`a buffer has ${bytes.length} bytes, it names ${this.#size(region)}`);
  }

  /** Throws where an index leaves its dictionary. */
  #checkIndices(
    name: string,
    { id, indices }: Dictionary,
    bytes: Uint8Array,
    rows: number,
    isValid: (row: number) => boolean,
  ): void {
    const count = this.batch.dictionaries?.get(id) ?? 0;
    const values = new indices.ArrayType(bytes.buffer as ArrayBuffer, bytes.byteOffset, rows);
    for (let row = 0; row < rows; row++) {
      if (values[row] >= 0 && values[row] < count || !isValid(row)) continue;
      const rule = `its indices must be below ${count}, the number of values of its dictionary`;
      throw unreadable(this.#place(name), rule, `one is ${values[row]}`);
    }
  }
}

const COMPRESSED_PREFIX = 8; // bytes before a compressed buffer, which say how many it has

/** Throws where bits do not say of so many rows that they are null. No bits say of none. */
function checkValidity(where: string, bits: Uint8Array, rows: number, nullCount: number): void {
  if (bits.length < Math.ceil(rows / 8)) return; // then no row is null
  let valid = 0;
  for (let byte = 0; byte < rows >> 3; byte++) valid += countBits(bits[byte]);
  if (rows % 8 > 0) valid += countBits(bits[rows >> 3] & (1 << rows % 8) - 1);
  if (rows - valid === nullCount) return;
  const fact = `${rows - valid} are marked, it names ${nullCount}`;
  throw unreadable(where, "as many of its values must be null as it names", fact);
}

function countBits(byte: number): number {
  let count = 0;
  for (let bits = byte; bits > 0; bits &= bits - 1) count++;
  return count;
}

const hasOffsets = (type: DataType): boolean =>
  [DataType.isUtf8, DataType.isBinary, DataType.isList, DataType.isMap].some((matches) =>
    matches(type)
  ) ||
  isLarge(type);

const isLarge = (type: DataType): boolean =>
  DataType.isLargeUtf8(type) || DataType.isLargeBinary(type) || DataType.isLargeList(type);

const offsetsOf = (type: DataType, { buffer, byteOffset, length }: Uint8Array) =>
  isLarge(type)
    ? new BigInt64Array(buffer, byteOffset, length >> 3)
    : new Int32Array(buffer, byteOffset, length >> 2);

/** Throws unless offsets rise from 0 or more to at most so many. */
function checkOffsets(
  where: string,
  offsets: Int32Array | BigInt64Array,
  rows: number,
  most: number,
): void {
  let previous: number | bigint = offsets[0];
  for (let row = 1; row <= rows && previous >= 0; row++) {
    previous = offsets[row] < previous ? -1 : offsets[row];
  }
  if (previous >= 0 && previous <= most) return;
  const fact = previous < 0 ? "they do not" : `the last is ${previous}`;
  throw unreadable(where, `its offsets must rise from 0 to at most ${most}`, fact);
}

const VIEW = 16; // bytes of a view: its length, then the text if it is short, else where that lies
const SHORT = 12; // bytes of a text that lies in its view

/** Throws where a view leaves the buffers of its texts, of these sizes. */
function checkViews(
  where: string,
  bytes: Uint8Array,
  rows: number,
  sizes: readonly number[],
  isValid: (row: number) => boolean,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let row = 0; row < rows; row++) {
    if (!isValid(row)) continue;
    const length = view.getInt32(VIEW * row, true);
    if (length >= 0 && length <= SHORT) continue;
    const buffer = view.getInt32(VIEW * row + 8, true);
    const offset = view.getInt32(VIEW * row + 12, true);
    if (length >= 0 && offset >= 0 && offset + length <= (sizes[buffer] ?? -1)) continue;
    const fact = `in row ${row} one of ${length} bytes leaves buffer ${buffer}`;
    throw unreadable(where, "its views must lie in its buffers", fact);
  }
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
  if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) return [validity, length * VIEW];
  if (DataType.isList(type) || DataType.isMap(type)) return [validity, offsets(4)];
  if (DataType.isLargeList(type)) return [validity, offsets(8)];
  if (DataType.isFixedSizeList(type) || DataType.isStruct(type)) return [validity];
  if (DataType.isNull(type)) return [];
  if (DataType.isUnion(type)) return undefined;
  if (DataType.isBool(type)) return [validity, validity];
  if (DataType.isDecimal(type)) return [validity, length * type.bitWidth / 8];
  if (DataType.isTime(type)) return [validity, length * type.bitWidth / 8];
  if (DataType.isFixedSizeBinary(type)) return [validity, length * type.byteWidth];
  if (DataType.isDate(type)) return [validity, length * (type.unit === DateUnit.DAY ? 4 : 8)];
  if (DataType.isTimestamp(type) || DataType.isDuration(type)) return [validity, length * 8];
  return [validity, 0]; // the other types have one buffer of values
}
