/**
 * Random access to the rows of shards. Rows are numbered from 0 through all files in their order,
 * and a row is read by its number.
 *
 * Arrow files and streams of any writer will do, as long as they are not compressed: then a row of
 * a column of numbers, or of fixed-size lists of them, is a few bytes at a known offset. Memory
 * grows with the number of batches, not of rows.
 *
 * @module
 */

import { DataType, type Float, type Int, makeData } from "apache-arrow/Arrow.dom";
import { crc32 } from "node:zlib";
import { openToRead, unreadable } from "../graph/files.ts";
import { checkLengths, checkTokens, type Columns, needColumn, type RecordBatch } from "./arrow.ts";
import { readFloats, readIntegers, readStrings } from "./column_values.ts";
import { ARRAYS } from "./columns.ts";
import { type BatchHeader, checkLayout } from "./ipc/layout.ts";
import { orUnreadable } from "./ipc/library.ts";
import { type IpcMessage, messagesIn, readAt } from "./ipc/messages.ts";
import { decode } from "./ipc/read.ts";
import { checkLineage, type Lineage, pickIdentity, readLineage } from "./lineage.ts";

/** Names a column of numbers, or of lists of them, whose rows have fixed places. */
export type Numeric = keyof typeof ARRAYS;
const NUMERIC = Object.keys(ARRAYS) as Numeric[];
/** Columns of rows that were read. */
export type Read<Name extends Numeric | "source"> =
  & Required<Pick<Columns, Extract<Name, keyof Columns> | "rows">>
  & { [Key in Exclude<Name, keyof Columns>]: InstanceType<typeof ARRAYS[Key]> };

const OPEN_FILES = 64; // at a time
const PIECE = 2 ** 20; // bytes that are read at once for a checksum

type Span = Pick<IpcMessage, "offset" | "end">; // bytes of a file, from `offset` to `end`

/** A batch with rows. */
interface Batch extends Span {
  shard: Shard;
  where: string; // its name in messages
  rows: number;
  first: number; // the number of its first row
  places: number[]; // where values of the columns of `NUMERIC` begin in the file
  dictionaries: readonly Span[]; // messages of the dictionaries that it uses
  crc?: number; // its CRC-32, if known
  isChecked?: boolean; // whether the CRC-32 was right
}

/** An open file. */
interface Shard {
  path: string;
  size: number; // its size in bytes
  identity: string; // device, inode, size and time: another file in its place differs
  empty: RecordBatch; // a batch without rows: its schema
  schema: Uint8Array; // the message of its schema
  batches: Batch[];
}

/**
 * Opens shards: the metadata of their messages is read, their bodies are not. `checksums` holds for
 * each path, as far as they are known, the `batches` of what was written. What is in no batch is
 * checked now, a batch when a row of it is first read.
 *
 * Throws an `InputError`, which says where, if a file is no whole Arrow data or compressed, or if a
 * checksum is another one. Also if files differ in the types of columns or in what {@linkcode
 * checkLineage} compares.
 */
export async function openRows(
  paths: readonly string[],
  { checksums }: { checksums?: ReadonlyMap<string, readonly number[]> } = {},
): Promise<Rows> {
  const shards: Shard[] = [];
  for (const path of paths) {
    using file = await openToRead(path);
    const shard = await scan(file, path);
    const expected = checksums?.get(path);
    const [first = shard] = shards;
    if (expected) noteChecksums(file, shard, expected);
    checkLineage(shard.empty, pickIdentity(readLineage(first.empty)), first.path);
    for (const name of NUMERIC) {
      const [type, wanted] = [shard, first].map(({ empty }) =>
        String(columnType(empty, name) ?? "none")
      );
      if (type === wanted) continue;
      const rule = `column "${name}" must have one type in all files`;
      throw unreadable(path, rule, `it is ${type}, in "${first.path}" it is ${wanted}`);
    }
    shards.push(shard);
  }
  return new Rows(shards);
}

