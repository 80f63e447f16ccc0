/**
 * Arrow IPC files and streams, one batch at a time, read and written so that any implementation can read them.
 *
 * The library decodes and encodes; what it leaves unchecked is checked here. A stream without its end marker, a file
 * without its footer, and buffers that leave their batch are errors that name file and batch.
 *
 * Format: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 *
 * @module
 */

import {
  AsyncByteQueue,
  compressionRegistry,
  CompressionType,
  DataType,
  Message,
  MessageHeader,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchReader,
  RecordBatchStreamWriter,
  type RecordBatchWriter,
  Schema,
  util,
} from "apache-arrow";
import { Footer } from "apache-arrow/ipc/metadata/file";
import { ByteBuffer } from "flatbuffers";
import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { InputError } from "../../kernels/errors.ts";
import { type FileRecord, oneLine, openToRead, unreadable, writeAtomic, writeError } from "../run/files.ts";
import { openReading, type Reading, type Vouched } from "../run/vouched.ts";
import { joinBytes, type Take, takeFrom } from "./bytes.ts";

const MAGIC = new TextEncoder().encode("ARROW1");
const CONTINUATION = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
const PREFIX = 8; // bytes before a message's metadata: ff ff ff ff, then its length; also the magic and its padding
const MAX_BODY = 2 ** 31; // bytes of one batch; more is damage, or no batch
const PIECE = 2 ** 26; // bytes read at once
const TAIL = 2 ** 16; // bytes read at once of what follows the end marker: mostly nothing

const SCHEMA_FIRST = "an Arrow stream must begin with its schema";

const zstd = { decode: (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes)) };
compressionRegistry.set(CompressionType.ZSTD, zstd);

// A damaged count in a message would have the library loop, and allocate, up to 2^31 times: nothing is checked by
// flatbuffers for JavaScript. Delete this when it has a verifier.
const vectorLength = ByteBuffer.prototype.__vector_len;
ByteBuffer.prototype.__vector_len = function (offset) {
  const length = vectorLength.call(this, offset);
  if (length >= 0 && length <= this.capacity()) return length;
  throw new RangeError(`a list of ${length} elements leaves the ${this.capacity()} bytes of its message`);
};

const origins = new WeakMap<RecordBatch, string>();

/** Returns where a batch was read, "tokens.arrow, batch 3", for messages; "the batch" where it was made here. */
export function originOf(batch: RecordBatch): string {
  return origins.get(batch) ?? "the batch";
}

/**
 * Reads the batches of an Arrow IPC file or stream, one at a time; `name` is what messages call a stream. Input
 * without batches gives one batch without rows. Throws an InputError, with file and batch, where the input is not
 * Arrow, is cut short (no end marker, no footer) or is damaged. A file that `vouched` knows is hashed on the way, and what comes
 * before its end is to be believed only once the end has come.
 */
export function readArrow(
  input: string | ReadableStream<Uint8Array>,
  name: string = typeof input === "string" ? input : "the Arrow stream",
  vouched?: Vouched,
): ReadableStream<RecordBatch> {
  const reading = typeof input === "string" ? openReading(input, vouched) : undefined;
  return ReadableStream.from(readBatches(input, name, reading));
}

