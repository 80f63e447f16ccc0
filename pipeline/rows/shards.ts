/**
 * Cuts a stream of batches into shard files.
 *
 * @module
 */

import { FORMAT, type Lineage, lineageOf } from "./lineage.ts";

import { type RecordBatch, shardName, toBatch, writeArrowFile, type WrittenShard } from "./arrow.ts";

import { regroup } from "./columns.ts";
import { closeCursor, fill, openCursor, take } from "./cursor.ts";

const BATCH = 1024; // rows of a batch, which a reader of the file holds at a time

/**
 * Writes batches to `<kind>-00000.arrow` and so on in `folder`, with at most `rows` rows in each, and yields
 * each shard once it is whole; the first has number `first`. The same rows give the same bytes however they were
 * cut into batches. No rows give one shard without rows. Throws a `TypeError` where there is no batch at all.
 */
export async function* writeShards(
  folder: string,
  kind: string,
  batches: ReadableStream<RecordBatch>,
  rows: number,
  first = 0,
): AsyncGenerator<WrittenShard> {
  const cursor = openCursor(batches);
  async function* rowsOfShard() {
    if (!await fill(cursor) && cursor.batch) yield cursor.columns; // without rows
    for (let left = rows; left > 0 && await fill(cursor);) {
      const columns = take(cursor, left);
      left -= columns.rows;
      yield columns;
    }
  }
  async function* shard(lineage: Lineage): AsyncGenerator<RecordBatch> {
    for await (const columns of regroup(rowsOfShard(), BATCH)) yield toBatch(columns, lineage);
  }

  try {
    let lineage: Lineage | undefined;
    for (let index = first; await fill(cursor) || index === first; index++) {
      lineage ??= cursor.batch && lineageOf(cursor.batch) || { format: FORMAT, stage: "" };
      const name = shardName(kind, index);
      yield { name, ...await writeArrowFile(`${folder}/${name}`, ReadableStream.from(shard(lineage))) };
    }
  } finally {
    await closeCursor(cursor);
  }
}