/** Rows of shards that are open. Disposing of them closes the files. */
export class Rows implements Disposable {
  /** Number of rows. */
  readonly count: number;
  /** Where they come from, as the first file says; null where another tool wrote it. */
  readonly lineage: Lineage | null;
  #all = 0; // rows in all files
  readonly #shards: readonly Shard[];
  readonly #batches: readonly Batch[];
  #decoded: { batch?: Batch; sources: string[] } = { sources: [] };

  /**
   * @ignore {@linkcode openRows} makes them; with `only`, of all rows those with these numbers.
   * `files` are those that are open.
   */
  constructor(
    shards: readonly Shard[],
    private readonly only?: Float64Array,
    private readonly files: Map<Shard, Deno.FsFile> = new Map(),
  ) {
    this.#shards = shards;
    this.#batches = shards.flatMap(({ batches }) => batches);
    for (const batch of this.#batches) this.#all = (batch.first = this.#all) + batch.rows;
    this.count = only?.length ?? this.#all;
    this.lineage = shards.length > 0 ? readLineage(shards[0].empty) : null;
  }

  /** Whether rows have a column. */
  has(name: Numeric): boolean {
    return this.#shards.length > 0 && columnType(this.#shards[0].empty, name) !== undefined;
  }

  /** Lists the numbers of rows, `from` up to `to` or to the last row. */
  numbers(from = 0, to: number = this.count): Float64Array {
    const numbers = new Float64Array(Math.max(0, Math.min(to, this.count) - from));
    for (let i = 0; i < numbers.length; i++) numbers[i] = from + i;
    return numbers;
  }

  /**
   * Selects the rows with these numbers, and numbers them anew from 0 in their order. Both share
   * open files: closing one closes those of the other.
   */
  some(numbers: Float64Array): Rows {
    return new Rows(this.#shards, this.#readNumbers(numbers) as Float64Array, this.files);
  }

  /**
   * Reads columns of the rows with these numbers, in their order; of tokens the first `width`, or
   * all. These are u16 or u32, as they are in the files. Rows that follow one another are read at
   * once. Sources cost the most: a batch is decoded for each row that is not in the batch of the
   * row before.
   *
   * Throws an `InputError`, which says where, if a file has no such column or one that cannot be
   * read by row. Also if a checksum is another one, or a value is impossible. Throws a `RangeError`
   * where there is no row with a number.
   */
  read<Name extends Numeric | "source">(
    numbers: ArrayLike<number>,
    names: readonly Name[],
    width = Infinity,
  ): Read<Name> {
    const isWidth = width === Infinity || Number.isInteger(width) && width >= 1;
    if (!isWidth) {
      throw new RangeError(
        `Cannot read rows as their width must be 1 or more tokens: it is ${width}`,
      );
    }
    const places = this.#readNumbers(numbers);
    const read = (name: Numeric | "source") =>
      name === "source"
        ? Array.from(places, (number) => this.#readSource(number))
        : this.#readColumn(name, places, width);
    const columns = Object.fromEntries(names.map((name) => [name, read(name)]));
    return { rows: numbers.length, ...columns } as Read<Name>;
  }

  #readColumn(name: Numeric, numbers: ArrayLike<number>, most: number) {
    const { item, width: all } = findLayout(this.#shards[0], name);
    const rows = numbers.length;
    const width = name === "tokens" ? Math.min(most, all) : all;
    const Type = name === "tokens" && item.bitWidth <= 16 ? Uint16Array : ARRAYS[name];
    const target = new Type(rows * width);
    const column = NUMERIC.indexOf(name);
    const bytes = item.ArrayType.BYTES_PER_ELEMENT;
    for (let i = 0, run: number; i < rows; i += run) {
      const { batch, row } = this.#find(numbers[i]);
      run = 1; // rows that follow one another
      while (numbers[i + run] === numbers[i] + run && row + run < batch.rows) run++;
      const length = (run - 1) * all + width;
      const offset = batch.places[column] + row * all * bytes;
      const read = new item.ArrayType(readAt(this.#open(batch), offset, length * bytes).buffer);
      const data = makeData({ type: item as Int, length, data: read, nullCount: 0 });
      const runColumn = { name, data, where: batch.where };
      const values = Type === Float32Array
        ? readFloats(runColumn)
        : readIntegers(runColumn, Type as typeof Uint32Array);
      if (width === all) {
        (target as Uint32Array).set(values as Uint32Array, i * width);
        continue;
      }
      for (let k = 0; k < run; k++) {
        const some = values.subarray(k * all, k * all + width);
        (target as Uint32Array).set(some as Uint32Array, (i + k) * width);
      }
    }
    const place = (i: number) => {
      const { batch, row } = this.#find(numbers[i]);
      return `${batch.where}, row ${row},`;
    };
    const values = target as Uint32Array;
    const { vocabulary } = this.lineage ?? {};
    if (name === "tokens" && vocabulary) checkTokens({ rows, tokens: values }, vocabulary, place);
    if (name === "length") {
      checkLengths(values, columnType(this.#shards[0].empty, "tokens")?.listSize, place);
    }
    return target;
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const file of this.files.values()) file.close();
    this.files.clear();
  }

  /** Translates row numbers into those of the files. */
  #readNumbers(numbers: ArrayLike<number>): ArrayLike<number> {
    return this.only ? Float64Array.from(numbers, (number) => this.only![number] ?? NaN) : numbers;
  }

  #find(number: number): { batch: Batch; row: number } {
    if (!(number >= 0 && number < this.#all)) {
      throw new RangeError(
        `Cannot read row ${number} as there must be one with this number: there are ${this.count}`,
      );
    }
    let low = 0;
    let high = this.#batches.length;
    while (high - low > 1) {
      const middle = low + high >> 1;
      if (this.#batches[middle].first <= number) low = middle;
      else high = middle;
    }
    const batch = this.#batches[low];
    return { batch, row: number - batch.first };
  }

  /** Opens the file of a batch, and checks the batch if it was not touched before. */
  #open(batch: Batch): Deno.FsFile {
    let file = this.files.get(batch.shard);
    if (!file) {
      if (this.files.size === OPEN_FILES) {
        const [[oldest, open]] = this.files;
        open.close();
        this.files.delete(oldest);
      }
      this.files.set(batch.shard, file = reopen(batch.shard));
    }
    if (batch.crc !== undefined && !batch.isChecked) {
      checkChecksum(batch.where, checksum(file, [batch]), batch.crc);
      batch.isChecked = true;
    }
    return file;
  }

  #readSource(number: number): string {
    const { batch, row } = this.#find(number);
    if (this.#decoded.batch !== batch) {
      const file = this.#open(batch);
      const messages = [...batch.dictionaries, batch].map(({ offset, end }) =>
        readAt(file, offset, end - offset)
      );
      const decoded = decode(batch.where, [batch.shard.schema, ...messages]);
      this.#decoded = { batch, sources: readStrings(needColumn(decoded, "source")) };
    }
    return this.#decoded.sources[row];
  }
}

const identify = ({ dev, ino, size, mtime }: Deno.FileInfo) =>
  `${dev} ${ino} ${size} ${Number(mtime)}`;

/**
 * Opens a file again. If another file has replaced it, each batch is checked again; without
 * checksums that is an error.
 */
function reopen(shard: Shard): Deno.FsFile {
  const { path, batches } = shard;
  const file = Deno.openSync(path);
  const stat = file.statSync();
  if (identify(stat) === shard.identity) return file;
  if (stat.size !== shard.size || batches.some(({ crc }) => crc === undefined)) {
    file.close();
    throw unreadable(path, "it must stay as it is while it is read", "another file took its place");
  }
  for (const batch of batches) batch.isChecked = false;
  shard.identity = identify(stat);
  return file;
}

/** Finds the batches of a file. */
async function scan(file: Deno.FsFile, path: string): Promise<Shard> {
  const stat = file.statSync();
  const { size, isFile } = stat;
  if (!isFile) throw unreadable(path, `it must be a file, ${BY_NUMBER}`, "it is none");
  const messages = messagesIn(file, size, path);
  const { value: { head: schema } } = await messages.next();
  const batches: Batch[] = [];
  const empty = decode(path, [schema]);
  const shard: Shard = { path, size, identity: identify(stat), empty, schema, batches };
  const dictionaries = new Map<number, Span[]>(); // by id; a delta is added, anything else replaces
  for await (const { message, where, offset, start, end } of messages) {
    if (message.isDictionaryBatch()) {
      const { id, isDelta } = message.header();
      dictionaries.set(id, [...isDelta ? dictionaries.get(id) ?? [] : [], { offset, end }]);
      continue;
    }
    const header = message.header() as BatchHeader;
    const { length: rows, compression } = header;
    if (compression !== null) {
      const remedy = "write it without compression, as pyarrow.ipc.new_file does by default";
      throw unreadable(where, `it must not be compressed, ${BY_NUMBER}`, "it is", { remedy });
    }
    const { fields: columns } = empty.schema;
    const { bodyLength } = message;
    const layout = orUnreadable(
      where,
      () => checkLayout({ where, columns, header, bodyLength }),
    );
    const places = NUMERIC.map((name) => {
      if (!columnType(empty, name)) return NaN;
      const place = layout.get(name);
      if (!place) {
        throw unreadable(where, `column "${name}" must come before any union`, "it does not");
      }
      if (place.nulls === 0) return start + place.offset;
      throw unreadable(where, `column "${name}" must have no null values`, `it has ${place.nulls}`);
    });
    const spans = [...dictionaries.values()].flat();
    if (rows > 0) {
      batches.push({ shard, where, rows, first: 0, places, dictionaries: spans, offset, end });
    }
  }
  return shard;
}

const BY_NUMBER = "so that rows can be read by their number";

function columnType(
  { schema }: RecordBatch,
  name: string,
): DataType & { listSize?: number } | undefined {
  return schema.fields.find((field) => field.name === name)?.type;
}

/**
 * Returns the type of a column's values, and how many a row has. Throws an `InputError` where rows
 * have no fixed places.
 */
function findLayout(
  { path, empty }: Shard,
  name: Numeric,
): { item: (Int | Float) & { bitWidth: number }; width: number } {
  const { type } = needColumn(empty, name, path).data;
  const isList = DataType.isFixedSizeList(type);
  const mustBeList = name === "tokens" || name === "nll";
  const item: DataType = isList ? type.children[0].type : type;
  const isFloat = ARRAYS[name] === Float32Array;
  if (isList === mustBeList && (isFloat ? DataType.isFloat(item) : DataType.isInt(item))) {
    return { item: item as Int, width: isList ? type.listSize : 1 };
  }
  const values = `${mustBeList ? "fixed-size lists of " : ""}${isFloat ? "floats" : "integers"}`;
  const remedy = mustBeList
    ? "pad its lists to one length, and write them with that in their type"
    : undefined;
  throw unreadable(
    path,
    `column "${name}" must hold ${values}, ${BY_NUMBER}`,
    `its type is ${type}`,
    {
      remedy,
    },
  );
}

/** Notes the checksums of a file's batches, and checks the bytes between them now. */
function noteChecksums(file: Deno.FsFile, shard: Shard, expected: readonly number[]): void {
  const { path, batches } = shard;
  if (expected.length !== batches.length + 1) {
    const fact = `it has ${batches.length}, its maker noted ${expected.length - 1}`;
    throw unreadable(path, "it must have as many batches as were written", fact);
  }
  checkChecksum(path, checksum(file, betweenBatches(shard)), expected[batches.length]);
  batches.forEach((batch, i) => batch.crc = expected[i]);
}

function checkChecksum(where: string, actual: number, expected: number): void {
  if (actual === expected) return;
  const fact = `its CRC-32 is ${actual}, its maker noted ${expected}`;
  throw unreadable(where, "it must be as it was made", fact);
}

/** Computes the CRC-32 of bytes of a file, one span after another. */
function checksum(file: Deno.FsFile, spans: readonly Span[]): number {
  let value = 0;
  for (const { offset, end } of spans) {
    for (let at = offset; at < end; at += PIECE) {
      value = crc32(readAt(file, at, Math.min(PIECE, end - at)), value);
    }
  }
  return value;
}

/** Lists the spans of a file that belong to no batch. */
const betweenBatches = ({ batches, size }: Shard): Span[] =>
  [0, ...batches.map(({ end }) => end)].map((offset, i) => ({
    offset,
    end: batches[i]?.offset ?? size,
  }));
