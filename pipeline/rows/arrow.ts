/**
 * The project's rows as Arrow batches: schema, lineage, and the way to typed arrays and back.
 *
 * This file, the folder `ipc/` and `export/datasets.ts` are the only ones that import the Arrow library. They import its
 * build without Node's streams, which nothing here uses and which would cost every task a sixth of its start.
 *
 * @module
 */

import {
  BinaryView,
  type Data,
  DataType,
  Field,
  FixedSizeList,
  makeData,
  makeVector,
  RecordBatch as ArrowBatch,
  Schema,
  Struct,
  Utf8,
  Vector,
} from "apache-arrow/Arrow.dom";
import { InputError } from "../../kernels/errors.ts";
import { type Columns, tokenArrayOf } from "./columns.ts";
import { shortHash, unreadable } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import { originOf } from "./ipc/origin.ts";
import { readArrow } from "./ipc/read.ts";

/** A batch of rows: Arrow's own type. */
export type RecordBatch = ArrowBatch;

export type { Columns } from "./columns.ts";
export { originOf } from "./ipc/origin.ts";
export { readArrow } from "./ipc/read.ts";
export {
  type ArrowAppender,
  arrowBytes,
  openArrowAppender,
  writeArrowFile,
  type Written,
} from "./ipc/write.ts";

/** Where rows come from, stored in the schema metadata under `smalltalk.<name>`. */
export interface Lineage {
  /** Version of this layout, 1. */
  format: number;
  /** Stage that wrote the rows. */
  stage: string;
  /** S, tokens per sequence. */
  sequenceLength?: number;
  /** V, number of token ids. */
  vocabulary?: number;
  /** Id of the token that ends a document and pads. */
  eos?: number;
  /** SHA-256 of tokenizer.json, hexadecimal. */
  tokenizer?: string;
  /** M, tokens that routers score. */
  prefix?: number;
  /** SHA-256 of the set of routers, hexadecimal. */
  routers?: string;
  /** E, number of experts. */
  experts?: number;
  /** Seed of the run. */
  seed?: number;
  /** Hash of the stage's configuration. */
  config?: string;
  /** How rows were assigned. */
  method?: string;
  /** What a cost is, where it is not a sum over the predicted tokens of the prefix. */
  costs?: string;
}

/** Version of the file layout that this code writes, and the newest that it reads. */
export const FORMAT = 1;

/** Names of what a lineage says in text, then of what it says in numbers: in the order in which manifests list them. */
const TEXTS = ["stage", "tokenizer", "routers", "config", "method", "costs"] as const;
const NUMBERS = ["format", "sequenceLength", "vocabulary", "eos", "prefix", "experts", "seed"] as const;
const NAMES = [...TEXTS, ...NUMBERS];

/** Returns the lineage of a batch, or null where another tool wrote it. Throws an InputError where it is damaged. */
export function lineageOf(batch: RecordBatch): Lineage | null {
  const { metadata } = batch.schema, where = originOf(batch);
  if (!metadata.has("smalltalk.format")) return null;
  const texts: Pick<Lineage, (typeof TEXTS)[number]> = { stage: "" };
  for (const name of TEXTS) {
    const text = metadata.get(`smalltalk.${name}`);
    if (text !== undefined) texts[name] = text;
  }
  const numbers: Pick<Lineage, (typeof NUMBERS)[number]> = { format: FORMAT };
  for (const name of NUMBERS) {
    const text = metadata.get(`smalltalk.${name}`);
    if (text === undefined) continue;
    if (!/^\d{1,16}$/.test(text)) {
      throw unreadable(where, `smalltalk.${name} must be an integer`, `it is "${text}"`);
    }
    numbers[name] = Number(text);
  }
  if (numbers.format > FORMAT) {
    throw unreadable(
      where,
      `its format must be at most ${FORMAT}`,
      `it is ${numbers.format}, of a newer version`,
    );
  }
  return { ...texts, ...numbers };
}

/**
 * Throws an InputError that gives both values where the lineage of `batch` contradicts `expected`; names that either
 * side leaves out are not compared, and nothing is where another tool wrote the batch.
 */
