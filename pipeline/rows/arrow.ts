/**
 * The project's rows as Arrow batches: their schema, and the way to typed arrays and back.
 *
 * The files of the folders `rows/` and `rows/ipc/` that read or make batches, and
 * `export/datasets.ts`, are the only ones that import the Arrow library. They import its build
 * without Node's streams, which nothing here uses and which would cost every task a sixth of its
 * start.
 *
 * @module
 */

import {
  type Data,
  type DataType,
  Field,
  FixedSizeList,
  makeData,
  makeVector,
  RecordBatch as ArrowBatch,
  Schema,
  Struct,
  Utf8,
} from "apache-arrow/Arrow.dom";
import { joinBytes } from "./bytes.ts";
import { ARRAYS, type Columns, roomFor, sliceColumns, takeColumns, tokenArray } from "./columns.ts";
import { unreadable } from "../graph/files.ts";
import { findOrigin, readArrow } from "./ipc/read.ts";
import { ArrowFile, shardName, type WrittenShard } from "./ipc/write.ts";
import {
  type ArrowColumn,
  listItems,
  readFloats,
  readIntegers,
  readStrings,
  readTokenIds,
} from "./column_values.ts";
import { checkLineage, type Lineage, LINEAGE_NAMES, pickIdentity, readLineage } from "./lineage.ts";

/** A batch of rows: Arrow's own type. */
export type RecordBatch = ArrowBatch;

export type { Columns } from "./columns.ts";
export { arrowBatches, type BatchRange, findOrigin, readArrow } from "./ipc/read.ts";
export {
  arrowBytes,
  ArrowFile,
  shardName,
  writeArrowFile,
  type Written,
  type WrittenShard,
} from "./ipc/write.ts";

/**
 * Reads the batches of several files, one file after another. Throws an `InputError` that gives
 * both values where two files differ in tokenizer, S, M, E or routers, and whatever `readArrow`
 * throws.
 */
export function readShards(paths: string[]): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    let first: Partial<Lineage> | undefined;
    for (const path of paths) {
      for await (const batch of readArrow(path, path)) {
        if (first === undefined) first = pickIdentity(readLineage(batch));
        else checkLineage(batch, first, paths[0]);
        yield batch;
      }
    }
  }());
}

/** How shards are cut and named. */
interface ShardOptions {
  folder: string; // must exist
  kind: string; // how the names of shards begin, such as "train"
  lineage: Lineage;
  empty: Columns; // columns without rows, for the schema of a shard without rows
  shardRows: number; // most rows in a shard
  batchRows: number; // most rows in a batch of a shard; memory holds as many
}

/**
 * Writes rows into shards, at least one. The bytes depend on the rows alone, not on how calls group
 * them. Disposing of the writer before it is closed removes the unfinished shard and keeps the
 * others.
 */
export class ShardWriter implements AsyncDisposable {
  readonly #shards: WrittenShard[] = [];
  #file?: ArrowFile; // of the shard that is being written
  #room: number; // rows that it has room for
  #batch?: Columns; // the next batch
  #filled = 0; // rows of it

  constructor(private readonly options: ShardOptions) {
    this.#room = options.shardRows;
  }