async function* readBatches(input: string | ReadableStream<Uint8Array>, name: string, reading?: Reading) {
  let schema: Uint8Array[] | undefined;
  let fields: Schema | undefined; // what the schema says, without the announcement of a closing batch
  const hash = createHash("sha256");
  let rows = 0;
  let isAnnounced = false, closing: ReadonlyMap<string, string> | undefined;
  const dictionaries = new Map<number, Uint8Array[]>(); // by id; a delta is added, anything else replaces
  let count = 0;
  for await (const { chunks, message } of messages(input, name, reading)) {
    if (closing) throw unreadable(name, "nothing must follow the batch that closes it", "more does");
    if (message.isRecordBatch() && message.metadata.has(CLOSING_ROWS)) closing = message.metadata;
    else if (isAnnounced || !schema) chunks.forEach((chunk) => hash.update(chunk));
    if (message.isSchema()) {
      if (schema) throw unreadable(name, "an Arrow stream must have one schema", "a second one follows");
      schema = chunks;
      const whole: Schema = orUnreadable(name, () => message.header() as unknown as Schema);
      isAnnounced = whole.metadata.has(ANNOUNCED);
      const metadata = new Map([...whole.metadata].filter(([key]) => key !== ANNOUNCED));
      fields = new Schema(whole.fields, metadata, whole.dictionaries);
    } else if (schema === undefined) {
      throw unreadable(name, SCHEMA_FIRST, `it begins with message ${message.headerType}`);
    } else if (message.isDictionaryBatch()) {
      const { id, isDelta } = message.header();
      dictionaries.set(id, [...isDelta ? dictionaries.get(id) ?? [] : [], ...chunks]);
    } else {
      if (closing) continue;
      const where = `${name}, batch ${count++}`;
      orUnreadable(where, () => checkNodes(where, fields!, message));
      const batch = decode(where, [...schema, ...[...dictionaries.values()].flat(), ...chunks]);
      rows += batch.numRows;
      yield isAnnounced ? withSchema(batch, fields!) : batch;
    }
  }
  if (schema === undefined) throw unreadable(name, SCHEMA_FIRST, "it has none");
  if (isAnnounced || closing) checkClosing(name, closing, rows, hash.digest("hex"));
  if (count === 0) yield withSchema(decode(name, schema), fields!);
}

/** Says in a schema's metadata that a batch without rows closes the stream; in its own metadata that says what came before it. */
const ANNOUNCED = "smalltalk.closing";
const CLOSING_ROWS = "smalltalk.rows";
const CLOSING_SHA256 = "smalltalk.sha256";

/** Throws where a stream does not hold what its closing batch says. */
function checkClosing(
  name: string,
  closing: ReadonlyMap<string, string> | undefined,
  rows: number,
  sha256: string,
): void {
  if (closing === undefined) throw cutShort(name);
  const said = closing.get(CLOSING_ROWS);
  if (said !== String(rows)) {
    throw unreadable(name, `it must hold the ${said} rows that its end tells of`, `it holds ${rows}`);
  }
  if (closing.get(CLOSING_SHA256) === sha256) return;
  throw unreadable(name, "its SHA-256 must be what its end says", "it is damaged; make it again");
}

/** Gives a batch another schema of the same columns. */
function withSchema(batch: RecordBatch, schema: Schema): RecordBatch {
  const same = new RecordBatch(schema, batch.data);
  origins.set(same, originOf(batch));
  return same;
}

/** Throws where the parts of a batch have not as many rows as it says, or where a buffer is shorter than they need. */
function checkNodes(where: string, { fields, metadata }: Schema, message: Message): void {
  const isOurs = metadata.has(OURS);
  const { length, nodes, buffers, compression } = message.header() as MessageBatch;
  const rule = "its columns must be as long as it";
  let [node, buffer] = [0, 0];
  /** Walks a column; gives false where the walk cannot go on. */
  const visit = (name: string, type: DataType, rows: number | undefined): boolean => {
    const { length: own, nullCount } = nodes[node++] ?? { length: -1, nullCount: 0 };
    if (own < 0 || rows !== undefined && own !== rows) {
      throw unreadable(where, rule, `it has ${length} rows, column "${name}" has ${own} of ${rows}`);
    }
    if (nullCount < 0 || nullCount > own) {
      throw unreadable(where, rule, `column "${name}" has ${nullCount} null values of ${own}`);
    }
    const stored = DataType.isDictionary(type) ? type.indices : type;
    const isList = DataType.isList(stored) || DataType.isFixedSizeList(stored);
    const sizes = bytesOf(stored, own);
    if (sizes === undefined) return false;
    if (nullCount === 0) sizes[0] = 0;
    const slack = isOurs ? PADDING : Infinity; // other writers may keep room behind their values
    for (const needed of sizes) {
      const has = buffers[buffer++]?.length ?? 0;
      if (compression === null && (has < needed || needed > 0 && has - needed >= slack)) {
        throw unreadable(
          where,
          `the buffers of column "${name}" must hold ${own} values`,
          `one has ${has} bytes, they take ${needed}`,
        );
      }
    }
    const child = isList ? stored.children[0] : undefined;
    if (!child) return !isList;
    const fixed = DataType.isFixedSizeList(stored) ? own * stored.listSize : undefined;
    return visit(name, child.type, fixed);
  };
  if (fields.every(({ name, type }) => visit(name, type, length)) && node !== nodes.length) {
    throw unreadable(
      where,
      `it must have ${node} columns and lists, as its schema says`,
      `it has ${nodes.length}`,
    );
  }
}