export function checkLineage(batch: RecordBatch, expected: Partial<Lineage>, owner: string): void {
  const actual = lineageOf(batch);
  if (actual === null) return;
  for (const [name, wanted] of Object.entries(expected)) {
    const value = actual[name as keyof Lineage];
    if (wanted === undefined || value === undefined || value === wanted) continue;
    const [former, latter] = [value, wanted].map((text) => shortHash(String(text)));
    throw new InputError(
      `Cannot use ${originOf(batch)} with ${owner} as both must have the same ${name}: ` +
        `${name} is ${former} in the former, ${latter} in the latter`,
      { remedy: name === "tokenizer" ? "make the former with the tokenizer.json of the latter" : undefined },
    );
  }
}

/** Picks what rows that are used together must have in common. */
export function identityOf(lineage: Lineage | null): Partial<Lineage> {
  const { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers } = lineage ?? {};
  return { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers };
}

/**
 * Reads the batches of several files, one file after another. Throws an InputError with both values where their
 * lineages differ in tokenizer, S, M, E or routers, and whatever `readArrow` throws.
 */
export function readShards(paths: string[], vouched?: Vouched): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    let first: Partial<Lineage> | undefined;
    for (const path of paths) {
      for await (const batch of readArrow(path, path, vouched)) {
        if (first === undefined) first = identityOf(lineageOf(batch));
        else checkLineage(batch, first, paths[0]);
        yield batch;
      }
    }
  }());
}

/** Columns in the order in which they are written. */
const COLUMNS = ["sequence", "document", "source", "tokens", "length", "nll", "expert"] as const;

const field = (name: string, type: DataType) => new Field(name, type, false);

/**
 * Builds a batch from columns without copying numbers; the columns that are present, with S, V and E of `lineage`,
 * decide the schema. Throws a RangeError where a column's length does not fit the rows.
 */
export function toBatch(columns: Columns, lineage: Lineage): RecordBatch {
  const { rows } = columns;
  const sizes: Partial<Record<keyof Columns, number>> = {
    tokens: lineage.sequenceLength ?? 1,
    nll: lineage.experts ?? 1,
  };
  const fields: Field[] = [], children: Data[] = [];
  for (const name of COLUMNS) {
    const values = name === "tokens" ? fitTokens(columns.tokens, lineage.vocabulary) : columns[name];
    if (values === undefined) continue;
    const listSize = sizes[name] && (rows > 0 ? Math.floor(values.length / rows) : sizes[name]);
    const perRow = listSize ?? 1;
    if (values.length !== rows * perRow || perRow < 1) {
      throw new RangeError(
        `Cannot build a batch as column "${name}" must hold ${Math.max(1, perRow)} values per row: ` +
          `it holds ${values.length} for ${rows} rows`,
      );
    }
    const flat: Data = Array.isArray(values) ? utf8(values) : makeVector(values).data[0];
    const data = listSize === undefined ? flat : makeData({
      type: new FixedSizeList(listSize, field("item", flat.type)),
      length: rows,
      nullCount: 0,
      child: flat,
    });
    fields.push(field(name, data.type));
    children.push(data);
  }
  const metadata = new Map<string, string>();
  for (const name of [...NAMES].sort()) {
    if (lineage[name] !== undefined) metadata.set(`smalltalk.${name}`, String(lineage[name]));
  }
  const type = new Struct(fields);
  return new ArrowBatch(
    new Schema(fields, metadata),
    makeData({ type, length: rows, nullCount: 0, children }),
  );
}

/** Builds a batch without rows that has the given columns, for inputs without rows. */
export function emptyBatch(names: (keyof Columns)[], lineage: Lineage): RecordBatch {
  const all = {
    document: new BigUint64Array(),
    source: [],
    tokens: new Uint16Array(),
    nll: new Float32Array(),
    expert: new Uint16Array(),
  };
  const kept = Object.entries(all).filter(([name]) => names.includes(name as keyof Columns));
  const columns = { rows: 0, sequence: new BigUint64Array(), length: new Uint32Array() };
  return toBatch({ ...columns, ...Object.fromEntries(kept) }, lineage);
}

/** Tokens in the array that fits the vocabulary; without a known vocabulary it stays what it is. */
function fitTokens(tokens: Columns["tokens"], vocabulary: number | undefined): Columns["tokens"] {
  if (!tokens || vocabulary === undefined) return tokens;
  const Fitting = tokenArrayOf(vocabulary);
  return tokens instanceof Fitting ? tokens : Fitting.from(tokens);
}

