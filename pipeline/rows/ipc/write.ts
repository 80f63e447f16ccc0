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
import { crc32 } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { AtomicFile, type FileRecord } from "../../graph/files.ts";
import { joinBytes } from "../bytes.ts";
import { openWriter } from "./library.ts";
import { ANNOUNCED, CLOSING_ROWS, CLOSING_SHA256 } from "./messages.ts";
import { findOrigin } from "./read.ts";

/**
 * Arrow's file writer, which leaves out the schema message that the format wants before the first
 * batch; this one writes it.
 */
class FileWriter extends RecordBatchFileWriter {
  protected override _writeSchema(schema: Schema): this {
    return super._writeSchema(schema)._writeMessage(Message.from(schema));
  }
}

const FILE_MAGIC = 8; // bytes before a file's first message: Arrow's magic and its padding

/**
 * Encodes batches of one schema. With `closes` it adds a closing batch: rows and hash of the rest.
 */
class Encoder {
  /** Rows so far. */
  rows = 0;
  /** CRC-32 of each batch with rows, and at the end of everything else. */
  readonly checksums: number[] = [];
  #schema?: Schema;
  #head: Uint8Array[] = []; // what comes before the first batch, until it is given
  #rest = 0; // CRC-32 of the bytes outside batches
  #take!: () => Uint8Array[];
  readonly #hash = createHash("sha256");

  constructor(
    private readonly writer: RecordBatchWriter,
    private readonly target: string,
    private readonly closes: boolean,
  ) {}

  /** Returns the bytes of a batch; none where it has no rows. */
  write(batch: RecordBatch): Uint8Array[] {
    const schema = this.#open(batch.schema);
    if (!util.compareSchemas(batch.schema, schema)) {
      throw new InputError(
        `Cannot write ${this.target} as all batches must have one schema: ` +
          `${findOrigin(batch)} has ${describe(batch.schema)}, the first has ${describe(schema)}`,
      );
    }
    if (batch.numRows === 0) return [];
    this.rows += batch.numRows;
    this.writer.write(batch);
    const bytes = joinBytes(this.#take());
    this.checksums.push(crc32(bytes));
    if (this.closes) this.#hash.update(bytes);
    return [...this.#head.splice(0), bytes];
  }

  /** Returns the last bytes. Without any batch, the schema is that of `empty`. */
  close(empty?: RecordBatch): Uint8Array[] {
    if (!this.#schema && !empty) {
      throw new TypeError(`Cannot write ${this.target} as there must be a batch: there is none`);
    }
    const schema = this.#open(empty?.schema);
    if (this.closes) {
      const end = new Map([[CLOSING_ROWS, String(this.rows)], [
        CLOSING_SHA256,
        this.#hash.digest("hex"),
      ]]);
      this.writer.write(new RecordBatch(schema, undefined, end));
    }
    this.writer.close();
    const bytes = joinBytes(this.#take());
    this.checksums.push(crc32(bytes, this.#rest));
    return [...this.#head, bytes];
  }

  /** Writes the schema, unless it is written already. */
  #open(schema?: Schema): Schema {
    if (this.#schema) return this.#schema;
    this.#take = openWriter(this.writer, this.closes ? announcing(schema!) : schema!);
    const head = joinBytes(this.#take());
    this.#rest = crc32(head);
    // The hash covers messages only, not the magic.
    this.#hash.update(head.subarray(this.writer instanceof FileWriter ? FILE_MAGIC : 0));
    this.#head = [head];
    return this.#schema = schema!;
  }
}

/** Announces a closing batch in a schema's metadata. */
function announcing({ fields, metadata, dictionaries }: Schema): Schema {
  return new Schema(fields, new Map([...metadata, [ANNOUNCED, "1"]]), dictionaries);
}

function describe(schema: Schema): string {
  return schema.fields.map((field) => `${field.name} ${field.type}`).join(", ");
}

/**
 * Encodes batches as an Arrow IPC stream, for pipes. The stream ends with a batch without rows,
 * whose metadata says how many rows came and their hash. The schema announces this closing batch,
 * so that a reader knows that a stream without it is cut short; files that are streams do without
 * (`closes` is false). Of batches without rows only the schema is kept; `empty` gives the schema
 * where there are no batches at all. Throws an `InputError` where schemas differ.
 */
export function arrowBytes(
  batches: ReadableStream<RecordBatch>,
  empty?: RecordBatch,
  { closes = true } = {},
): ReadableStream<Uint8Array> {
  const encoder = new Encoder(new RecordBatchStreamWriter(), "the Arrow stream", closes);
  return ReadableStream.from(async function* () {
    for await (const batch of batches) yield* encoder.write(batch);
    yield* encoder.close(empty);
  }());
}

/** What was written: rows, size in bytes, SHA-256 in hexadecimal. */
export interface Written extends FileRecord {
  /** Rows in the file. */
  rows: number;
  /** CRC-32 of each batch with rows, and last of everything else in the file. */
  batches: number[];
}

/** A shard that was written. */
export interface WrittenShard extends Written {
  /** Its name in the folder. */
  name: string;
}

/** Returns the name of a shard, such as `train-00003.arrow`. */
export function shardName(kind: string, index: number, ending = ".arrow"): string {
  return `${kind}-${String(index).padStart(5, "0")}${ending}`;
}

/**
 * Writes batches as an Arrow IPC file, whole or not at all (`writeAtomic`). `empty` gives the
 * schema where there are no batches. With `closes` it ends as a pipe does ({@linkcode arrowBytes}),
 * so that a reader finds damage where no manifest verifies for the file. Throws an InputError where
 * schemas differ.
 */
export async function writeArrowFile(
  path: string,
  batches: ReadableStream<RecordBatch> | AsyncIterable<RecordBatch> | Iterable<RecordBatch>,
  empty?: RecordBatch,
  { closes = false } = {},
): Promise<Written> {
  await using file = new ArrowFile(path, empty, closes);
  for await (const batch of batches) await file.write(batch);
  return await file.close();
}

/**
 * A file that {@linkcode writeArrowFile} writes, batch by batch. It is there once it is closed;
 * disposing of it before removes it.
 */
export class ArrowFile implements AsyncDisposable {
  readonly #encoder: Encoder;
  readonly #file: AtomicFile;

  constructor(path: string, private readonly empty?: RecordBatch, closes = false) {
    this.#encoder = new Encoder(new FileWriter(), path, closes);
    this.#file = new AtomicFile(path);
  }

  /** Writes a batch, whose memory may be used again afterwards. */
  async write(batch: RecordBatch): Promise<void> {
    for (const chunk of this.#encoder.write(batch)) await this.#file.write(chunk);
  }

  /** Ends the file, and gives it its name. */
  async close(): Promise<Written> {
    for (const chunk of this.#encoder.close(this.empty)) await this.#file.write(chunk);
    const { rows, checksums } = this.#encoder;
    return { rows, batches: checksums, ...await this.#file.close() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }
}