  /** Adds the rows at `indices`. */
  async add(columns: Columns, indices: readonly number[]): Promise<void> {
    const { batchRows } = this.options;
    for (let from = 0; from < indices.length;) {
      const left = Math.min(batchRows, this.#room) - this.#filled;
      const some = indices.slice(from, from += left);
      takeColumns(columns, some, this.#batch ??= roomFor(columns, batchRows), this.#filled);
      this.#filled += some.length;
      if (some.length === left) await this.#flush();
    }
  }

  /** Writes the last rows. Returns the shards. */
  async close(): Promise<WrittenShard[]> {
    if (this.#filled > 0 || this.#file || this.#shards.length === 0) await this.#flush(true);
    return this.#shards;
  }

  async #flush(isLast = false): Promise<void> {
    const { folder, kind, lineage, empty, shardRows } = this.options;
    const name = shardName(kind, this.#shards.length);
    const file = this.#file ??= new ArrowFile(`${folder}/${name}`, toBatch(empty, lineage));
    await file.write(toBatch(sliceColumns(this.#batch ?? empty, 0, this.#filled), lineage));
    this.#room -= this.#filled;
    this.#filled = 0;
    if (this.#room > 0 && !isLast) return;
    this.#shards.push({ name, ...await file.close() });
    this.#file = undefined;
    this.#room = shardRows;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.[Symbol.asyncDispose]();
  }
}

/** Columns in the order in which they are written. */
const COLUMNS = [
  "sequence",
  "document",
  "source",
  "tokens",
  "length",
  "begin",
  "nll",
  "expert",
] as const;
const NEEDED: readonly (keyof Columns)[] = ["sequence", "length"];

const field = (name: string, type: DataType) => new Field(name, type, false);

/**
 * Builds a batch from columns without copying numbers. The schema follows from the columns that are
 * there and from S, V and E of `lineage`. Throws a `RangeError` where the length of a column does
 * not fit the rows.
 */
export function toBatch(columns: Columns, lineage: Lineage): RecordBatch {
  const { rows } = columns;
  const sizes: Partial<Record<keyof Columns, number>> = {
    tokens: lineage.sequenceLength ?? 1,
    nll: lineage.experts ?? 1,
  };
  const children: [name: string, data: Data][] = [];
  for (const name of COLUMNS) {
    const values = name === "tokens"
      ? fitTokens(columns.tokens, lineage.vocabulary)
      : columns[name];
    if (values === undefined) continue;
    const listSize = sizes[name] && (rows > 0 ? Math.floor(values.length / rows) : sizes[name]);
    const perRow = listSize ?? 1;
    if (values.length !== rows * perRow || perRow < 1) {
      throw new RangeError(
        `Cannot build a batch as column "${name}" must hold ${
          Math.max(1, perRow)
        } values per row: ` +
          `it holds ${values.length} for ${rows} rows`,
      );
    }
    const flat = flatData(values);
    const data = listSize === undefined ? flat : makeData({
      type: new FixedSizeList(listSize, field("item", flat.type)),
      length: rows,
      nullCount: 0,
      child: flat,
    });
    children.push([name, data]);
  }
  return makeBatch(rows, children, lineage);
}

/** A column with one value per row: texts or numbers. */
type Flat = string[] | Uint16Array | Uint32Array | BigUint64Array | Float32Array | Float64Array;

/**
 * Builds a batch of other columns than those of {@linkcode toBatch}, in their order; all must be of
 * one length.
 */
export function toTable(columns: Record<string, Flat>, lineage: Lineage): RecordBatch {
  const children = Object.entries(columns).map((
    [name, values],
  ): [string, Data] => [name, flatData(values)]);
  return makeBatch(children[0][1].length, children, lineage);
}

function flatData(values: Flat): Data {
  return Array.isArray(values) ? utf8(values) : makeVector(values).data[0];
}

function makeBatch(
  rows: number,
  columns: readonly [name: string, data: Data][],
  lineage: Lineage,
): RecordBatch {
  const fields = columns.map(([name, { type }]) => field(name, type));
  const metadata = new Map<string, string>();
  for (const name of [...LINEAGE_NAMES].sort()) {
    if (lineage[name] !== undefined) metadata.set(`smalltalk.${name}`, String(lineage[name]));
  }
  const type = new Struct(fields);
  return new ArrowBatch(
    new Schema(fields, metadata),
    makeData({ type, length: rows, nullCount: 0, children: columns.map(([, data]) => data) }),
  );
}

/** Builds a batch without rows, so that files without rows have a schema. */
export function emptyBatch(names: (keyof Columns)[], lineage: Lineage): RecordBatch {
  const columns = COLUMNS.filter((name) => NEEDED.includes(name) || names.includes(name))
    .map((name) => [name, name === "source" ? [] : new ARRAYS[name]()]);
  return toBatch({ rows: 0, ...Object.fromEntries(columns) }, lineage);
}

/** Converts tokens to the array type of the vocabulary, if that is known. */
function fitTokens(tokens: Columns["tokens"], vocabulary: number | undefined): Columns["tokens"] {
  if (!tokens || vocabulary === undefined) return tokens;
  const Fitting = tokenArray(vocabulary);
  return tokens instanceof Fitting ? tokens : Fitting.from(tokens);
}

function utf8(strings: string[]): Data<Utf8> {
  const encoder = new TextEncoder();
  const valueOffsets = new Int32Array(strings.length + 1);
  const all = encoder.encode(strings.join(""));
  const characters = strings.reduce((sum, { length }) => sum + length, 0);
  const isAscii = all.length === characters; // so one call encodes all
  const pieces = isAscii ? [all] : strings.map((text) => encoder.encode(text));
  const lengths = isAscii ? strings : pieces;
  for (const [row, { length }] of lengths.entries()) {
    valueOffsets[row + 1] = valueOffsets[row] + length;
  }
  return makeData({
    type: new Utf8(),
    length: strings.length,
    nullCount: 0,
    valueOffsets,
    data: joinBytes(pieces),
  });
}

/**
 * Returns the columns of a batch as typed arrays. Where the types are ours, these are views of the
 * batch's memory. What other writers use instead (other widths of integers and floats, lists of
 * equal length, dictionaries) is converted. Throws an `InputError` where a column is missing
 * (`needed` names further ones that must be there). Also where a column is of another kind, or
 * values are null or impossible.
 */
export function fromBatch(
  batch: RecordBatch,
  where: string = findOrigin(batch),
  needed: readonly (keyof Columns)[] = [],
): Columns {
  const { numRows: rows } = batch;
  const wanted = [...NEEDED, ...needed];
  const entries = COLUMNS.flatMap((name) => {
    const column = (wanted.includes(name) ? needColumn : findColumn)(batch, name, where);
    return column ? [[name, readColumn(name, column)]] : [];
  });
  const columns: Columns = { rows, ...Object.fromEntries(entries) };
  checkLengths(columns.length, columns.tokens && columns.tokens.length / rows, where);
  const vocabulary = readLineage(batch)?.vocabulary;
  if (vocabulary !== undefined) checkTokens(columns, vocabulary, where);
  return columns;
}

function readColumn(name: typeof COLUMNS[number], column: ArrowColumn): unknown {
  if (name === "source") return readStrings(column);
  if (name === "tokens") return readTokenIds(listItems(column));
  return name === "nll" ? readFloats(listItems(column)) : readIntegers(column, ARRAYS[name]);
}

function findColumn(batch: RecordBatch, name: string, where: string): ArrowColumn | undefined {
  const at = columnNames(batch).indexOf(name);
  return at < 0 ? undefined : { name, data: batch.data.children[at], where };
}

/** Finds a column by its name. Throws an `InputError` where there is none. */
export function needColumn(
  batch: RecordBatch,
  name: string,
  where: string = findOrigin(batch),
): ArrowColumn {
  const column = findColumn(batch, name, where);
  if (column) return column;
  const fact = `its columns are ${columnNames(batch).join(", ") || "none"}`;
  throw unreadable(where, `it must have a column "${name}"`, fact);
}

/** How messages name a row: by the batch of all rows, or by a function of the row. */
type Where = string | ((row: number) => string);
const nameRow = (where: Where, row: number) =>
  typeof where === "string" ? `${where}, row ${row},` : where(row);

/** Throws an InputError that names the row where a token id is not below `vocabulary`. */
export function checkTokens({ tokens, rows }: Tokens, vocabulary: number, where: Where): void {
  if (tokens === undefined || (tokens instanceof Uint16Array && vocabulary >= 65536)) return;
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] < vocabulary) continue;
    const place = nameRow(where, Math.floor(i / (tokens.length / rows)));
    const fact = `id is ${tokens[i]}, vocabulary is ${vocabulary}`;
    throw unreadable(place, "token ids must be below the vocabulary", fact);
  }
}

/** Tokens of rows, in any array. */
interface Tokens {
  rows: number;
  tokens?: ArrayLike<number>;
}

/** Throws an InputError that names the row where a length is not from 2 to `sequenceLength`. */
export function checkLengths(
  length: ArrayLike<number>,
  sequenceLength: number | undefined,
  where: Where,
): void {
  for (let row = 0; row < length.length; row++) {
    if (length[row] >= 2 && length[row] <= (sequenceLength ?? Infinity)) continue;
    const limit = sequenceLength === undefined ? "" : `, sequence length is ${sequenceLength}`;
    const rule = "length must be from 2 to the sequence length";
    throw unreadable(nameRow(where, row), rule, `length is ${length[row]}${limit}`);
  }
}

export function columnNames(batch: RecordBatch): string[] {
  return batch.schema.fields.map(({ name }) => name);
}
