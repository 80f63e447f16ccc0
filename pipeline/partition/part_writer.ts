/** Writes the rows of one expert into shards, as they come, in memory of a fixed size. */

import {
  type Columns,
  type RecordBatch,
  shardName,
  toBatch,
  writeArrowFile,
  type WrittenShard,
} from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { gatherRows, roomFor, sliceColumns } from "../rows/columns.ts";

/** A shard that was written, and the tokens in it. */
export interface WrittenPart extends WrittenShard {
  /** Real tokens, padding left out. */
  tokens: number;
}

/**
 * Takes rows and writes them into shards. The same rows give the same bytes, however they are cut into
 * batches.
 */
export interface PartWriter {
  /** Adds rows of a batch, by their numbers. */
  add(columns: Columns, rows: number[]): Promise<void>;
  /** Writes what is left, at least the first shard, and returns all shards. */
  close(): Promise<WrittenPart[]>;
  /** Removes the shard that is half-written; those before it stay. */
  abort(reason: unknown): Promise<void>;
}

/** Where and how a {@linkcode PartWriter} writes. */
interface PartOptions {
  /** Folder, which must be there. */
  folder: string;
  /** The kind that the names of shards begin with. */
  kind: string;
  /** Lineage of the rows. */
  lineage: Lineage;
  /** Columns without rows, for the schema of a shard without rows. */
  empty: Columns;
  /** Most rows in a shard. */
  shardRows: number;
  /** Most rows in a batch of a shard; memory holds twice as many. */
  batchRows: number;
  /** Number of the first shard; 0 unless given. Only a writer of the first shard writes one that has no rows. */
  first?: number;
}

/** Opens a writer of one expert's shards. */
export function openPart(
  { folder, kind, lineage, empty, shardRows, batchRows, first = 0 }: PartOptions,
): PartWriter {
  const shards: WrittenPart[] = [];
  // While one buffer is being encoded rows go to the other. A shard takes its next batch only when it is done with the one
  // before, so when it has taken one buffer the other is free.
  let [filling, spare]: (Columns | undefined)[] = [];
  let filled = 0;
  let shard: ReturnType<typeof openShard> | undefined;

  function openShard() {
    const name = shardName(kind, first + shards.length);
    const { readable, writable } = new TransformStream<RecordBatch, RecordBatch>();
    const written = writeArrowFile(`${folder}/${name}`, readable, toBatch(empty, lineage));
    // A file that cannot be opened reads nothing: whoever waits for it to take a batch is let go, and `written` tells why.
    written.catch((error) => readable.cancel(error).catch(() => {}));
    return { name, rows: 0, tokens: 0, batches: writable.getWriter(), written };
  }

  async function flush() {
    const open = shard ??= openShard();
    const batch = sliceColumns(filling!, 0, filled);
    open.rows += filled;
    for (const tokens of batch.length) open.tokens += tokens;
    try {
      await open.batches.write(toBatch(batch, lineage));
    } catch (error) {
      await open.written; // throws what stopped the file
      throw error;
    }
    [filling, spare, filled] = [spare, filling, 0];
    if (open.rows === shardRows) await closeShard(open);
  }

  async function closeShard({ name, tokens, batches, written }: ReturnType<typeof openShard>) {
    batches.close().catch(() => {}); // then `written` says why
    shards.push({ name, tokens, ...await written });
    shard = undefined;
  }

  return {
    async add(columns, rows) {
      for (let done = 0; done < rows.length;) {
        filling ??= roomFor(batchRows, columns);
        const room = Math.min(batchRows, shardRows - (shard?.rows ?? 0)) - filled;
        const count = Math.min(rows.length - done, room);
        gatherRows(filling, filled, columns, rows.slice(done, done + count));
        filled += count;
        done += count;
        if (count === room) await flush();
      }
    },
    async close() {
      if (filled > 0) await flush();
      if (shard === undefined && shards.length === 0 && first === 0) shard = openShard();
      if (shard !== undefined) await closeShard(shard);
      return shards;
    },
    async abort(reason) {
      await shard?.batches.abort(reason).catch(() => {});
      await shard?.written.catch(() => {});
    },
  };
}
