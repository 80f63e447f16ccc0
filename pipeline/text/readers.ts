/**
 * Reads documents from files, patterns and standard input: text, JSON lines, Parquet or Arrow, plain or
 * compressed. Memory holds only the current document (of Parquet and Arrow the text of one row group or
 * batch). Where something cannot be read, reading stops with the file and the line, row or byte. No document
 * is skipped or repaired silently, with one exception: half a surrogate pair, which no encoding can hold,
 * becomes U+FFFD.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { askAll, isMissing, unreadable } from "../run/files.ts";
import { joinBytes } from "../rows/bytes.ts";
import { openReading, type Reading } from "../run/vouched.ts";
import { decompress } from "./decompress.ts";
import { type Document, kindOf, labelOf, lacks, type ReadOptions } from "./fields.ts";
import { glob, isGlob } from "./glob.ts";
import { sourceOfPath } from "./path_source.ts";
import { arrowDocuments, parquetDocuments, parquetRecords } from "./tables.ts";

export type { Document, ReadOptions } from "./fields.ts";

/** Largest document: a line of JSON, a text file. */
const MAX_DOCUMENT = 2 ** 26; // bytes; no text is longer, so that a longer line is that of a file without line breaks
const NEWLINE = 10;
const STANDARD_INPUT = "standard input";

/**
 * Lists the files that inputs stand for: a path stands for itself, a pattern for its files in byte order, "-"
 * for standard input. A path that comes twice is listed once. Throws an `InputError` where there are no
 * files, where an input is a folder, and, if they are read `again`, where it is a pipe.
 */
export async function expandInputs(inputs: string[], { again = false } = {}): Promise<string[]> {
  if (inputs.length === 0) {
    throw new InputError("Cannot read documents as there must be an input: none is given");
  }
  const paths: string[] = [];
  const infos = await askAll(
    inputs,
    async (input) =>
      input === "-" ? undefined : await Deno.stat(input).catch((error) => {
        if (isMissing(error)) return null;
        throw error;
      }),
  );
  for (const [i, input] of inputs.entries()) {
    const info = infos[i];
    if (info?.isDirectory) {
      const remedy = `name its files, as in "${input}/*.jsonl"`;
      throw unreadable(`"${input}"`, "it must be a file", "it is a folder", { where: input, remedy });
    }
    if (again && info && !info.isFile) {
      const remedy = say`send it to standard input with ${setting("input", "-")}, or write it to a file`;
      const fact = `it is a ${info.isFifo ? "pipe" : "device"}`;
      throw unreadable(`"${input}"`, "it must be a file, which is read several times", fact, {
        where: input,
        remedy,
      });
    }
    if (info !== null) paths.push(input);
    else if (isGlob(input)) {
      const found = await glob(input);
      if (found.length === 0) throw notFound(input, "no file matches");
      for (const path of found) paths.push(path); // too many to be arguments of one call
    } else throw notFound(input, "there is no such file");
  }
  return [...new Set(paths)];
}

function notFound(input: string, fact: string): InputError {
  return unreadable(`"${input}"`, "it must exist", fact, { where: input });
}

/**
 * Reads the documents of files, patterns and "-" (standard input), one at a time and in order. Throws an
 * `InputError` for an unknown format, a folder, a field that is no string, damaged content (with file and
 * line), and inputs without any text: at the first read, or where it finds them.
 */
export function readDocuments(inputs: string[], options: ReadOptions = {}): ReadableStream<Document> {
  return ReadableStream.from(documentsOf(inputs, options));
}

async function* documentsOf(inputs: string[], options: ReadOptions): AsyncGenerator<Document> {
  const files = (await expandInputs(inputs)).map((path) => inputOf(path, options.format));
  const limit = options.maxDocuments ?? Infinity;
  let count = 0, texts = 0;
  for (const file of files) {
    if (count >= limit) break;
    const { sourceFromPath: pattern } = options;
    const named = pattern === undefined || file.path === "-"
      ? {}
      : { source: sourceOfPath(file.path, pattern) };
    options.vouched?.begin(file.path);
    for await (const { text, source, tokens } of documentsIn(file, { ...options, ...named })) {
      if (text.length > 0) texts++;
      yield { text: text.toWellFormed(), source: source.toWellFormed(), ...tokens && { tokens } };
      if (++count >= limit) break;
    }
    await options.vouched?.checkRest(file.path); // of a limit, and of Parquet, which is not read from end to end
  }
  if (texts === 0 && limit > 0 && !options.mayBeEmpty) {
    const names = files.map(({ name }) => name);
    const list = names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
    throw new InputError(`Cannot read documents as there must be text: there is none in ${list}`);
  }
}

