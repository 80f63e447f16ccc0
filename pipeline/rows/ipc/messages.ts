/**
 * Takes Arrow IPC files and streams apart into their messages. What ends without its end marker or footer, and a message whose
 * buffers leave its body, are errors that name file and batch.
 *
 * Format: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 *
 * @module
 */

import {
  compressionRegistry,
  CompressionType,
  Message,
  MessageHeader,
  RecordBatchStreamWriter,
} from "apache-arrow/Arrow.dom";
import { Footer } from "apache-arrow/ipc/metadata/file";
import type { InputError } from "../../../kernels/errors.ts";
import { openToRead, unreadable } from "../../run/files.ts";
import type { Reading } from "../../run/vouched.ts";
import { joinBytes, type Take, takeFrom } from "../bytes.ts";
import { openWriter, orUnreadable } from "./library.ts";
import { CLOSING_ROWS } from "./marks.ts";

const MAGIC = new TextEncoder().encode("ARROW1");
const CONTINUATION = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
const PREFIX = 8; // bytes before a message's metadata: ff ff ff ff, then its length; also the magic and its padding
const PIECE = 2 ** 16; // bytes read at once of what follows the end marker: mostly nothing

/** One encapsulated IPC message. */
export interface IpcMessage {
  message: Message;
  /** Its prefix and metadata. */
  head: Uint8Array;
  /** Where it begins in its file or stream. */
  offset: number;
  /** Where its body begins. */
  start: number;
  /** Where it ends. */
  end: number;
  /** Reads its body into memory of its own, so that it is aligned. To be called before the next message is asked for. */
  body(): Promise<Uint8Array>;
}

/** What messages are read from, one after another. */
interface Source {
  /** Reads the next bytes. */
  take: Take;
  /** Passes over bytes without reading them. */
  skip(size: number): unknown;
}

/** Reads the messages of a file or stream. A file that is hashed by `reading` is read from its beginning to its end. */
export async function* messages(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  reading?: Reading,
): AsyncGenerator<IpcMessage> {
  if (typeof input !== "string") {
    const chunks = input[Symbol.asyncIterator]();
    try {
      return yield* streamMessages(sourceOf(takeFrom(chunks)), name);
    } finally {
      await chunks.return?.();
    }
  }
  using file = await openToRead(input);
  const { size, isFile, isDirectory } = await file.stat();
  if (isDirectory) {
    throw unreadable(name, "it must be a file", "it is a folder", { remedy: "name a file in it" });
  }
  if (!isFile) return yield* messages(file.readable, name); // a named pipe, a device
  yield* reading ? hashedMessages(sourceIn(file, size), name, reading) : messagesIn(file, size, name);
}

/** Reads the messages of a file. Bodies that are not asked for are not read. */
export function messagesIn(file: Deno.FsFile, size: number, name: string): AsyncGenerator<IpcMessage> {
  const isFormat = size >= MAGIC.length && isMagic(readAt(file, 0, MAGIC.length));
  return isFormat ? fileMessages(file, size, name) : streamMessages(sourceIn(file, size), name);
}

/**
 * Reads bytes that the file must have. It keeps the thread while it waits: 2 us where the system has them in memory; a promise
 * for them would take 40 us.
 */
export function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let at = 0; at < length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new RangeError(`Cannot read ${length} bytes as the file ends before them`);
    at += count;
  }
  return bytes;
}

/** Reads a file from its beginning on. A damaged size takes no more memory than the file has bytes. */
function sourceIn(file: Deno.FsFile, size: number): Source {
  let position = 0;
  return {
    take(wanted) {
      const begin = Math.min(position, size);
      position += wanted;
      return Promise.resolve(readAt(file, begin, Math.min(size, position) - begin));
    },
    skip: (wanted) => void (position += wanted),
  };
}

const sourceOf = (take: Take): Source => ({ take, skip: take });

/** Reads the whole file, so that it is hashed in the same pass; its footer says nothing more. */
async function* hashedMessages({ take }: Source, name: string, reading: Reading): AsyncGenerator<IpcMessage> {
  const hashed: Take = async (size) => {
    const bytes = await take(size);
    reading.update(bytes);
    return bytes;
  };
  try {
    yield* streamMessages(sourceOf(hashed), name);
  } catch (error) {
    while ((await hashed(PIECE)).length > 0); // read on to the end: where the hash is wrong, that explains the error better
    reading.end();
    throw error;
  }
  reading.end();
}

