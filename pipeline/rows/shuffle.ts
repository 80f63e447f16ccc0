/**
 * Puts sequences into a seeded random order, or back into the order of their ids, without holding them all in
 * memory. The order is a function of (seed, sequence id) alone: it depends neither on how the rows come nor
 * on how much memory there is.
 *
 * @module
 */

import { RecordBatchStreamWriter, type Schema } from "apache-arrow/Arrow.dom";
import { InputError } from "../../kernels/errors.ts";
import { refuseLink, removeIfEmpty, removeIfThere, writing } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import { type Columns, fromBatch, readArrow, type RecordBatch, toBatch } from "./arrow.ts";
import { openWriter } from "./ipc/library.ts";
import { checkLineage, FORMAT, identityOf, type Lineage, lineageOf } from "./lineage.ts";
import { concatColumns, copyRows, gatherRows, roomFor, sliceColumns, takeColumns } from "./columns.ts";
import { permutation, randomKeys } from "../random.ts";

/** A file to which batches of one schema are appended, one by one, as an Arrow IPC stream. */
interface ArrowAppender {
  /** Appends a batch, whose memory may be used again afterwards. */
  append(batch: RecordBatch): void;
  /** Writes the end marker and closes the file. */
  finish(): void;
  /** Closes the file as it is; does nothing after `finish`. */
  abandon(): void;
}

/**
 * Opens a new file for batches that come over time, for intermediate data: the file is neither synchronised
 * nor renamed at its end. An append returns once the batch is in the page cache, and copies nothing.
 */
function openArrowAppender(path: string, schema: Schema): ArrowAppender {
  const writer = new RecordBatchStreamWriter();
  const take = openWriter(writer, schema);
  const file = writing(path, () => Deno.openSync(path, { write: true, create: true, truncate: true }));
  const flush = () =>
    writing(path, () => {
      for (const bytes of take()) {
        for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      }
    });
  const abandon = () => file[Symbol.dispose](); // may come again
  return {
    append(batch) {
      writer.write(batch);
      flush();
    },
    finish() {
      writer.close();
      flush();
      abandon();
    },
    abandon,
  };
}

/** Settings of {@link shuffle}. */
export interface ShuffleOptions {
  /** Seed of the order. */
  seed: number;
  /** Folder for what does not fit in memory; made when needed, removed afterwards. */
  spill: string;
  /** Bytes of rows to hold in memory; 16 MiB unless given. Never changes the order. */
  budget?: number;
}

const BUCKETS = 256;
/** Bytes of rows that a shuffle keeps in memory before it uses the disk. */
export const BUDGET = 16 * 1024 * 1024;
const BATCH = 1024;

/**
 * Yields the same rows ordered by a 64-bit random key of their sequence id (equal keys by id). Rows beyond
 * `budget` go to one file per leading byte of the key. A file that is larger than the budget is divided by
 * the next byte of the key, and so on. So memory holds the budget, however many rows there are.
 */
export function shuffle(
  source: ReadableStream<RecordBatch>,
  options: ShuffleOptions,
): ReadableStream<RecordBatch> {
  const keys = (sequence: BigUint64Array) => randomKeys(options.seed, "shuffle", sequence);
  return ReadableStream.from(ordered(source, { ...options, keys }, 0));
}

/**
 * Yields the same rows in the order of their sequence ids, the largest of which is `last`. Everything else is
 * as in {@linkcode shuffle}.
 */
export function inSequence(
  source: ReadableStream<RecordBatch>,
  { last, ...options }: Omit<ShuffleOptions, "seed"> & { last: bigint },
): ReadableStream<RecordBatch> {
  const zeros = BigInt(64 - last.toString(2).length); // so that the first byte of keys tells them apart
  const keys = (sequence: BigUint64Array) => sequence.map((id) => id << zeros);
  return ReadableStream.from(ordered(source, { ...options, keys }, 0));
}

/**
 * Does the first pass of a shuffle that several processes do together: writes rows to files by the leading `bits` of their keys, 0 to 8,
 * at the paths of the buckets. Returns the rows of each bucket `[2^bits]`; one without rows has no file. Rows of one bucket that many
 * such calls wrote are put in order by {@linkcode shuffleBuckets}.
 */
