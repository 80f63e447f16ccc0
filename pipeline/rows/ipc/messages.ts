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
import { CLOSING_ROWS, OURS } from "./marks.ts";
import { checkFooterVectors, checkMessageVectors } from "./vectors.ts";

const MAGIC = new TextEncoder().encode("ARROW1");
const CONTINUATION = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
const PREFIX = 8; // bytes before a message's metadata: ff ff ff ff, then its length; also the magic and its padding
const MAX_BODY = 2 ** 31; // bytes of one batch; where a file says more, it is damaged or no Arrow file
const PIECE = 2 ** 26; // bytes read at once
const TAIL = 2 ** 16; // bytes read at once of what follows the end marker: mostly nothing

/** One encapsulated IPC message: prefix, metadata and body; the body is in memory of its own, so it is aligned. */
export interface IpcMessage {
  chunks: Uint8Array[];
  message: Message;
}

/** A message in a file: its metadata is read, its body is not. */
export interface MessageInFile extends IpcMessage {
  /** Where the message begins in the file. */
  offset: number;
  /** Where its body begins. */
  body: number;
  /** Where it ends. */
  end: number;
}

export async function* messages(
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
  for (const { chunks, message, body, end } of messagesIn(file, size, name)) {
    yield { chunks: end > body ? [...chunks, readAt(file, body, end - body)] : chunks, message };
  }
}

/** Finds the messages of a file, and reads their metadata. A file format goes by its footer, a stream by its own order. */
export function messagesIn(file: Deno.FsFile, size: number, name: string): Generator<MessageInFile> {
  const head = readAt(file, 0, Math.min(size, PREFIX));
  checkBeginning(head, name);
  return (isMagic(head) ? fileMessages : fileOfStream)(file, size, name);
}

/** Reads bytes that the file must have. */
export function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  readInto(file, offset, bytes);
  return bytes;
}

/**
 * Reads as many bytes as `bytes` has room for. It waits for them without giving up the thread, which takes 2 us
 * where the system has them in memory; a promise for them would take 40 us.
 */
export function readInto(file: Deno.FsFile, offset: number, bytes: Uint8Array): void {
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) {
      throw new RangeError(`Cannot read ${bytes.length} bytes as the file ends before them`);
    }
    at += count;
  }
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
    while ((await hashed(PIECE)).length > 0); // read on to the end: where the hash is wrong, that explains the error better
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
  if (!isFile && tail.length > 0) throw bytesFollow(name);
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

/** Messages of a stream in a file. */
function* fileOfStream(file: Deno.FsFile, size: number, name: string): Generator<MessageInFile> {
  for (let offset = 0, batches = 0;;) {
    const where = `${name}, batch ${batches}`;
    const need = (end: number) => {
      if (end > size) throw cutShort(where);
    };
    need(offset + PREFIX);
    const prefix = readAt(file, offset, PREFIX);
    const length = metadataLength(prefix, where), body = offset + PREFIX + length;
    if (length === 0) {
      if (body < size) throw bytesFollow(name);
      return;
    }
    need(body);
    const metadata = readAt(file, offset + PREFIX, length);
    const message = decodeMessage(metadata, where), end = body + message.bodyLength;
    need(end);
    if (message.isRecordBatch() && !message.metadata.has(CLOSING_ROWS)) batches++;
    yield { chunks: [prefix, metadata], message, offset, body, end };
    offset = end;
  }
}

/** Messages where the footer of a file says they are: the schema, all dictionaries, then the batches. */
function* fileMessages(file: Deno.FsFile, size: number, name: string): Generator<MessageInFile> {
  const tail = 4 + MAGIC.length; // length of the footer, then the magic
  if (size < PREFIX + tail) throw cutShort(name);
  const last = readAt(file, size - tail, tail);
  if (!isMagic(last.subarray(4))) throw cutShort(name);
  const length = new DataView(last.buffer).getInt32(0, true);
  const limit = size - tail - length; // where the footer begins, and every block has ended
  if (length <= 0 || limit < PREFIX) {
    throw unreadable(name, "its footer must lie within it", `it has ${length} bytes`);
  }
  const bytes = readAt(file, limit, length);
  const { schema, blocks } = orUnreadable(name, () => {
    checkFooterVectors(bytes);
    const footer = Footer.decode(bytes);
    return { schema: footer.schema, blocks: [...footer.dictionaryBatches(), ...footer.recordBatches()] };
  });
  yield orUnreadable(name, () => {
    const take = openWriter(new RecordBatchStreamWriter(), schema);
    return { chunks: take(), message: Message.from(schema), offset: PREFIX, body: PREFIX, end: PREFIX };
  });
  let batches = 0;
  let done = PREFIX; // of what came before, in a file of ours, which has no gaps
  const isOurs = schema.metadata.has(OURS);
  if (isOurs) done += PREFIX + metadataLength(readAt(file, PREFIX, PREFIX), name);
  for (const { offset, metaDataLength, bodyLength } of blocks) {
    const where = `${name}, batch ${batches}`;
    const body = offset + metaDataLength, end = body + bodyLength;
    if (!(offset >= PREFIX && metaDataLength > PREFIX && bodyLength >= 0 && end <= limit)) {
      const fact = `it has ${metaDataLength + bodyLength} bytes from byte ${offset}`;
      throw unreadable(where, "it must lie before the footer", fact);
    }
    if (isOurs && offset !== done) throw gap(name, done, offset);
    done = end;
    const head = readAt(file, offset, metaDataLength);
    const message = decodeMessage(head.subarray(PREFIX), where);
    if (metadataLength(head, where) !== metaDataLength - PREFIX || message.bodyLength !== bodyLength) {
      throw unreadable(where, "footer and message must agree", "they give different lengths");
    }
    if (message.isRecordBatch()) batches++;
    yield { chunks: [head], message, offset, body, end };
  }
  if (isOurs && done + PREFIX !== limit) throw gap(name, done + PREFIX, limit); // the end marker is a prefix alone
}

function bytesFollow(name: string): InputError {
  return unreadable(name, "an Arrow stream must stop at its end marker", "more bytes follow");
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
    checkMessageVectors(metadata);
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

export function cutShort(where: string): InputError {
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
