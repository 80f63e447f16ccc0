/**
 * The training sequences of all blocks as one list, read by number.
 *
 * @module
 */

import type { Making } from "../graph/node.ts";
import { type RecordBatch, writeArrowFile } from "../rows/arrow.ts";
import { type Columns, takeColumns } from "../rows/columns.ts";
import { checksums, openRows, type Rows } from "../rows/random_access.ts";
import { Order } from "../rows/order.ts";

/** A file in the folder of a node that is needed. */
export interface NeededFile {
  /** Name of the node. */
  need: string;
  /** Name of the file. */
  file: string;
}

/** Opens files of needed nodes as one list of rows. Each batch is checked when a row of it is first read. */
export async function openNeeded(
  { path, manifest }: Pick<Making, "path" | "manifest">,
  files: readonly NeededFile[],
): Promise<Rows> {
  const paths = files.map(({ need, file }) => `${path(need)}/${file}`);
  const checksums = new Map(
    files.flatMap(({ need, file }, i) => {
      const { batches } = manifest(need).files[file];
      return batches ? [[paths[i], batches]] : [];
    }),
  );
  return await openRows(paths, { checksums });
}

/** Writes rows into a file of a node, with what {@linkcode openNeeded} checks them by, and counts them. `empty` is a batch without rows. */
export async function writeRows(
  { folder, wrote }: Pick<Making, "folder" | "wrote">,
  file: string,
  batches: ReadableStream<RecordBatch> | Iterable<RecordBatch> | AsyncIterable<RecordBatch>,
  empty?: RecordBatch,
): Promise<number> {
  const path = `${folder}/${file}`;
  const { rows, ...record } = await writeArrowFile(path, ReadableStream.from(batches), empty);
  wrote(file, { ...record, batches: await checksums(path) });
  return rows;
}

/** Reads rows by their numbers in any order, as fast as in the order of their files. */
export function readRows<Name extends "sequence" | "tokens" | "length" | "begin" | "source" | "nll">(
  rows: Rows,
  numbers: ArrayLike<number>,
  names: readonly Name[],
): Required<Pick<Columns, Name | "rows">> {
  const places = Uint32Array.from({ length: numbers.length }, (_, i) => i).sort((a, b) =>
    numbers[a] - numbers[b]
  );
  const read = rows.read(Float64Array.from(places, (place) => numbers[place]), names);
  const back = new Uint32Array(places.length);
  places.forEach((place, i) => back[place] = i);
  return takeColumns(read as unknown as Columns, back) as unknown as Required<Pick<Columns, Name | "rows">>;
}

/**
 * Gives an endless stream of numbers below n for a model that goes on: of the sequences that were added, and with a share `replay` of the
 * first `sequences` ones, which it has seen.
 */
export function replaying(
  n: number,
  seed: number,
  { sequences, replay }: { sequences: number; replay: number },
) {
  const fresh = drawing(n - sequences, seed, "added text"), old = drawing(sequences, seed, "replay");
  return (from: number, count: number): Float64Array =>
    Float64Array.from({ length: count }, (_, i) => {
      const at = from + i, before = Math.floor(at * (1 - replay));
      const isNew = Math.floor((at + 1) * (1 - replay)) > before;
      return isNew ? sequences + fresh(before, 1)[0] : old(at - before, 1)[0];
    });
}

/** Gives an endless stream of numbers below n: each pass in a random order of its own. */
export function drawing(
  n: number,
  seed: number,
  purpose: string,
): (from: number, count: number) => Float64Array {
  let order: Order | undefined, epoch = -1;
  return (from, count) =>
    Float64Array.from({ length: count }, (_, i) => {
      const pass = Math.floor((from + i) / n);
      if (pass !== epoch || !order) order = new Order(n, { seed, purpose, epoch: epoch = pass });
      return order.at((from + i) % n);
    });
}