export async function scatter(
  source: ReadableStream<RecordBatch>,
  { seed, bits, pathOf, budget = BUDGET }: {
    seed: number;
    bits: number;
    pathOf(bucket: number): string;
    budget?: number;
  },
): Promise<number[]> {
  const rows = new Array<number>(2 ** bits).fill(0);
  const files = new Map<number, ArrowAppender>();
  const holding: Holding = { count: 0 };
  const write = () =>
    divide(holding, (sequence) => randomKeys(seed, "shuffle", sequence), 0, (byte, batch) => {
      const bucket = byte >> (8 - bits);
      rows[bucket] += batch.numRows;
      let file = files.get(bucket);
      if (!file) files.set(bucket, file = openArrowAppender(pathOf(bucket), batch.schema));
      file.append(batch);
    });
  try {
    await hold(source, budget, holding, write);
    if (holding.count > 0) write();
    for (const file of files.values()) file.finish();
    return rows;
  } finally {
    for (const file of files.values()) file.abandon();
  }
}

/**
 * Does the second pass: yields the rows of buckets that follow one another, each with all that any process wrote of it, in the order of
 * {@linkcode shuffle}.
 */
export async function* shuffleBuckets(
  buckets: Iterable<ReadableStream<RecordBatch>>,
  options: ShuffleOptions,
): AsyncGenerator<RecordBatch> {
  const keys = (sequence: BigUint64Array) => randomKeys(options.seed, "shuffle", sequence);
  const room = {};
  for (const bucket of buckets) yield* ordered(bucket, { ...options, keys }, 0, room);
}

/** What rows are ordered by: a key for every sequence id. */
interface Order extends Omit<ShuffleOptions, "seed"> {
  keys(sequence: BigUint64Array): BigUint64Array;
}

/** Room for the budget's rows, and for a batch. */
interface Room {
  held?: Columns;
  batch?: Columns;
}

/** Rows in their room, and what is known of them. */
interface Holding {
  room?: Room;
  /** Rows that are held. */
  count: number;
  lineage?: Lineage;
  /** The first batch: how one without rows looks. */
  empty?: RecordBatch;
}

/** Copies rows into their room; `full` makes some where there is none left. */
async function hold(
  source: ReadableStream<RecordBatch>,
  budget: number,
  holding: Holding,
  full: () => void | Promise<void>,
): Promise<void> {
  const room = holding.room ??= {};
  for await (const batch of source) {
    holding.lineage ??= lineageOf(batch) ?? { format: FORMAT, stage: "" };
    holding.empty ??= batch;
    const columns = fromBatch(batch);
    if (columns.rows === 0) continue;
    const bytesPerRow = 64 + (columns.tokens?.byteLength ?? 0) / columns.rows;
    room.held ??= roomFor(Math.max(1, Math.floor(budget / bytesPerRow)), columns);
    for (let begin = 0; begin < columns.rows;) {
      if (holding.count === room.held.rows) await full();
      const end = Math.min(columns.rows, begin + room.held.rows - holding.count);
      copyRows(room.held, holding.count, columns, begin, end);
      holding.count += end - begin;
      begin = end;
    }
  }
}

/** Hands on what is held by one byte of the keys, in batches whose memory is used again; nothing is held afterwards. */
function divide(
  holding: Holding,
  keysOf: Order["keys"],
  depth: number,
  append: (byte: number, batch: RecordBatch) => void,
): void {
  const room = holding.room!;
  const rows = sliceColumns(room.held!, 0, holding.count);
  holding.count = 0;
  const keys = keysOf(rows.sequence);
  const { order, starts } = byBucket(new Uint8Array(keys.buffer), 7 - depth);
  const gathered = room.batch ??= roomFor(BATCH, rows);
  for (let byte = 0; byte < BUCKETS; byte++) {
    for (let begin = starts[byte]; begin < starts[byte + 1]; begin += BATCH) {
      const indices = order.subarray(begin, Math.min(begin + BATCH, starts[byte + 1]));
      gatherRows(gathered, 0, rows, indices);
      append(byte, toBatch(sliceColumns(gathered, 0, indices.length), holding.lineage!));
    }
  }
}

async function* ordered(
  source: ReadableStream<RecordBatch>,
  { keys: keysOf, spill, budget = BUDGET }: Order,
  depth: number, // bytes of the key that all rows share
  // Room for the rows of the budget and one batch. All depths share it: taking and freeing it anew would fragment memory.
  room: Room = {},
): AsyncGenerator<RecordBatch> {
  const files = new Map<number, ArrowAppender>(); // by bucket
  const pathOf = (bucket: number) => `${spill}/${bucket}.arrows`;
  const holding: Holding = { room, count: 0 };

  /** Moves the rows that memory holds into the files of their buckets. */
  async function spillHeld() {
    await refuseLink(spill);
    await writing(spill, () => Deno.mkdir(spill, { recursive: true }));
    divide(holding, keysOf, depth, (bucket, batch) => {
      let file = files.get(bucket);
      if (!file) files.set(bucket, file = openArrowAppender(pathOf(bucket), batch.schema));
      file.append(batch);
    });
  }

  /** After 8 bytes the keys are equal: no file tells rows apart. */
  const grow = () => void (room.held = concatColumns([room.held!, roomFor(holding.count, room.held!)]));

  try {
    await hold(source, budget, holding, () => depth < 8 ? spillHeld() : grow());
    if (files.size === 0) {
      const { count, lineage, empty } = holding;
      if (count > 0) yield* inOrder(sliceColumns(room.held!, 0, count), keysOf, lineage!);
      else if (empty) yield empty;
      return;
    }
    if (holding.count > 0) await spillHeld();
    for (const file of files.values()) file.finish();
    for (const bucket of [...files.keys()].sort((a, b) => a - b)) {
      const path = pathOf(bucket);
      yield* ordered(readArrow(path), { keys: keysOf, spill: `${path}.parts`, budget }, depth + 1, room);
      await removeIfThere(path);
    }
  } finally {
    for (const [bucket, file] of files) {
      file.abandon();
      await removeIfThere(pathOf(bucket));
    }
    if (files.size > 0) await removeIfEmpty(spill);
  }
}

