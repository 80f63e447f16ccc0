/**
 * Reads documents from tables, Parquet and Arrow: a column holds the text, or the ids of its tokens.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { columnNames, findOrigin, needColumn, readArrow } from "../rows/arrow.ts";
import { columnValues } from "../rows/column_values.ts";
import { unreadable } from "../run/files.ts";
import { asLabel, describeKind, type Document, lacks, type ReadOptions, type TokenReader } from "./fields.ts";

const CUT_SHORT = "copy or write it again";

/** Lists the columns that are needed, and the settings that name them: that of the text or of its ids, and that of its source. */
function namedColumns({ textField = "text", textColumn, tokenColumn, sourceField }: ReadOptions) {
  return [
    tokenColumn
      ? { column: tokenColumn, option: "tokenColumn" }
      : { column: textColumn || textField, option: "textColumn" },
    ...sourceField ? [{ column: sourceField, option: "sourceField" }] : [],
  ];
}

/** Throws where a column that is needed is not there. */
function checkColumns(place: string, columns: string[], wanted: ReturnType<typeof namedColumns>): void {
  for (const { column, option } of wanted) {
    if (columns.includes(column)) continue;
    throw lacks(place, `it must have a column "${column}"`, "it", columns, option);
  }
}

/** Opens the tokenizer of the ids, if ids are read. */
async function tokenReader(
  place: string,
  { tokenColumn, tokenizer }: ReadOptions,
): Promise<TokenReader | undefined> {
  if (!tokenColumn) return undefined;
  if (tokenizer) return await tokenizer();
  const rule = say`the tokenizer of the ids in ${setting("tokenColumn")} must be named`;
  throw new InputError(say`Cannot read ${place} as ${rule}: it is not`, {
    where: place,
    remedy: say`set ${setting("tokenizer")}`,
  });
}

/**
 * Opens what makes a document of the values of a row. It throws an `InputError` that names the row where a value is of
 * another kind.
 */
async function openRowReader(name: string, options: ReadOptions) {
  const { source = "" } = options, columns = namedColumns(options), [{ column }, labels] = columns;
  const reader = await tokenReader(name, options);
  const toDocument = async (
    place: string,
    row: number,
    values: Record<string, unknown>,
  ): Promise<Document> => {
    const given = labels && values[labels.column], value = values[column];
    const named = ArrayBuffer.isView(given) ? Array.from(given as Uint8Array) : given;
    const label = asLabel(named, source, `${place}, row ${row},`).toWellFormed();
    if (reader) {
      const tokens = readIds(place, row, column, value, reader);
      return { text: await reader.decode(tokens), source: label, tokens };
    }
    if (typeof value === "string") return { text: value.toWellFormed(), source: label }; // Parquet may hold JSON
    const fact = `in row ${row} it is ${describeKind(value)}`;
    throw unreadable(place, `column "${column}" must hold strings`, fact);
  };
  return { columns, toDocument };
}

/** Reads a list of ids. EOS at its end closes or pads it and is left out. */
function readIds(
  place: string,
  row: number,
  column: string,
  value: unknown,
  { vocabulary, eos }: TokenReader,
): Uint32Array {
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? value as ArrayLike<unknown> : undefined;
  if (list === undefined) {
    throw unreadable(
      place,
      `column "${column}" must hold lists of ids`,
      `in row ${row} it is ${describeKind(value)}`,
    );
  }
  const ids = new Uint32Array(list.length);
  for (let i = 0; i < ids.length; i++) {
    const id = Number(list[i] ?? NaN);
    if (!(Number.isInteger(id) && id >= 0 && id < vocabulary)) {
      const rule = `ids in column "${column}" must be whole numbers below the vocabulary, ${vocabulary}`;
      throw unreadable(place, rule, `in row ${row} one is ${list[i]}`);
    }
    ids[i] = id;
  }
  let end = ids.length;
  while (end > 0 && ids[end - 1] === eos) end--;
  return ids.subarray(0, end);
}

/**
 * Reads the documents of an Arrow file or stream, or some batches of a file, a batch at a time. Throws an `InputError` for damage, and for columns of other
 * kinds.
 */
export async function* arrowDocuments(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  options: ReadOptions,
  { groups, before = 0 }: { groups?: { from: number; to: number }; before?: number } = {},
): AsyncGenerator<Document> {
  if (typeof input !== "string" && options.tokenColumn) {
    const rule = say`${setting("tokenColumn")} must be of a file`;
    throw new InputError(say`Cannot read ${name} as ${rule}: it is read once`, { where: name });
  }
  const { columns, toDocument } = await openRowReader(name, options);
  let place = before;
  for await (const batch of readArrow(input, name, groups)) {
    checkColumns(name, columnNames(batch), columns);
    const found = columns.map(({ column }) => [column, columnValues(needColumn(batch, column))] as const);
    for (let i = 0; i < batch.numRows; i++) {
      const values = Object.fromEntries(found.map(([column, values]) => [column, values[i]]));
      yield { ...await toDocument(findOrigin(batch), i, values), place: place++ };
    }
  }
}

