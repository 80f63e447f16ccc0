/**
 * Reads rows of tables, Parquet and Arrow.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { type BatchRange, columnNames, findOrigin, needColumn, readArrow } from "../rows/arrow.ts";
import { columnValues } from "../rows/column_values.ts";
import { readAt } from "../rows/ipc/messages.ts";
import { unreadable } from "../graph/files.ts";
import { checkFields, type Found, type WantedField } from "./fields.ts";

const CUT_SHORT = "copy or write it again";

const COLUMNS = ["it must have a column", "it"] as const;

/**
 * Yields the rows of an Arrow file or stream, or of some batches of a file, a batch at a time: the
 * columns that are wanted.
 */
export async function* arrowRecords(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  wanted: readonly WantedField[],
  { groups, rowsBefore: rowsBefore = 0 }: { groups?: BatchRange; rowsBefore?: number } = {},
): AsyncGenerator<Found> {
  let place = rowsBefore;
  for await (const batch of readArrow(input, name, groups)) {
    checkFields(name, COLUMNS, columnNames(batch), wanted);
    const columns = wanted.map(({ name }) =>
      [name, columnValues(needColumn(batch, name))] as const
    );
    for (let at = 0; at < batch.numRows; at++) {
      const record = Object.fromEntries(columns.map(([name, values]) => [name, values[at]]));
      yield { record, where: findOrigin(batch), at, place: place++ };
    }
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

/**
 * Yields the rows of a Parquet file with their numbers, from 0 on: all columns, or those that
 * settings name, of some row groups or all.
 */
export async function* parquetRecords(
  path: string,
  wanted?: readonly WantedField[],
  groups: BatchRange = { from: 0, to: Infinity },
): AsyncGenerator<Found> {
  using parquet = await openParquet(path, wanted);
  if (!parquet) return;
  const { file, metadata, columns } = parquet;
  const [{ parquetReadObjects }, { compressors }] = await libraries();
  checkFields(path, COLUMNS, columns, wanted ?? []);
  const names = wanted?.map(({ name }) => name);
  let rowStart = 0;
  for (const [group, { num_rows }] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(num_rows);
    if (group >= groups.from && group < groups.to) {
      const where = `${path}, row group ${group}`;
      const parsers = {
        stringFromBytes: (bytes?: Uint8Array) => bytes && decodeText(bytes, where),
      };
      const options = { file, metadata, columns: names, rowStart, rowEnd, compressors, parsers };
      const read = (utf8: boolean) => parquetReadObjects({ ...options, utf8 });
      const rows = await orUnreadable(
        where,
        // Bytes without a type are text, unless they are none: then they are pictures, in a column
        // that nobody may want.
        () => wanted ? read(true) : read(true).catch(() => read(false)),
      );
      for (const [i, record] of rows.entries()) yield { record, where: path, at: rowStart + i };
    }
    rowStart = rowEnd;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw unreadable(where, "its text must be UTF-8", "it has other bytes");
  }
}

/** Loads the libraries of Parquet: every task starts faster without them. */
const libraries = () => Promise.all([import("hyparquet"), import("hyparquet-compressors")]);

/**
 * Opens a Parquet file; undefined where it is empty. Throws an `InputError` where it is none, or
 * damaged.
 */
async function openParquet(path: string, wanted?: unknown) {
  const [{ parquetMetadataAsync, parquetSchema }] = await libraries();
  using opened = new DisposableStack();
  const open = opened.use(await Deno.open(path));
  const { size: byteLength, isFile } = await open.stat();
  if (!isFile) {
    throw unreadable(`"${path}"`, "Parquet must be a plain file", "it is a pipe or a device", {
      where: path,
    });
  }
  if (byteLength === 0) return undefined;
  // Synchronous: the library reads several columns at once, and these share the position of the
  // file.
  const slice = (begin: number, end: number = byteLength) =>
    readAt(open, begin, end - begin).buffer;
  const file = { byteLength, slice };
  const isMarked = (begin: number) =>
    new TextDecoder().decode(slice(begin, Math.min(byteLength, begin + 4))) === "PAR1";
  if (!isMarked(0)) {
    const remedy = wanted ? say`rename it, or set ${setting("format")} to what it is` : CUT_SHORT;
    throw notWhole(path, "it is something else", remedy);
  }
  if (!isMarked(Math.max(0, byteLength - 4))) throw notWhole(path, "it is cut short", CUT_SHORT);
  return await orUnreadable(path, async () => {
    const metadata = await parquetMetadataAsync(file);
    const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
    const stays = opened.move();
    return { file, metadata, columns, [Symbol.dispose]: () => stays.dispose() };
  });
}

async function orUnreadable<T>(where: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    const remedy = "copy it again, or write it plain or with snappy, gzip or zstd";
    throw notWhole(where, "it is damaged, or written with what this reader lacks", remedy, cause);
  }
}

function notWhole(where: string, fact: string, remedy: Text, cause?: unknown): InputError {
  return unreadable(where, "it must be whole Parquet data", fact, { remedy, cause });
}