/**
 * Sorts rows by one byte of their keys, `[rows, 8]`. Returns the rows in order, and where each bucket starts,
 * `[BUCKETS + 1]`.
 */
function byBucket(keys: Uint8Array, byte: number): { order: Uint32Array; starts: Uint32Array } {
  const order = new Uint32Array(keys.length / 8);
  const starts = new Uint32Array(BUCKETS + 1);
  for (let row = 0; row < order.length; row++) starts[keys[row * 8 + byte] + 1]++;
  for (let bucket = 0; bucket < BUCKETS; bucket++) starts[bucket + 1] += starts[bucket];
  const next = starts.slice();
  for (let row = 0; row < order.length; row++) order[next[keys[row * 8 + byte]]++] = row;
  return { order, starts };
}

function* inOrder(rows: Columns, keysOf: Order["keys"], lineage: Lineage): Generator<RecordBatch> {
  const keys = keysOf(rows.sequence);
  const order = Uint32Array.from(keys, (_, row) => row);
  const compare = (a: bigint, b: bigint) => a < b ? -1 : a > b ? 1 : 0;
  order.sort((a, b) => compare(keys[a], keys[b]) || compare(rows.sequence[a], rows.sequence[b]));
  for (let begin = 0; begin < rows.rows; begin += BATCH) {
    yield toBatch(takeColumns(rows, order.subarray(begin, begin + BATCH)), lineage);
  }
}

/**
 * Opens an endless stream of training sequences, starting after `consumed` of them. The first pass takes the
 * shards in their order. Every later pass permutes the shards and the rows within each. The returned function
 * gives the next `count` sequences.
 *
 * Memory holds one shard. None of its rows is handed out before the shard was read to its end, so that what
 * `vouched` knows of it is checked first. Throws an `InputError` where the shards hold no rows.
 */
export function epochs(
  paths: string[],
  seed: number,
  consumed = 0,
  vouched?: Vouched,
): (count: number) => Promise<Columns> {
  const source = pass(paths, seed, vouched);
  let skip = consumed;
  let rest: Columns | undefined;
  return async (wanted) => {
    const parts: Columns[] = [];
    for (let left = wanted; left > 0;) {
      while (!rest || rest.rows === 0) rest = (await source.next()).value as Columns; // of which there is no end
      const dropped = Math.min(skip, rest.rows);
      skip -= dropped;
      const count = Math.min(left, rest.rows - dropped);
      if (count > 0) parts.push(sliceColumns(rest, dropped, dropped + count));
      rest = sliceColumns(rest, dropped + count, rest.rows);
      left -= count;
    }
    return concatColumns(parts);
  };
}

async function* pass(paths: string[], seed: number, vouched?: Vouched) {
  let rows = 0;
  let first: RecordBatch | undefined;
  for (const path of paths) {
    const shard = await Array.fromAsync(readArrow(path, path, vouched));
    first ??= shard[0];
    checkLineage(shard[0], identityOf(lineageOf(first)), paths[0]);
    for (const batch of shard) {
      rows += batch.numRows;
      yield fromBatch(batch);
    }
  }
  if (rows === 0) {
    throw new InputError("Cannot read training sequences as the shards must hold some: they hold 0 rows");
  }
  for (let epoch = 1;; epoch++) {
    for (const shard of permutation(paths.length, seed, `epoch ${epoch}`)) {
      const parts: Columns[] = [];
      for await (const batch of readArrow(paths[shard], paths[shard], vouched)) parts.push(fromBatch(batch));
      const all = concatColumns(parts);
      if (all.rows > 0) yield takeColumns(all, permutation(all.rows, seed, `epoch ${epoch} shard ${shard}`));
    }
  }
}