/** Reads the documents of a Parquet file, a row group at a time. Throws an `InputError` for damage, and for columns of other kinds. */
export async function* parquetDocuments(
  path: string,
  options: ReadOptions,
  groups?: { from: number; to: number },
): AsyncGenerator<Document> {
  const { columns, toDocument } = await openRowReader(path, options);
  for await (const { record, row } of parquetRecords(path, columns, groups)) {
    yield { ...await toDocument(path, row, record), place: row };
  }
}

/** Lists bytes and rows of the row groups of a Parquet file. */
export async function rowGroups(path: string): Promise<{ bytes: number; rows: number }[]> {
  using parquet = await openParquet(path);
  return parquet?.metadata.row_groups.map(({ total_byte_size, num_rows }) => ({
    bytes: Number(total_byte_size),
    rows: Number(num_rows),
  })) ?? [];
}

/** Yields the rows of a Parquet file with their numbers, from 0 on: all columns, or those that settings name, of some row groups or all. */
export async function* parquetRecords(
  path: string,
  wanted?: readonly { column: string; option: string }[],
  groups: { from: number; to: number } = { from: 0, to: Infinity },
): AsyncGenerator<{ record: Record<string, unknown>; row: number }> {
  using parquet = await openParquet(path, wanted);
  if (!parquet) return;
  const { file, metadata, columns } = parquet;
  const [{ parquetReadObjects }, { compressors }] = await libraries();
  checkColumns(path, columns, [...wanted ?? []]);
  const parsers = {
    stringFromBytes: (bytes: Uint8Array) => bytes && new TextDecoder("utf-8", { fatal: true }).decode(bytes),
  };
  const names = wanted?.map(({ column }) => column);
  let rowStart = 0;
  for (const [group, { num_rows }] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(num_rows);
    if (group >= groups.from && group < groups.to) {
      const rows = await orUnreadable(
        `${path}, row group ${group}`,
        () => parquetReadObjects({ file, metadata, columns: names, rowStart, rowEnd, compressors, parsers }),
      );
      for (const [i, record] of rows.entries()) yield { record, row: rowStart + i };
    }
    rowStart = rowEnd;
  }
}

/** Loads the libraries of Parquet: every task starts faster without them. */
const libraries = () => Promise.all([import("hyparquet"), import("hyparquet-compressors")]);

/** Opens a Parquet file; undefined where it is empty. Throws an `InputError` where it is none, or damaged. */
async function openParquet(path: string, wanted?: unknown) {
  const [{ parquetMetadataAsync, parquetSchema }] = await libraries();
  const open = await Deno.open(path);
  try {
    const { size: byteLength, isFile } = await open.stat();
    if (!isFile) {
      throw unreadable(`"${path}"`, "Parquet must be a plain file", "it is a pipe or a device", {
        where: path,
      });
    }
    // Synchronous: the library reads several columns at once, and these share the position of the file.
    const slice = (begin: number, end: number = byteLength): ArrayBuffer => {
      const bytes = new Uint8Array(end - begin);
      open.seekSync(begin, Deno.SeekMode.Start);
      for (let filled = 0; filled < bytes.length;) {
        const count = open.readSync(bytes.subarray(filled));
        if (count === null) throw notWhole(path, "it is cut short", CUT_SHORT);
        filled += count;
      }
      return bytes.buffer;
    };
    const file = { byteLength, slice };
    if (byteLength === 0) {
      open.close();
      return undefined;
    }
    const isMarked = (begin: number) =>
      new TextDecoder().decode(slice(begin, Math.min(byteLength, begin + 4))) === "PAR1";
    if (!isMarked(0)) {
      const remedy = wanted ? say`set ${setting("format")} to what it is` : CUT_SHORT;
      throw notWhole(path, "it is something else", remedy);
    }
    if (!isMarked(Math.max(0, byteLength - 4))) throw notWhole(path, "it is cut short", CUT_SHORT);
    const { metadata, columns } = await orUnreadable(path, async () => {
      const metadata = await parquetMetadataAsync(file);
      return { metadata, columns: parquetSchema(metadata).children.map(({ element }) => element.name) };
    });
    return { file, metadata, columns, [Symbol.dispose]: () => open.close() };
  } catch (error) {
    open.close();
    throw error;
  }
}

async function orUnreadable<T>(where: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    const remedy = "copy it again, or write it plain or with snappy, gzip or zstd";
    throw notWhole(where, "it is damaged, or written with what this reader lacks", remedy, cause);
  }
}

function notWhole(where: string, fact: string, remedy: Text, cause?: unknown): InputError {
  return unreadable(where, "it must be whole Parquet data", fact, { remedy, cause });
}
