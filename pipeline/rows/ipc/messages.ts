/**
 * Takes Arrow IPC files and streams apart into their messages, one after another. What ends without
 * its end marker, a message whose buffers leave its body, and a file whose footer tells of other
 * messages are errors that name file and batch.
 *
 * Format:
 * https://arrow.apache.org/docs/format/Columnar.html#format-ipc
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
import { openToRead, unreadable } from "../../graph/files.ts";
import { joinBytes, type Take, takeFrom } from "../bytes.ts";
import { checkFooter, ENDING, type FileContents, footerLength, isMagic, MAGIC } from "./footer.ts";
import { openWriter, orUnreadable } from "./library.ts";

const CONTINUATION = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
/** Bytes before a message's metadata: ff ff ff ff and a length. The padded magic has as many. */
const PREFIX = 8;
/** Most bytes of the magic and its padding: arrow-rs aligns the first message to this. */
const PADDED = 64;
/** Bytes read at once after the end marker, where a file has its footer. */
const PIECE = 2 ** 16;
/** Most bytes after the end marker: a footer of some two million batches. */
const LONGEST_FOOTER = 2 ** 26;

/**
 * In a schema's metadata: a batch without rows closes the stream. That batch says in its own
 * metadata what came before it.
 */
export const ANNOUNCED = "smalltalk.closing";
/** In a closing batch's metadata: the rows that came before it. */
export const CLOSING_ROWS = "smalltalk.rows";
/**
 * In a closing batch's metadata: the SHA-256 of what came before it, the schema's message included.
 */
export const CLOSING_SHA256 = "smalltalk.sha256";

/** One encapsulated IPC message. */
export interface IpcMessage {
  /** Its kind; `closing` is the batch without rows with which this project ends a stream. */
  kind: "schema" | "dictionary" | "batch" | "closing";
  message: Message;
  where: string; // its name in errors: the file and the next batch
  head: Uint8Array; // its prefix and metadata
  offset: number; // where it begins in its file or stream
  start: number; // where its body begins
  end: number; // where it ends
  /** Reads a copy of its body, which is aligned. Call it before asking for the next message. */
  body(): Promise<Uint8Array>;
}

/** Gets the bytes of a file or stream as they are read. */
type Hear = (bytes: Uint8Array) => void;

/** A file or stream from which messages are read. */
interface Source {
  take: Take; // reads the next bytes
  skip(size: number): unknown; // passes over bytes without reading them
}

/**
 * Reads the messages of a file or stream. `hear` gets all bytes of a plain file, in their order.
 */
export async function* messages(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  hear?: Hear,
): AsyncGenerator<IpcMessage> {
  if (typeof input !== "string") {
    const chunks = input[Symbol.asyncIterator]();
    const take = takeFrom(chunks);
    try {
      return yield* messagesFrom({ take, skip: take }, name);
    } finally {
      await chunks.return?.();
    }
  }
  using file = await openToRead(input);
  const { size, isFile, isDirectory } = await file.stat();
  if (isDirectory) {
    throw unreadable(name, "it must be a file", "it is a folder", { remedy: "name a file in it" });
  }
  // A named pipe, a device.
  yield* isFile ? messagesIn(file, size, name, hear) : messages(file.readable, name);
}

/**
 * Reads the messages of a file. Bodies that are not asked for are not read, unless `hear` gets all
 * bytes.
 */
export const messagesIn = (
  file: Deno.FsFile,
  size: number,
  name: string,
  hear?: Hear,
): AsyncGenerator<IpcMessage> =>
  messagesFrom(sourceIn(file, size, hear), name, () => schemaInFooter(file, size, name));

/**
 * Reads bytes that the file must have. It blocks the thread: for 2 us where the system has the
 * bytes in memory, whereas a promise would take 40 us.
 */
export function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let at = 0; at < length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) {
      throw new RangeError(`Cannot read ${length} bytes as the file ends before them`);
    }
    at += count;
  }
  return bytes;
}

/**
 * Reads a file from its beginning on. A damaged size takes no more memory than the file has bytes.
 */
function sourceIn(file: Deno.FsFile, size: number, hear?: Hear): Source {
  let position = 0;
  const take: Take = (wanted) => {
    const begin = Math.min(position, size);
    position += wanted;
    const bytes = readAt(file, begin, Math.min(size, position) - begin);
    hear?.(bytes);
    return Promise.resolve(bytes);
  };
  return { take, skip: hear ? take : (wanted) => void (position += wanted) };
}

/** Reads what follows the last message: the footer of a file; nothing may follow a stream. */
async function readEnding(
  take: Source["take"],
  name: string,
  isFile: boolean,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let next = await take(PIECE); next.length > 0; next = await take(PIECE)) {
    parts.push(next);
    length += next.length;
    if (!isFile) {
      throw unreadable(name, "an Arrow stream must stop at its end marker", "more bytes follow");
    }
    if (length > LONGEST_FOOTER) {
      throw unreadable(name, `its footer must have at most ${LONGEST_FOOTER} bytes`, "more follow");
    }
  }
  return joinBytes(parts);
}

/**
 * Reads messages up to the end marker, and checks what follows it. A file is a stream between magic
 * and footer. The schema comes first, and there is only one; `findSchema` looks elsewhere if it is
 * missing. A closing batch, if there is one, comes last.
 */
