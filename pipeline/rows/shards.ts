/**
 * Cuts a stream of batches into shard files.
 *
 * @module
 */

import {
  type Columns,
  FORMAT,
  fromBatch,
  type Lineage,
  lineageOf,
  type RecordBatch,
  toBatch,
  writeArrowFile,
  type Written,
} from "./arrow.ts";
import { regroup, sliceColumns } from "./columns.ts";

/** A shard that was written. */
export interface WrittenShard extends Written {
  /** Its name in the folder. */
  name: string;
}

const BATCH = 1024; // rows; what a reader of the file holds at a time

/** Gives the name of a shard, for instance `train-00003.arrow`. */
export function shardName(kind: string, index: number): string {
  return `${kind}-${String(index).padStart(5, "0")}.arrow`;
}

/**
 * Writes batches to `<kind>-00000.arrow` and so on in `folder`, at most `rows` rows in each, and yields each shard once it is
 * there. The same rows give the same bytes however they come in batches; no rows give one shard without rows. Throws a
 * `TypeError` where there is no batch at all.
 */
export async function* writeShards(
  folder: string,
  kind: string,
  batches: ReadableStream<RecordBatch>,
  rows: number,
): AsyncGenerator<WrittenShard> {
  const source = batches[Symbol.asyncIterator]();
  let lineage: Lineage | undefined;
  let rest: Columns | undefined;

  /** Makes sure that `rest` has rows, unless the source has no more. */
  async function fill(): Promise<boolean> {
    while (!rest || rest.rows === 0) {
      const { done, value } = await source.next();
      if (done) return false;
      lineage ??= lineageOf(value) ?? { format: FORMAT, stage: "" };
      rest = fromBatch(value);
    }
    return true;
  }
  async function* take(): AsyncGenerator<Columns> {
    if (!await fill() && rest) yield rest; // without rows
    for (let left = rows; left > 0 && await fill();) {
      const count = Math.min(left, rest!.rows);
      yield sliceColumns(rest!, 0, count);
      rest = sliceColumns(rest!, count, rest!.rows);
      left -= count;
    }
  }
  async function* shard(): AsyncGenerator<RecordBatch> {
    for await (const columns of regroup(take(), BATCH)) yield toBatch(columns, lineage!);
  }

  try {
    for (let index = 0; await fill() || index === 0; index++) {
      const name = shardName(kind, index);
      yield { name, ...await writeArrowFile(`${folder}/${name}`, ReadableStream.from(shard())) };
    }
  } finally {
    await source.return?.();
  }
}