const OURS = "smalltalk.format"; // in the metadata of schemas that this project writes
const PADDING = 64; // bytes; a buffer of ours has less of it

/** What a message says of a batch. */
interface MessageBatch {
  length: number;
  nodes: { length: number; nullCount: number }[];
  buffers: { offset: number; length: number }[];
  compression: unknown;
}

/** Lists the bytes that the buffers of a column take at least, validity first; undefined for types that are no column of ours. */
function bytesOf(type: DataType, length: number): number[] | undefined {
  const validity = Math.ceil(length / 8);
  const offsets = (bytes: number) => length === 0 ? 0 : (length + 1) * bytes;
  if (DataType.isInt(type)) return [validity, length * type.bitWidth / 8];
  if (DataType.isFloat(type)) return [validity, length * (2 << type.precision)];
  if (DataType.isUtf8(type)) return [validity, offsets(4), 0];
  if (DataType.isLargeUtf8(type)) return [validity, offsets(8), 0];
  if (DataType.isList(type)) return [validity, offsets(4)];
  if (DataType.isFixedSizeList(type)) return [validity];
}

/** The one batch in a schema, dictionaries and a batch; without a batch, one without rows. */
function decode(where: string, chunks: Uint8Array[]): RecordBatch {
  const batch: RecordBatch = orUnreadable(where, () => RecordBatchReader.from(chunks).open().next().value);
  origins.set(batch, where);
  return batch;
}

/** Runs a call into the library; what it throws becomes one line that says where. */
function orUnreadable<T>(where: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw unreadable(where, "it must be whole Arrow data", oneLine(error));
  }
}

/** One encapsulated IPC message: prefix, metadata and body; the body is in memory of its own, so it is aligned. */
interface IpcMessage {
  chunks: Uint8Array[];
  message: Message;
}

async function* messages(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  reading?: Reading,
): AsyncGenerator<IpcMessage> {
  if (typeof input !== "string") {
    const chunks = input[Symbol.asyncIterator]();
    try {
      return yield* streamMessages(takeFrom(chunks), name);
    } finally {
      await chunks.return?.();
    }
  }
  using file = await openToRead(input);
  const { size, isFile, isDirectory } = await file.stat();
  if (isDirectory) {
    throw unreadable(name, "it must be a file", "it is a folder", { remedy: "name a file in it" });
  }
  const take = takeFromFile(file);
  if (!isFile) return yield* streamMessages(take, name); // a named pipe, a device
  if (reading) return yield* hashedMessages(take, name, reading);
  const head = await take(MAGIC.length);
  await file.seek(0, Deno.SeekMode.Start);
  yield* isMagic(head) ? fileMessages(file, take, size, name) : streamMessages(take, name);
}