/** A file to read, or standard input where the path is "-". */
interface Input {
  path: string;
  /** What messages call it. */
  name: string;
  format: "txt" | "jsonl" | "parquet" | "arrow";
  compression: "gz" | "zst" | undefined;
}

/** Endings of files that hold text: these need no format. */
const TEXTS =
  /\.(adoc|bib|c|cc|cfg|conf|cpp|cs|css|go|h|hpp|hs|htm|html|ini|java|jl|js|jsx|kt|log|lua|markdown|md|mjs|org|php|pl|py|r|rb|rs|rst|scala|sh|sol|sql|srt|swift|tex|toml|ts|tsx|vtt|wgsl|xml|yaml|yml)$/i;

/** Says whether a file is read as one document of text because its name tells no other format. */
export function isReadAsText(path: string): boolean {
  return TEXTS.test(path) && !FORMAT.test(path);
}

const FORMAT = /(?:^|\.)(txt|jsonl|ndjson|parquet|arrow|arrows)(?:\.(gz|zst))?$/i;
/** Formats of endings that are not called like their format. */
const STANDS_FOR: Record<string, Input["format"]> = { ndjson: "jsonl", arrows: "arrow" };

/** Describes an input: its format and compression, as its extension or the setting says. */
function inputOf(path: string, told: string | undefined): Input {
  const name = path === "-" ? STANDARD_INPUT : path;
  const text = (told ?? (isReadAsText(path) ? "txt" : path.slice(path.lastIndexOf("/") + 1))).toLowerCase();
  const match = FORMAT.exec(text);
  if (match === null) {
    const fact = path === "-" ? "it has no name to tell" : "its name has no such ending";
    const rule =
      "its format must be txt, jsonl, ndjson, parquet or arrow, the text formats also with .gz or .zst";
    throw unreadable(`"${name}"`, rule, told === undefined ? fact : `format is "${told}"`, {
      where: name,
      remedy: told === undefined ? say`set ${setting("format")}` : undefined,
    });
  }
  const format = STANDS_FOR[match[1]] ?? match[1] as Input["format"];
  const isTable = format === "parquet" || format === "arrow";
  const compression = match[2] as Input["compression"];
  const ending = /\.(gz|zst)$/i.exec(path)?.[1].toLowerCase();
  if (told !== undefined && !isTable && ending !== undefined && ending !== compression) {
    throw unreadable(
      `"${name}"`,
      `its format must end in .${ending}, as its name does`,
      `format is "${told}"`,
      {
        where: name,
        remedy: say`set ${setting("format", `${match[1]}.${ending}`)}`,
      },
    );
  }
  if (isTable && compression !== undefined || format === "parquet" && path === "-") {
    const fact = compression ? `it is wrapped in .${compression}` : "it is standard input";
    const what = format === "parquet" ? "Parquet must be a plain file" : "Arrow must be plain";
    throw unreadable(`"${name}"`, what, fact, { where: name });
  }
  return { path, name, format, compression };
}

async function* documentsIn(
  { path, name, format, compression }: Input,
  options: ReadOptions,
): AsyncGenerator<Document> {
  if (format === "parquet") return yield* parquetDocuments(path, options);
  if (format === "arrow") {
    const stream = path === "-" ? options.standardInput ?? Deno.stdin.readable : undefined;
    return yield* arrowDocuments(stream ?? path, name, options);
  }
  if (options.tokenColumn !== undefined) {
    const rule = say`${setting("tokenColumn")} must be a column of Parquet or Arrow`;
    throw new InputError(say`Cannot read ${name} as ${rule}: it is ${format}`, { where: name });
  }
  const raw = path === "-"
    ? options.standardInput ?? Deno.stdin.readable
    : checked((await Deno.open(path)).readable, openReading(path, options.vouched));
  const bytes = compression === undefined ? raw : decompress(raw, compression, name);
  if (format === "jsonl") yield* jsonDocuments(bytes, name, options);
  else yield { text: await wholeText(bytes, name), source: options.source ?? "" };
}

/** Hashes the bytes of a file that has a record while they are read, and checks them at the end. */
function checked(bytes: ReadableStream<Uint8Array>, reading?: Reading): ReadableStream<Uint8Array> {
  if (!reading) return bytes;
  return bytes.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        reading.update(chunk);
        controller.enqueue(chunk);
      },
      flush: () => reading.end(),
    }),
  );
}

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

