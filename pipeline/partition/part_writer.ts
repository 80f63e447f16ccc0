/** Writes the rows of one expert into shards, as they come, in memory of a fixed size. */

import { type Columns, shardName, toBatch, writeArrowFile, type WrittenShard } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { regroup, takeColumns } from "../rows/columns.ts";

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
  /** Most rows in a batch of a shard; memory holds about twice as many. */
  batchRows: number;
}

/**
 * Takes rows and writes them into shards. The same rows give the same bytes, however they are cut into
 * batches.
 */
export class PartWriter {
  readonly #input: WritableStreamDefaultWriter<Columns>;
  readonly #written: Promise<WrittenShard[]>;

  constructor(options: PartOptions) {
    const { readable, writable } = new TransformStream<Columns, Columns>();
    this.#input = writable.getWriter();
    this.#written = writeShards(readable, options);
    this.#written.catch(() => {}); // thrown where rows are added, or at the end
  }

  /** Adds rows of a batch, by their numbers. */
  async add(columns: Columns, rows: number[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#input.write(takeColumns(columns, rows)).catch(() => this.#written);
  }

  /** Writes what is left, at least the first shard, and returns all shards. */
  async close(): Promise<WrittenShard[]> {
    await this.#input.close().catch(() => {}); // then `#written` says why
    return await this.#written;
  }

  /** Removes the shard that is half-written; those before it stay. */
  async abort(reason: unknown): Promise<void> {
    await this.#input.abort(reason).catch(() => {});
    await this.#written.catch(() => {});
  }
}

async function writeShards(
  rows: ReadableStream<Columns>,
  { folder, kind, lineage, empty, shardRows, batchRows }: PartOptions,
): Promise<WrittenShard[]> {
  const shards: WrittenShard[] = [];
  let left = shardRows; // rows that the shard has room for
  const batches = regroup(rows, () => Math.min(batchRows, left));
  try {
    for (let next = await batches.next(); !next.done || shards.length === 0;) {
      const shard = async function* () {
        while (!next.done) {
          const isLast = next.value.rows === left;
          left = isLast ? shardRows : left - next.value.rows;
          yield toBatch(next.value, lineage);
          next = await batches.next();
          if (isLast) return;
        }
      };
      const name = shardName(kind, shards.length), source = ReadableStream.from(shard());
      shards.push({ name, ...await writeArrowFile(`${folder}/${name}`, source, toBatch(empty, lineage)) });
    }
    return shards;
  } finally {
    await batches.return(undefined);
  }
}
