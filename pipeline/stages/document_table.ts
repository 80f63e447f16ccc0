/**
 * Tables with a row for every document: those of the blocks, and the index of all text.
 *
 * @module
 */

import { needColumn, readArrow, type RecordBatch, toTable } from "../rows/arrow.ts";
import { integers, strings } from "../rows/column_values.ts";

/** A row: what is known of a document. Each table has some of the columns. */
export interface DocumentRow {
  /** Its id. */
  document: bigint;
  /** Number of the piece that it is of, in its block. */
  piece: number;
  /** The file. */
  path: string;
  /** Its line or row, in the file or in the piece. */
  place: number;
  /** SHA-256 of its text. */
  sha256: string;
  /** Source, "" if none. */
  source: string;
  /** Whether it is for training or held out. */
  side: "train" | "test";
  /** Its tokens. */
  tokens: number;
  /** The expert that it went to, or `mixed`. */
  expert: string;
  /** Shares of experts, where its sequences went apart. */
  shares: string;
}

type Column = keyof DocumentRow;
const NUMBERS = { document: BigUint64Array, piece: Uint32Array, place: Uint32Array, tokens: Uint32Array };

/** Gives these columns of rows, each under its name after a `prefix`. */
export function documentColumns<Name extends Column>(
  names: readonly Name[],
  rows: readonly Pick<DocumentRow, Name>[],
  prefix = "",
) {
  return Object.fromEntries(names.map((name) => {
    const values = rows.map((row) => row[name]);
    return [
      prefix + name,
      name in NUMBERS ? new NUMBERS[name as keyof typeof NUMBERS](values as never) : values as string[],
    ];
  }));
}

/** Makes a batch of a table of these columns, which a stage writes. */
export const documentBatch = <Name extends Column>(
  stage: string,
  names: readonly Name[],
  rows: readonly Pick<DocumentRow, Name>[],
): RecordBatch => toTable(documentColumns(names, rows), { format: 1, stage });

/** Reads these columns of a batch of a table. */
export function documentRows<Name extends Column>(
  batch: RecordBatch,
  names: readonly Name[],
): Pick<DocumentRow, Name>[] {
  const columns = names.map((name) => {
    const column = needColumn(batch, name);
    return name in NUMBERS ? integers(column, NUMBERS[name as keyof typeof NUMBERS]) : strings(column);
  });
  return Array.from(
    { length: batch.numRows },
    (_, row) =>
      Object.fromEntries(names.map((name, i) => [name, columns[i][row]])) as Pick<DocumentRow, Name>,
  );
}

/** Reads these columns of all rows of a table in a file. */
export async function* readDocumentRows<Name extends Column>(path: string, names: readonly Name[]) {
  for await (const batch of readArrow(path, path)) yield* documentRows(batch, names);
}