async function* jsonDocuments(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  { textField = "text", sourceField, source = "" }: ReadOptions,
): AsyncGenerator<Document> {
  for await (const { record, number } of jsonRecords(bytes, name)) {
    const field = (field: string, option: string): unknown => {
      if (Object.hasOwn(record, field)) return record[field];
      const fields = Object.keys(record);
      throw lacks(name, `every line must have a field "${field}"`, `line ${number}`, fields, option);
    };
    const text = field(textField, "textField");
    if (typeof text !== "string") {
      const fact = `on line ${number} it is ${kindOf(text)}`;
      throw unreadable(name, `field "${textField}" must be a string`, fact);
    }
    yield {
      text,
      source: sourceField === undefined
        ? source
        : labelOf(field(sourceField, "sourceField"), source, `${name}, line ${number},`),
    };
  }
}

/** Yields the objects of JSON lines with the numbers of their lines, from 1 on. */
async function* jsonRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<{ record: Record<string, unknown>; number: number }> {
  for await (const { line, number, offset } of linesOf(bytes, name)) {
    const json = decode(line, name, number, offset);
    if (json.trim() !== "") yield { record: parseLine(json, name, number), number };
  }
}

/** A record in a file, and where it stands. */
export interface DataRecord {
  /** Its fields by name; whole numbers of Parquet are numbers. */
  record: Record<string, unknown>;
  /** The file and the line or row, as in `"data.jsonl", line 3`. */
  place: string;
}

/**
 * Reads the records of a file of JSON lines or Parquet, one at a time and in order, with all fields. Throws an `InputError` where
 * the file is damaged, with its line or row group.
 */
export async function* readRecords(path: string): AsyncGenerator<DataRecord> {
  const { format, compression, name } = inputOf(path, undefined);
  if (format === "parquet") {
    for await (const { record, row } of parquetRecords(path)) {
      yield { record: plain(record) as Record<string, unknown>, place: `${name}, row ${row}` };
    }
    return;
  }
  const raw = (await Deno.open(path)).readable;
  const bytes = compression === undefined ? raw : decompress(raw, compression, name);
  for await (const { record, number } of jsonRecords(bytes, name)) {
    yield { record, place: `${name}, line ${number}` };
  }
}

/** Turns bigints into numbers, however deep they lie in a value. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (kindOf(value) !== "an object") return value;
  return Object.fromEntries(Object.entries(value as object).map(([name, value]) => [name, plain(value)]));
}

function parseLine(json: string, name: string, number: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    const reason = (error as Error).message.replace(/\s+/g, " ").slice(0, 120);
    throw unreadable(name, "every line must be JSON", `invalid JSON on line ${number}: ${reason}`);
  }
  if (kindOf(value) === "an object") return value as Record<string, unknown>;
  throw unreadable(name, "every line must be a JSON object", `line ${number} is ${kindOf(value)}`);
}

/** Yields lines without their line breaks; lines count from 1, offsets in bytes from 0. */
async function* linesOf(bytes: AsyncIterable<Uint8Array>, name: string) {
  let pieces: Uint8Array[] = [], held = 0, number = 1, offset = 0;
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
    if (held > MAX_DOCUMENT) throw tooLarge(`${name}, line ${number}`, "a line", "is it JSON lines?");
  }
  if (held > 0) yield { line: joinBytes(pieces), number, offset };
}

function tooLarge(where: string, what: string, remedy: string): InputError {
  return unreadable(where, `${what} must have at most ${MAX_DOCUMENT} bytes`, "it has more", { remedy });
}

/**
 * Decodes UTF-8 strictly. A byte order mark is left out at the start of a file, and is a character elsewhere.
 */
function decode(bytes: Uint8Array, name: string, line: number, offset: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: offset > 0 }).decode(bytes);
  } catch {
    const good = validPrefix(bytes);
    let before = 0;
    for (let i = 0; i < good; i++) if (bytes[i] === NEWLINE) before++;
    const found = good < bytes.length
      ? `byte 0x${bytes[good].toString(16).padStart(2, "0")}`
      : "half a character";
    const fact = `invalid ${found} on line ${line + before} (byte ${offset + good})`;
    throw unreadable(name, "it must be UTF-8", fact);
  }
}

/** Gives the length of the longest prefix of the bytes with which some valid text begins. */
function validPrefix(bytes: Uint8Array): number {
  let low = 0, high = bytes.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  return low;
}