async function* messagesFrom(
  { take, skip }: Source,
  name: string,
  findSchema: () => IpcMessage | undefined = () => undefined,
): AsyncGenerator<IpcMessage> {
  const needSchema = (fact: string) => {
    const schema = findSchema();
    if (schema) return schema;
    throw unreadable(name, "an Arrow stream must begin with its schema", fact);
  };
  let prefix = await take(PREFIX);
  let offset = 0;
  checkBeginning(prefix, name);
  const isFile = isMagic(prefix);
  while (isFile && offset < PADDED && (offset === 0 || prefix.every((byte) => byte === 0))) {
    [prefix, offset] = [await take(PREFIX), offset + PREFIX];
  }
  let lastKind: IpcMessage["kind"] | undefined;
  const contents: FileContents = { batches: [], dictionaries: [] };
  const dictionaries = new Set<number>(); // ids
  for (let batches = 0;; prefix = await take(PREFIX)) {
    const where = `${name}, batch ${batches}`;
    const length = metadataLength(prefix, where);
    if (length === 0) break;
    const metadata = await take(length);
    if (metadata.length < length) throw cutShort(where);
    const message = decodeMessage(metadata, where);
    const kind = messageKind(message);
    if (lastKind === "closing") {
      throw unreadable(name, "nothing must follow the batch that closes it", "more does");
    }
    if (kind === "schema" && lastKind) {
      throw unreadable(name, "an Arrow stream must have one schema", "a second one follows");
    }
    if (kind !== "schema" && !lastKind) {
      yield needSchema(`it begins with message ${message.headerType}`);
    }
    lastKind = kind;
    if (kind === "batch") batches++;
    const { bodyLength } = message;
    const start = offset + PREFIX + length;
    const end = start + bodyLength;
    if (message.isDictionaryBatch()) {
      const { id, isDelta } = message.header();
      checkDictionary(where, isDelta, dictionaries.has(id), isFile);
      dictionaries.add(id);
    }
    if (isFile && message.isSchema()) {
      contents.schema = orUnreadable(where, () => message.header());
    } else if (isFile) {
      const { [kind === "dictionary" ? "dictionaries" : "batches"]: places } = contents;
      places.push({ offset, metaDataLength: PREFIX + length, bodyLength });
    }
    let left = bodyLength;
    const body = async () => {
      const bytes = await take(left);
      if (bytes.length < left) throw cutShort(where);
      left = 0;
      return bytes;
    };
    yield { kind, message, where, head: joinBytes([prefix, metadata]), offset, start, end, body };
    await skip(left);
    offset = end;
  }
  const ending = await readEnding(take, name, isFile);
  if (isFile) {
    const length = footerLength(ending);
    if (length === 0 || length + ENDING > ending.length) throw cutShort(name);
    checkFooter(name, ending.subarray(-length - ENDING, -ENDING), contents);
  }
  if (!lastKind) yield needSchema("it has none");
}

/** Throws where a dictionary grows before it has begun, or begins anew in a file. */
function checkDictionary(where: string, isDelta: boolean, isThere: boolean, isFile: boolean): void {
  if (isDelta && !isThere) {
    throw unreadable(where, "a dictionary must begin before it grows", "one does not");
  }
  if (isFile && isThere && !isDelta) {
    throw unreadable(where, "a file must have one dictionary per column", "a second one follows");
  }
}

function messageKind(message: Message): IpcMessage["kind"] {
  if (message.isSchema()) return "schema";
  if (message.isDictionaryBatch()) return "dictionary";
  return message.metadata.has(CLOSING_ROWS) ? "closing" : "batch";
}

/** Throws where the first bytes show that this is no Arrow stream or file. */
function checkBeginning(prefix: Uint8Array, name: string): void {
  const begins = (bytes: Uint8Array) =>
    bytes.every((byte, i) => i >= prefix.length || byte === prefix[i]);
  if (prefix.length > 0 && (begins(MAGIC) || begins(CONTINUATION))) return;
  const fact = prefix.length === 0
    ? "it is empty; see what the task that writes it says"
    : `it is something else, it begins with ${
      hex(prefix)
    }; give what a task such as tokenize writes`;
  throw unreadable(name, "it must be an Arrow stream or file", fact);
}

const hex = (bytes: Uint8Array): string => bytes.toHex().replace(/..(?=.)/g, "$& ");

/**
 * Reads the schema from a file's footer, because the library's writer omits the schema's message.
 */
function schemaInFooter(file: Deno.FsFile, size: number, name: string): IpcMessage | undefined {
  const ending = readAt(file, Math.max(0, size - ENDING), Math.min(size, ENDING));
  const length = footerLength(ending);
  const offset = size - ENDING - length;
  if (length <= 0 || offset < PREFIX) return undefined;
  const { message, head } = orUnreadable(name, () => {
    const { schema } = Footer.decode(readAt(file, offset, length));
    const head = joinBytes(openWriter(new RecordBatchStreamWriter(), schema)());
    return { message: Message.from(schema), head };
  });
  const body = () => Promise.resolve(new Uint8Array());
  return { kind: "schema", message, where: name, head, offset, start: offset, end: offset, body };
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
      throw new TypeError(
        `its message type is ${MessageHeader[message.headerType] ?? message.headerType}`,
      );
    }
    const { compression, buffers } = message.isDictionaryBatch()
      ? message.header().data
      : message.header();
    if (compression !== null && compressionRegistry.get(compression.type) === null) {
      throw new TypeError(
        `its body is compressed with ${
          CompressionType[compression.type]
        }; write it with zstd or plain`,
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

/** Returns the error of a file or stream that lacks its end. */
export function cutShort(where: string): InputError {
  const fact = "it is cut short; what wrote it did not finish and must run again";
  return unreadable(where, "it must end with Arrow's end marker", fact);
}
