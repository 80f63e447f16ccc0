/**
 * Writes Arrow IPC files and streams so that any implementation can read them.
 *
 * @module
 */

import {
  Message,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  type RecordBatchWriter,
  Schema,
  util,
} from "apache-arrow/Arrow.dom";
import { createHash } from "node:crypto";
import { InputError } from "../../../kernels/errors.ts";
import { type FileRecord, writeAtomic } from "../../run/files.ts";
import { joinBytes } from "../bytes.ts";
import { openWriter } from "./library.ts";
import { ANNOUNCED, CLOSING_ROWS, CLOSING_SHA256 } from "./messages.ts";
import { findOrigin } from "./read.ts";

/**
 * Arrow's file writer, which leaves out the schema message that the format wants before the first batch; this
 * one writes it.
 */
class FileWriter extends RecordBatchFileWriter {
  protected override _writeSchema(schema: Schema): this {
    return super._writeSchema(schema)._writeMessage(Message.from(schema));
  }
}

/** Bytes that a file has before its first message: Arrow's magic and its padding. */
const FILE_MAGIC = 8;

/** Encodes batches, which must share one schema, and calls `count` with the rows of each. */
async function* encode(
  writer: RecordBatchWriter,
  batches: ReadableStream<RecordBatch>,
  empty: RecordBatch | undefined,
  target: string,
  count: (rows: number) => void = () => {},
  closes = false,
): AsyncGenerator<Uint8Array> {
  let take: (() => Uint8Array[]) | undefined, schema: Schema | undefined;
  let rows = 0;
  const hash = createHash("sha256");
  const open = (schema: Schema) => openWriter(writer, closes ? announcing(schema) : schema);
  let before = writer instanceof FileWriter ? FILE_MAGIC : 0; // bytes that are no message, and not hashed
  const next = () => {
    const bytes = joinBytes(take!());
    if (closes) hash.update(bytes.subarray(before));
    before = Math.max(0, before - bytes.length);
    return bytes;
  };
  for await (const batch of batches) {
    schema ??= batch.schema;
    take ??= open(schema);
    if (!util.compareSchemas(batch.schema, schema)) {
      throw new InputError(
        `Cannot write ${target} as all batches must have one schema: ` +
          `${findOrigin(batch)} has ${describe(batch.schema)}, the first has ${describe(schema)}`,
      );
    }
    if (batch.numRows === 0) continue;
    count(batch.numRows);
    rows += batch.numRows;
    writer.write(batch);
    yield next();
  }
  if (!take && !empty) throw new TypeError(`Cannot write ${target} as there must be a batch: there is none`);
  schema ??= empty!.schema;
  take ??= open(schema);
  if (closes) {
    const first = next(); // the schema, where no batch came with it
    const end = new Map([[CLOSING_ROWS, String(rows)], [CLOSING_SHA256, hash.digest("hex")]]);
    writer.write(new RecordBatch(schema, undefined, end));
    if (first.length > 0) yield first;
  }
  writer.close();
  yield joinBytes(take());
}

/** Announces a closing batch in a schema's metadata. */
function announcing({ fields, metadata, dictionaries }: Schema): Schema {
  return new Schema(fields, new Map([...metadata, [ANNOUNCED, "1"]]), dictionaries);
}

function describe(schema: Schema): string {
  return schema.fields.map((field) => `${field.name} ${field.type}`).join(", ");
}

/**
 * Encodes batches as an Arrow IPC stream, for pipes. The stream ends with a batch without rows, whose
 * metadata says how many rows came and their hash. The schema announces this closing batch, so that a reader
 * knows that a stream without it is cut short; files that are streams do without (`closes` is false). Of
 * batches without rows only the schema is kept; `empty` gives the schema where there are no batches at all.
 * Throws an `InputError` where schemas differ.
 */
export function arrowBytes(
  batches: ReadableStream<RecordBatch>,
  empty?: RecordBatch,
  { closes = true } = {},
): ReadableStream<Uint8Array> {
  const writer = new RecordBatchStreamWriter();
  return ReadableStream.from(encode(writer, batches, empty, "the Arrow stream", undefined, closes));
}

/** What was written: rows, size in bytes, SHA-256 in hexadecimal. */
export interface Written extends FileRecord {
  /** Rows in the file. */
  rows: number;
}

/** A shard that was written. */
export interface WrittenShard extends Written {
  /** Its name in the folder. */
  name: string;
}

/** Gives the name of a shard, for instance `train-00003.arrow`. */
export function shardName(kind: string, index: number, ending = ".arrow"): string {
  return `${kind}-${String(index).padStart(5, "0")}${ending}`;
}

/**
 * Writes batches as an Arrow IPC file, whole or not at all (`writeAtomic`). `empty` gives the schema where there are
 * no batches. With `closes` it ends as a pipe does ({@linkcode arrowBytes}), so that a reader finds damage where no manifest verifies
 * for the file. Throws an InputError where schemas differ.
 */
export async function writeArrowFile(
  path: string,
  batches: ReadableStream<RecordBatch>,
  empty?: RecordBatch,
  { closes = false } = {},
): Promise<Written> {
  let rows = 0;
  const chunks = encode(new FileWriter(), batches, empty, path, (count) => rows += count, closes);
  const record = await writeAtomic(path, chunks);
  return { rows, ...record };
}