/** Strings as Arrow UTF-8; labels repeat, so each distinct one is encoded once. */
function utf8(strings: string[]): Data<Utf8> {
  const encoder = new TextEncoder();
  const known = new Map<string, Uint8Array>();
  const valueOffsets = new Int32Array(strings.length + 1);
  const pieces = strings.map((text, row) => {
    let bytes = known.get(text);
    if (bytes === undefined) known.set(text, bytes = encoder.encode(text));
    valueOffsets[row + 1] = valueOffsets[row] + bytes.length;
    return bytes;
  });
  const data = new Uint8Array(valueOffsets[strings.length]);
  pieces.forEach((bytes, row) => data.set(bytes, valueOffsets[row]));
  return makeData({ type: new Utf8(), length: strings.length, nullCount: 0, valueOffsets, data });
}

/**
 * Returns the columns of a batch as typed arrays, views of its memory where the types are ours; other writers'
 * equivalents (other integer and float widths, lists of equal length, dictionaries) are converted. Throws an
 * InputError where a column is missing, one of those that are `needed` among them, or of another kind, or where values are null or
 * impossible.
 */
export function fromBatch(
  batch: RecordBatch,
  where: string = originOf(batch),
  needed: readonly (keyof Columns)[] = [],
): Columns {
  const rows = batch.numRows;
  const names = batch.schema.fields.map((field) => field.name);
  const find = (name: string): Column | undefined => {
    const at = names.indexOf(name);
    return at < 0 ? undefined : { name, data: batch.data.children[at], where };
  };
  const need = (name: string): Column => {
    const column = find(name);
    if (column) return column;
    const fact = `its columns are ${names.join(", ") || "none"}`;
    throw unreadable(where, `it must have a column "${name}"`, fact);
  };
  needed.forEach(need);
  const [document, source, tokens, nll, expert] = ["document", "source", "tokens", "nll", "expert"].map(find);

  const columns: Columns = {
    rows,
    sequence: integers(need("sequence"), BigUint64Array),
    ...document && { document: integers(document, BigUint64Array) },
    ...source && { source: strings(source) },
    ...tokens && { tokens: tokenIds(items(tokens)) },
    length: integers(need("length"), Uint32Array),
    ...nll && { nll: floats(items(nll)) },
    ...expert && { expert: integers(expert, Uint16Array) },
  };
  checkLengths(columns, where);
  const vocabulary = lineageOf(batch)?.vocabulary;
  if (vocabulary !== undefined) checkTokens(columns, vocabulary, where);
  return columns;
}

/** Throws an InputError that names the row where a token id is not below `vocabulary`. */
export function checkTokens(columns: Columns, vocabulary: number, where: string): void {
  const { tokens, rows } = columns;
  if (tokens === undefined || (tokens instanceof Uint16Array && vocabulary >= 65536)) return;
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] < vocabulary) continue;
    const place = `${where}, row ${Math.floor(i / (tokens.length / rows))},`;
    const fact = `id is ${tokens[i]}, vocabulary is ${vocabulary}`;
    throw unreadable(place, "token ids must be below the vocabulary", fact);
  }
}

function checkLengths({ tokens, length, rows }: Columns, where: string): void {
  const limit = tokens === undefined || rows === 0 ? 2 ** 32 : tokens.length / rows;
  for (let row = 0; row < rows; row++) {
    if (length[row] >= 2 && length[row] <= limit) continue;
    const sequenceLength = limit < 2 ** 32 ? `, sequence length is ${limit}` : "";
    const fact = `length is ${length[row]}${sequenceLength}`;
    throw unreadable(`${where}, row ${row},`, "length must be from 2 to the sequence length", fact);
  }
}