/** Messages of a file from its beginning to its end, so that it is hashed in the same pass; its footer says nothing more. */
async function* hashedMessages(take: Take, name: string, reading: Reading): AsyncGenerator<IpcMessage> {
  const hashed: Take = async (size) => {
    const bytes = await take(size);
    reading.update(bytes);
    return bytes;
  };
  try {
    yield* streamMessages(hashed, name);
  } catch (error) {
    while ((await hashed(PIECE)).length > 0); // what is wrong in it follows from what its hash tells
    reading.end();
    throw error;
  }
  reading.end();
}

/** Messages one after another, up to the end marker: the stream format, or the file format on a pipe. */
async function* streamMessages(take: Take, name: string): AsyncGenerator<IpcMessage> {
  let prefix = await take(PREFIX);
  checkBeginning(prefix, name);
  const isFile = isMagic(prefix);
  if (isFile) prefix = await take(PREFIX);
  for (let batches = 0;; prefix = await take(PREFIX)) {
    const where = `${name}, batch ${batches}`;
    const length = metadataLength(prefix, where);
    if (length === 0) break;
    const metadata = await take(length);
    if (metadata.length < length) throw cutShort(where);
    const message = decodeMessage(metadata, where);
    const body = await take(message.bodyLength);
    if (body.length < message.bodyLength) throw cutShort(where);
    if (message.isRecordBatch() && !message.metadata.has(CLOSING_ROWS)) batches++;
    yield { chunks: [prefix, metadata, body], message };
  }
  let tail = new Uint8Array();
  for (let next = await take(TAIL); next.length > 0; next = await take(TAIL)) {
    tail = joinBytes([tail, next]).slice(-MAGIC.length);
  }
  if (isFile && !isMagic(tail)) throw cutShort(name);
  if (!isFile && tail.length > 0) {
    throw unreadable(name, "an Arrow stream must stop at its end marker", "more bytes follow");
  }
}

