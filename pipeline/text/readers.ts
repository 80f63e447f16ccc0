/**
 * Reads documents from files, patterns and standard input: text, JSON lines, Parquet or Arrow,
 * plain or compressed. Memory holds only the current document (of Parquet and Arrow the text of one
 * row group or batch). Where something cannot be read, reading stops with the file and the line,
 * row or byte. No document is skipped or repaired silently, with one exception: half a surrogate
 * pair, which no encoding can hold, becomes U+FFFD.
 *
 * @module
 */

import { listSome } from "../graph/printable.ts";
import { createHash } from "node:crypto";
import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { hashFile, ifMissing, oneLine, unreadable } from "../graph/files.ts";
import { isObject } from "../graph/schema.ts";
import { joinBytes, readBytes } from "../rows/bytes.ts";
import { decompress } from "./decompress.ts";
import { describeKind, type Document, type Found, openMaker, type ReadOptions } from "./fields.ts";
import { type Piece, stampFile } from "./blocks.ts";
import { type InputFile, inputFile, listInputs, STANDARD_INPUT } from "./inputs.ts";
import { arrowRecords, parquetRecords } from "./tables.ts";

export type { Document, ReadOptions } from "./fields.ts";

/** Largest document: a line of JSON, a text file. */
// Bytes; no text is longer, so that a longer line is that of a file without line breaks.
export const MAX_DOCUMENT: number = 2 ** 26;
const NEWLINE = 10;

/**
 * Reads the documents of files, patterns and "-" (standard input), one at a time and in order.
 * Throws an `InputError` for an unknown format, a folder, or a field that is no string. Also for
 * damaged content (with file and line), and for inputs without any text. It throws at the first
 * read, or where it finds them.
 */
export function readDocuments(
  inputs: string[],
  options: ReadOptions = {},
): ReadableStream<Document> {
  return ReadableStream.from(readAll(inputs, options));
}

async function* readAll(inputs: string[], options: ReadOptions): AsyncGenerator<Document> {
  ensure(inputs.length > 0, "Cannot read documents as there must be an input: none is given");
  const { files } = await listInputs(inputs, { ...options, once: true });
  const limit = options.maxDocuments || Infinity;
  let count = 0;
  let texts = 0;
  for (const file of files) {
    if (count >= limit) break;
    for await (const { place: _, ...document } of documentsIn(file, options)) {
      if (document.text.length > 0) texts++;
      yield document;
      if (++count >= limit) break;
    }
  }
  const fact = `there is none in ${listSome(files.map(inputName), 3)}`;
  ensure(texts > 0 || options.mayBeEmpty, `Cannot read documents as there must be text: ${fact}`);
}

const inputName = ({ path }: InputFile) => path === STANDARD_INPUT ? "standard input" : path;

/**
 * Reads the documents of a piece of text. Throws an `InputError` where it cannot be read, and at
 * its end where it is not what was hashed.
 */
export async function* readPiece(piece: Piece, options: ReadOptions): AsyncGenerator<Document> {
  const { path } = piece.file;
  const changed = () =>
    piece.unpacked
      ? unreadable(`"${path}"`, "it must be as it was made", "its SHA-256 is another one", {
        where: path,
      })
      : unreadable(`"${path}"`, "it must stay as it is while a run reads it", "it has changed", {
        where: path,
        remedy: "run the same again, which takes what is there now",
      });
  const look = async () => stampFile(await Deno.stat(path));
  const hash = createHash("sha256");
  const { seen = await look() } = piece;
  const isSame = async () => await look().catch(ifMissing("")) === seen;
  try {
    yield* documentsIn(piece.file, options, piece, (chunk) => hash.update(chunk));
  } catch (error) {
    // What looks like damage may be a change.
    throw await isSame().catch(() => true) ? error : changed();
  }
  const isTable = piece.file.format === "parquet" || piece.file.format === "arrow";
  const currentHash = () => isTable ? hashFile(path) : { sha256: hash.digest("hex") };
  const isHashed = piece.groups !== undefined || (await currentHash()).sha256 === piece.sha256;
  if (!isHashed || isTable && !await isSame()) throw changed();
}

type Cut = Pick<Piece, "lines" | "groups" | "rowsBefore">;

async function* documentsIn(
  file: InputFile,
  options: ReadOptions,
  { lines, groups, rowsBefore: linesBefore = 0 }: Cut = {},
  onBytes?: (chunk: Uint8Array) => void,
): AsyncGenerator<Document> {
  const { path, format, source = options.source } = file;
  const name = inputName(file);
  const isTable = format === "parquet" || format === "arrow";
  const standardInput = () => options.standardInput ?? Deno.stdin.readable;
  if (options.tokenColumn && (!isTable || format === "arrow" && path === STANDARD_INPUT)) {
    const [rule, fact] = isTable
      ? ["of a file", "it is read once"]
      : ["a column of Parquet or Arrow", `it is ${format}`];
    const must = say`${setting("tokenColumn")} must be ${rule}`;
    throw new InputError(say`Cannot read ${name} as ${must}: ${fact}`, { where: name });
  }
  const bytes = () =>
    unpacked(path === STANDARD_INPUT ? standardInput() : readBytes(path, lines, onBytes), file);
  if (format === "txt") return yield { text: await wholeText(bytes(), name), source: source ?? "" };
  const { wanted, toDocument } = await openMaker(
    name,
    { ...options, source },
    isTable ? "row" : "line",
  );
  const records = format === "parquet"
    ? parquetRecords(path, wanted, groups)
    : format === "arrow"
    ? arrowRecords(path === STANDARD_INPUT ? standardInput() : path, name, wanted, {
      groups,
      rowsBefore: linesBefore,
    })
    : jsonRecords(bytes(), name, { from: lines?.from ?? 0, line: linesBefore + 1 });
  for await (const record of records) yield await toDocument(record);
}