/** A column being read: its data, and what to call it in messages. */
interface Column {
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

/** The values of a flat column, checked to be whole and without nulls. */
function valuesOf(column: Column): ArrayLike<number | bigint> {
  refuseNulls(column);
  const { name, data, where } = column;
  const values = data.values ?? [];
  if (values.length < data.length) {
    const rule = `the buffer of column "${name}" must hold ${data.length} values`;
    throw unreadable(where, rule, `it holds ${values.length}`);
  }
  return values.length === data.length ? values : values.subarray(0, data.length);
}

/** The values of a list column, which must all have one length; a fixed-size list has it by type. */
function items(column: Column): Column {
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

/** Lists the names of a batch's columns. */
export function columnNames(batch: RecordBatch): string[] {
  return batch.schema.fields.map(({ name }) => name);
}

/**
 * Gives the values of a batch's column, whoever wrote it: texts, or lists of integers of any length. Throws an `InputError` where
 * there is no such column, it is of another type, or it holds nulls.
 */
export function valuesIn(
  batch: RecordBatch,
  name: string,
): ArrayLike<string> | ArrayLike<ArrayLike<number | bigint>> {
  const where = originOf(batch);
  const at = columnNames(batch).indexOf(name);
  if (at < 0) throw unreadable(where, `it must have a column "${name}"`, "it has none");
  const column = { name, data: batch.data.children[at], where };
  const { type } = column.data;
  const isList = DataType.isList(type) || DataType.isLargeList(type) || DataType.isFixedSizeList(type);
  return isList ? lists(column) : strings(column);
}

/** The lists of a column, views of its items. */
function lists(column: Column): ArrayLike<number | bigint>[] {
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

type IntegerArray = typeof Uint16Array | typeof Uint32Array | typeof BigUint64Array;

/** An integer column as `Target`: itself where the type is the same, else converted with a check of every value. */
function integers<T extends IntegerArray>(column: Column, Target: T): InstanceType<T> {
  const { name, data, where } = column;
  if (!DataType.isInt(data.type)) throw wrongType(column, "integers");
  const values = valuesOf(column);
  if (values instanceof Target) return values as InstanceType<T>;
  const result = new Target(values.length);
  const limit = 2n ** BigInt(8 * Target.BYTES_PER_ELEMENT);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value < 0 || value >= limit) {
      const rule = `column "${name}" must hold integers from 0 to ${limit - 1n}`;
      throw unreadable(where, rule, `value ${row} is ${value}`);
    }
    result[row] = result instanceof BigUint64Array ? BigInt(value) : Number(value);
  }
  return result as InstanceType<T>;
}

function tokenIds(column: Column): Uint16Array | Uint32Array {
  const { bitWidth = 32 } = column.data.type as { bitWidth?: number };
  return integers(column, bitWidth <= 16 ? Uint16Array : Uint32Array);
}

function floats(column: Column): Float32Array {
  const type = column.data.type;
  if (!DataType.isFloat(type) || type.precision === 0) throw wrongType(column, "lists of float32 or float64");
  const values = valuesOf(column);
  return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
}

/** Decodes bytes; undefined where they are no text. */
function wholeText(decoder: TextDecoder, bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

function strings(column: Column): string[] {
  refuseNulls(column);
  const { name, data, where } = column;
  if (DataType.isDictionary(data.type)) {
    const vector = data.dictionary!;
    const words = vector.data.flatMap((part: Data) => strings({ name, data: part, where }));
    return Array.from(valuesOf({ name, data: data.clone(data.type.indices), where }), (index) => {
      const word = words[Number(index)];
      if (word !== undefined) return word;
      throw unreadable(where, `indices of column "${name}" must be below ${words.length}`, `one is ${index}`);
    });
  }
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const decode = (bytes: Uint8Array, row: number) => {
    try {
      return strict.decode(bytes);
    } catch {
      throw unreadable(`${where}, row ${row},`, `column "${name}" must hold text in UTF-8`, "it does not");
    }
  };
  if (DataType.isUtf8View(data.type)) {
    return Array.from(new Vector([data.clone(new BinaryView())]) as Iterable<Uint8Array>, decode);
  }
  if (!DataType.isUtf8(data.type) && !DataType.isLargeUtf8(data.type)) throw wrongType(column, "strings");
  if (data.length === 0) return [];
  const offsets = data.valueOffsets as Int32Array | BigInt64Array;
  const bytes = data.values as Uint8Array;
  const begin = Number(offsets[0]), end = Number(offsets[data.length]);
  const ordered = offsets.length > data.length && begin >= 0 && end <= bytes.length &&
    offsets.subarray(0, data.length + 1).every((offset: number | bigint, i: number) =>
      i === 0 || offset >= offsets[i - 1]
    );
  if (!ordered) {
    const rule = `offsets of column "${name}" must rise within ${bytes.length} bytes`;
    throw unreadable(where, rule, `they go from ${begin} to ${end}`);
  }
  const text = wholeText(strict, bytes.subarray(begin, end));
  const ascii = text?.length === end - begin; // then byte offsets are character offsets
  return Array.from({ length: data.length }, (_, row) => {
    const [from, to] = [Number(offsets[row]), Number(offsets[row + 1])];
    return ascii ? text!.substring(from - begin, to - begin) : decode(bytes.subarray(from, to), row);
  });
}