/** Throws where no Arrow stream or file begins with these bytes: they are of something else, not cut short. */
function checkBeginning(prefix: Uint8Array, name: string): void {
  const begins = (bytes: Uint8Array) => bytes.every((byte, i) => i >= prefix.length || byte === prefix[i]);
  if (prefix.length > 0 && (begins(MAGIC) || begins(CONTINUATION))) return;
  const fact = prefix.length === 0
    ? "it is empty; see what the task that writes it says"
    : `it is something else, it begins with ${hex(prefix)}; give what a task such as tokenize writes`;
  throw unreadable(name, "it must be an Arrow stream or file", fact);
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** Messages where the footer of a file says they are: the schema, all dictionaries, then the batches. */
async function* fileMessages(
  file: Deno.FsFile,
  take: Take,
  size: number,
  name: string,
): AsyncGenerator<IpcMessage> {
  let position = -1;
  const read = async (offset: number, length: number) => {
    if (offset !== position) await file.seek(offset, Deno.SeekMode.Start);
    position = offset + length;
    return await take(length);
  };
  const tail = 4 + MAGIC.length; // length of the footer, then the magic
  if (size < PREFIX + tail) throw cutShort(name);
  const end = await read(size - tail, tail);
  if (!isMagic(end.subarray(4))) throw cutShort(name);
  const length = new DataView(end.buffer).getInt32(0, true);
  const limit = size - tail - length; // where the footer begins, and every block has ended
  if (length <= 0 || limit < PREFIX) {
    throw unreadable(name, "its footer must lie within it", `it has ${length} bytes`);
  }
  const bytes = await read(limit, length);
  const { schema, blocks } = orUnreadable(name, () => {
    const footer = Footer.decode(bytes);
    return { schema: footer.schema, blocks: [...footer.dictionaryBatches(), ...footer.recordBatches()] };
  });
  yield orUnreadable(name, () => {
    const take = openWriter(new RecordBatchStreamWriter(), schema);
    return { chunks: take(), message: Message.from(schema) };
  });
  let batches = 0;
  let done = PREFIX; // of what came before, in a file of ours, which has no gaps
  const isOurs = schema.metadata.has(OURS);
  if (isOurs) done += PREFIX + metadataLength(await read(PREFIX, PREFIX), name);
  for (const { offset, metaDataLength, bodyLength } of blocks) {
    const where = `${name}, batch ${batches}`;
    const whole = metaDataLength + bodyLength;
    if (!(offset >= PREFIX && metaDataLength > PREFIX && bodyLength >= 0 && offset + whole <= limit)) {
      throw unreadable(where, "it must lie before the footer", `it has ${whole} bytes from byte ${offset}`);
    }
    if (isOurs && offset !== done) throw gap(name, done, offset);
    done = offset + whole;
    const bytes = await read(offset, whole);
    if (bytes.length < whole) throw cutShort(name);
    const prefix = bytes.subarray(0, PREFIX);
    const message = decodeMessage(bytes.subarray(PREFIX, metaDataLength), where);
    if (metadataLength(prefix, where) !== metaDataLength - PREFIX || message.bodyLength !== bodyLength) {
      throw unreadable(where, "footer and message must agree", "they give different lengths");
    }
    if (message.isRecordBatch()) batches++;
    yield { chunks: [bytes], message };
  }
  if (isOurs && done + PREFIX !== limit) throw gap(name, done + PREFIX, limit); // the end marker is a prefix alone
}

function gap(name: string, end: number, next: number): InputError {
  return unreadable(
    name,
    "its footer must list all that it holds",
    `nothing is said of bytes ${end} to ${next}`,
  );
}

/** Length of the metadata that follows a message's prefix; 0 is the end marker. */
function metadataLength(prefix: Uint8Array, where: string): number {
  if (prefix.length < PREFIX) throw cutShort(where);
  const view = new DataView(prefix.buffer, prefix.byteOffset);
  const length = view.getInt32(4, true);
  if (view.getInt32(0, true) === -1 && length >= 0) return length;
  const rule = "an Arrow message must begin with ff ff ff ff and its length";
  throw unreadable(where, rule, `it begins with ${hex(prefix)}`);
}

/** Decodes a message's metadata, and checks that all its buffers lie within its body. */
function decodeMessage(metadata: Uint8Array, where: string): Message {
  return orUnreadable(where, () => {
    const message = Message.decode(metadata);
    const { bodyLength } = message;
    if (!(bodyLength >= 0 && bodyLength <= MAX_BODY)) {
      throw new RangeError(`its body has ${bodyLength} bytes, which is not from 0 to ${MAX_BODY}`);
    }
    if (message.isSchema()) return message;
    if (!message.isRecordBatch() && !message.isDictionaryBatch()) {
      throw new TypeError(`its message type is ${MessageHeader[message.headerType] ?? message.headerType}`);
    }
    const { compression, buffers } = message.isDictionaryBatch() ? message.header().data : message.header();
    if (compression !== null && compressionRegistry.get(compression.type) === null) {
      throw new TypeError(
        `its body is compressed with ${CompressionType[compression.type]}; write it with zstd or plain`,
      );
    }
    let end = 0; // of the buffers before
    for (const { offset, length } of [...buffers].sort((a, b) => a.offset - b.offset)) {
      if (!(offset >= 0 && length >= 0 && offset + length <= bodyLength)) {
        throw new RangeError(
          `a buffer of ${length} bytes at ${offset} leaves its body of ${bodyLength} bytes`,
        );
      }
      if (length > 0 && offset < end) throw new RangeError(`two of its buffers overlap at byte ${offset}`);
      end = Math.max(end, offset + length);
    }
    return message;
  });
}

function cutShort(where: string): InputError {
  const fact = "it is cut short; what wrote it did not finish and must run again";
  return unreadable(where, "it must end with Arrow's end marker", fact);
}

function isMagic(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC.length && MAGIC.every((byte, i) => byte === bytes[i]);
}

/** Takes from an open file at its position, in pieces, so that a damaged size cannot allocate more than there is. */
function takeFromFile(file: Deno.FsFile): Take {
  return async (size) => {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let isWhole = true;
    for (let left = size; left > 0 && isWhole; left -= PIECE) {
      const piece = new Uint8Array(Math.min(left, PIECE));
      let filled = 0;
      while (filled < piece.length) {
        const count = await file.read(piece.subarray(filled));
        if (count === null) break;
        filled += count;
      }
      isWhole = filled === piece.length;
      pieces.push(piece.subarray(0, filled));
    }
    return pieces.length === 1 ? pieces[0] : joinBytes(pieces);
  };
}

/** Arrow's file writer with the schema message that the format has before the first batch, and that it leaves out. */
class FileWriter extends RecordBatchFileWriter {
  protected override _writeSchema(schema: Schema): this {
    return super._writeSchema(schema)._writeMessage(Message.from(schema));
  }
}

/** Opens a writer. What this returns gives the bytes written since its last call, as views of the batches' memory. */
function openWriter(writer: RecordBatchWriter, schema: Schema): () => Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const sink = new AsyncByteQueue<Uint8Array>();
  sink.write = (chunk) => void chunks.push(chunk as Uint8Array);
  writer.reset(sink, schema);
  return () => chunks.splice(0);
}