/** Messages one after another, up to the end marker: the stream format, or the file format on a pipe. */
async function* streamMessages({ take, skip }: Source, name: string): AsyncGenerator<IpcMessage> {
  let prefix = await take(PREFIX), offset = 0;
  checkBeginning(prefix, name);
  const isFile = isMagic(prefix);
  if (isFile) [prefix, offset] = [await take(PREFIX), PREFIX];
  for (let batches = 0;; prefix = await take(PREFIX)) {
    const where = `${name}, batch ${batches}`;
    const length = metadataLength(prefix, where);
    if (length === 0) break;
    const metadata = await take(length);
    if (metadata.length < length) throw cutShort(where);
    const message = decodeMessage(metadata, where);
    if (message.isRecordBatch() && !message.metadata.has(CLOSING_ROWS)) batches++;
    const start = offset + PREFIX + length, end = start + message.bodyLength;
    let left = message.bodyLength;
    const body = async () => {
      const bytes = await take(left);
      if (bytes.length < left) throw cutShort(where);
      left = 0;
      return bytes;
    };
    yield { message, head: joinBytes([prefix, metadata]), offset, start, end, body };
    await skip(left);
    offset = end;
  }
  let tail = new Uint8Array();
  for (let next = await take(PIECE); next.length > 0; next = await take(PIECE)) {
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
async function* fileMessages(file: Deno.FsFile, size: number, name: string): AsyncGenerator<IpcMessage> {
  const tail = 4 + MAGIC.length; // length of the footer, then the magic
  if (size < PREFIX + tail) throw cutShort(name);
  const last = readAt(file, size - tail, tail);
  if (!isMagic(last.subarray(4))) throw cutShort(name);
  const length = new DataView(last.buffer).getInt32(0, true);
  const limit = size - tail - length; // where the footer begins, and every block has ended
  if (length <= 0 || limit < PREFIX) {
    throw unreadable(name, "its footer must lie within it", `it has ${length} bytes`);
  }
  const { schema, blocks } = orUnreadable(name, () => {
    const footer = Footer.decode(readAt(file, limit, length));
    return { schema: footer.schema, blocks: [...footer.dictionaryBatches(), ...footer.recordBatches()] };
  });
  const head = orUnreadable(name, () => joinBytes(openWriter(new RecordBatchStreamWriter(), schema)()));
  const none = () => Promise.resolve(new Uint8Array());
  yield { message: Message.from(schema), head, offset: PREFIX, start: PREFIX, end: PREFIX, body: none };
  let batches = 0;
  for (const { offset, metaDataLength, bodyLength } of blocks) {
    const where = `${name}, batch ${batches}`;
    const start = offset + metaDataLength, end = start + bodyLength;
    if (!(offset >= PREFIX && metaDataLength > PREFIX && bodyLength >= 0 && end <= limit)) {
      throw unreadable(
        where,
        "it must lie before the footer",
        `it has ${end - offset} bytes from byte ${offset}`,
      );
    }
    const head = readAt(file, offset, metaDataLength);
    const message = decodeMessage(head.subarray(PREFIX), where);
    if (metadataLength(head, where) !== metaDataLength - PREFIX || message.bodyLength !== bodyLength) {
      throw unreadable(where, "footer and message must agree", "they give different lengths");
    }
    if (message.isRecordBatch()) batches++;
    const body = () => Promise.resolve(readAt(file, start, bodyLength));
    yield { message, head, offset, start, end, body };
  }
}

/** Length of the metadata that follows a message's prefix; 0 is the end marker. */
function metadataLength(prefix: Uint8Array, where: string): number {
  if (prefix.length < PREFIX) throw cutShort(where);
  const view = new DataView(prefix.buffer, prefix.byteOffset);
  const length = view.getInt32(4, true);
  if (view.getInt32(0, true) === -1 && length >= 0) return length;
  const rule = "an Arrow message must begin with ff ff ff ff and its length";
  throw unreadable(where, rule, `it begins with ${hex(prefix.subarray(0, PREFIX))}`);
}

/** Decodes a message's metadata, and checks that all its buffers lie within its body. */
function decodeMessage(metadata: Uint8Array, where: string): Message {
  return orUnreadable(where, () => {
    const message = Message.decode(metadata);
    const { bodyLength } = message;
    if (!(bodyLength >= 0)) throw new RangeError(`its body has ${bodyLength} bytes`);
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
    for (const { offset, length } of buffers) {
      if (offset >= 0 && length >= 0 && offset + length <= bodyLength) continue;
      throw new RangeError(
        `a buffer of ${length} bytes at ${offset} leaves its body of ${bodyLength} bytes`,
      );
    }
    return message;
  });
}

export function cutShort(where: string): InputError {
  const fact = "it is cut short; what wrote it did not finish and must run again";
  return unreadable(where, "it must end with Arrow's end marker", fact);
}

function isMagic(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC.length && MAGIC.every((byte, i) => byte === bytes[i]);
}