const unpacked = (bytes: AsyncIterable<Uint8Array>, file: InputFile): AsyncIterable<Uint8Array> =>
  file.compression === undefined ? bytes : decompress(bytes, file.compression, inputName(file));

async function wholeText(bytes: AsyncIterable<Uint8Array>, name: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    chunks.push(chunk);
    if ((size += chunk.length) > MAX_DOCUMENT) {
      throw tooLarge(name, "a text file (one document)", "split it, or write JSON lines");
    }
  }
  return decode(joinBytes(chunks), name, 1, 0);
}

/** Yields the objects of JSON lines with the numbers of their lines, from 1 on. */
async function* jsonRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  start?: { from: number; line: number },
): AsyncGenerator<Found> {
  for await (const { line, number, offset } of splitLines(bytes, name, start)) {
    const json = decode(line, name, number, offset);
    if (json.trim() !== "") {
      yield { record: parseLine(json, name, number), where: name, at: number };
    }
  }
}

/** A record in a file, and where it stands. */
interface DataRecord {
  record: Record<string, unknown>; // its fields by name; whole numbers of Parquet are numbers
  place: string; // the file and the line or row, as in `"data.jsonl", line 3`
}

/**
 * Reads the records of a file of JSON lines or Parquet, one at a time and in order, with all
 * fields. Throws an `InputError` where the file is damaged, with its line or row group.
 */
export async function* readRecords(
  path: string,
  file: InputFile = inputFile(path),
): AsyncGenerator<DataRecord> {
  const name = inputName(file);
  const isParquet = file.format === "parquet";
  const records = isParquet
    ? parquetRecords(path)
    : jsonRecords(unpacked(readBytes(path), file), name);
  for await (const { record, where, at } of records) {
    yield {
      record: plain(record) as Record<string, unknown>,
      place: `${where}, ${isParquet ? "row" : "line"} ${at}`,
    };
  }
}

/** Turns bigints into numbers, however deep they lie in a value. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (!isObject(value) || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, value]) => [name, plain(value)]));
}

function parseLine(json: string, name: string, number: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    const reason = oneLine(error).slice(0, 120);
    throw unreadable(name, "every line must be JSON", `invalid JSON on line ${number}: ${reason}`);
  }
  if (isObject(value)) return value;
  throw unreadable(
    name,
    "every line must be a JSON object",
    `line ${number} is ${describeKind(value)}`,
  );
}

/** Yields lines without their line breaks; lines count from 1, offsets in bytes from 0. */
async function* splitLines(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  { from: offset, line: number } = { from: 0, line: 1 },
) {
  let pieces: Uint8Array[] = [];
  let held = 0;
  for await (const chunk of bytes) {
    let begin = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, begin)) {
      const line = joinBytes([...pieces, chunk.subarray(begin, end)]);
      yield { line, number: number++, offset };
      offset += line.length + 1;
      [pieces, held, begin] = [[], 0, end + 1];
    }
    if (begin === chunk.length) continue;
    pieces.push(chunk.slice(begin)); // a copy, as the source may use its memory again
    held += chunk.length - begin;
    if (held > MAX_DOCUMENT) {
      throw tooLarge(`${name}, line ${number}`, "a line", "is it JSON lines?");
    }
  }
  if (held > 0) yield { line: joinBytes(pieces), number, offset };
}

function tooLarge(where: string, subject: string, remedy: string): InputError {
  return unreadable(where, `${subject} must have at most ${MAX_DOCUMENT} bytes`, "it has more", {
    remedy,
  });
}

/**
 * Decodes UTF-8 strictly. A byte order mark is left out at the start of a file; elsewhere it is a
 * character of the text.
 */
function decode(bytes: Uint8Array, name: string, line: number, offset: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: offset > 0 }).decode(bytes);
  } catch {
    let at = 0; // behind what decodes: U+FFFD stands there for what does not, or for itself
    for (
      const good of new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes).split("\ufffd")
    ) {
      at += new TextEncoder().encode(good).length;
      if (bytes[at] !== 0xef || bytes[at + 1] !== 0xbf || bytes[at + 2] !== 0xbd) break;
      at += 3;
    }
    const newlines = bytes.subarray(0, at).filter((byte) => byte === NEWLINE).length;
    const byte = bytes[at].toString(16).padStart(2, "0");
    const fact = `invalid byte 0x${byte} on line ${line + newlines} (byte ${offset + at})`;
    throw unreadable(name, "it must be UTF-8", fact);
  }
}