/** Encodes batches, which must share one schema; `count` is told the rows of each. */
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
  const next = () => {
    const bytes = joinBytes(take!());
    if (closes) hash.update(bytes);
    return bytes;
  };
  for await (const batch of batches) {
    schema ??= batch.schema;
    take ??= open(schema);
    if (!util.compareSchemas(batch.schema, schema)) {
      throw new InputError(
        `Cannot write ${target} as all batches must have one schema: ` +
          `${originOf(batch)} has ${describe(batch.schema)}, the first has ${describe(schema)}`,
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

/** A file that takes batches of one schema, one by one, as an Arrow IPC stream. */
export interface ArrowAppender {
  /** Appends a batch, whose memory may be used again afterwards. */
  append(batch: RecordBatch): void;
  /** Writes the end marker and closes the file. */
  finish(): void;
  /** Closes the file as it is; does nothing after `finish`. */
  abandon(): void;
}

/**
 * Opens a new file for batches that come over time, for intermediate data: neither synchronised nor renamed. It waits for
 * its writes, which end in the page cache, and copies nothing.
 */
export function openArrowAppender(path: string, schema: Schema): ArrowAppender {
  const writer = new RecordBatchStreamWriter();
  const take = openWriter(writer, schema);
  const file = Deno.openSync(path, { write: true, create: true, truncate: true });
  const flush = () => {
    try {
      for (const bytes of take()) {
        for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      }
    } catch (error) {
      throw writeError(path, error);
    }
  };
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

function describe(schema: Schema): string {
  return schema.fields.map((field) => `${field.name} ${field.type}`).join(", ");
}

/**
 * Encodes batches as an Arrow IPC stream, for pipes. It ends with a batch without rows whose metadata says how many rows came and
 * their hash; the schema announces it, so that a stream without it is known to be cut short; files that are streams do without
 * (`closes` is false). Batches without rows leave no trace but the schema; `empty` gives the schema where there are no batches at
 * all. Throws an InputError where schemas differ.
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

/**
 * Writes batches as an Arrow IPC file, whole or not at all (`writeAtomic`). `empty` gives the schema where there are
 * no batches. Throws an InputError where schemas differ.
 */
export async function writeArrowFile(
  path: string,
  batches: ReadableStream<RecordBatch>,
  empty?: RecordBatch,
): Promise<Written> {
  let rows = 0;
  const chunks = encode(new FileWriter(), batches, empty, path, (count) => rows += count);
  const record = await writeAtomic(path, chunks);
  return { rows, ...record };
}
