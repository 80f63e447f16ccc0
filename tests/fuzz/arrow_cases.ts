/**
 * Arrow files of several writers, and cases that damage them: what lies outside the buffers of
 * values has a second copy, or follows from something else in the file, so that reading it must
 * fail or give the same rows. Cases follow from a seed and a number alone.
 *
 * @module
 */

import {
  CompressionType,
  setCompressionCodec,
  tableFromArrays,
  tableToIPC,
  utf8,
} from "@uwdata/flechette";
import {
  Bool,
  type Data,
  Dictionary,
  Field,
  FixedSizeBinary,
  Int32,
  Int64,
  Int8,
  List,
  makeData,
  RecordBatch,
  Struct,
  Table,
  Utf8,
  Utf8View,
  Vector,
  vectorFromArray,
} from "apache-arrow";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { InputError } from "../../kernels/errors.ts";
import { randomBits } from "../../pipeline/random.ts";
import { readArrow, toBatch, writeArrowFile } from "../../pipeline/rows/arrow.ts";
import type { BatchHeader } from "../../pipeline/rows/ipc/layout.ts";
import { messages } from "../../pipeline/rows/ipc/messages.ts";
import { LINEAGE, makeColumns } from "../pipeline/rows/support.ts";

/** A sound file. */
export interface SoundFile {
  bytes: Uint8Array<ArrayBuffer>;
  /** What it holds, as text. */
  content: string;
  /** Of each byte whether it is outside all buffers of values. */
  isLayout: boolean[];
  /** Places of these bytes. */
  layout: number[];
}

/** A change of some bytes of a file. */
export interface ArrowDamage {
  file: string; // its name in the bench
  kind: "bit" | "integer" | "copy" | "cut" | "double";
  at: number;
  size: number; // bytes
  from: number; // where copied bytes come from; which bit, or which integer
}

/** What a case came to; a changed value in a buffer of values, which no file can notice, is other. */
export type ArrowOutcome = "refused" | "same" | "other value";

const WRITERS: Record<string, (path: string) => Promise<unknown>> = {
  "tokens and scores": (path) =>
    writeArrowFile(path, [5, 8].map((rows) => toBatch(makeColumns(rows, rows), LINEAGE))),
  "every layout": (path) => writeArrowFile(path, layoutBatches()),
  "a dictionary that grows": (path) => writeArrowFile(path, dictionaryBatches()),
  "documents of another tool": (path) => writeForeign(path),
  "compressed documents of another tool": (path) => writeForeign(path, CompressionType.ZSTD),
};

/** Writes a sound file of each writer, and reads it. */
export async function makeSoundFiles(folder: string): Promise<Map<string, SoundFile>> {
  const files = new Map<string, SoundFile>();
  for (const [name, write] of Object.entries(WRITERS)) {
    const path = `${folder}/sound.arrow`;
    await write(path);
    const bytes = await Deno.readFile(path);
    const isLayout = Array<boolean>(bytes.length).fill(true);
    for await (const { kind, message, start } of messages(path, path)) {
      if (kind === "schema") continue;
      const header = message.isDictionaryBatch() ? message.header().data : message.header();
      const { buffers } = header as BatchHeader;
      for (const { offset, length } of buffers) {
        isLayout.fill(false, start + offset, start + offset + length);
      }
    }
    const layout = isLayout.flatMap((is, place) => is ? [place] : []);
    files.set(name, { bytes, content: await readContent(path), isLayout, layout });
  }
  return files;
}

/** Batches of two files' worth of columns of every layout that a reader knows, some values null. */
function layoutBatches(): RecordBatch[] {
  const words = ["sea", null, "a word that is longer than twelve letters", "ship"];
  const lists = [[1, 2, 3], null, [], [4]];
  return [4, 7].map((rows) => {
    const of = <Value>(values: readonly Value[]): Value[] =>
      Array.from({ length: rows }, (_, i) => values[i % values.length]);
    const list = new List(new Field("item", new Int32(), true));
    const pair = new Struct([
      new Field("left", new Int32(), true),
      new Field("right", new Utf8(), true),
    ]);
    const pairs = [{ left: 1, right: "one" }, { left: null, right: "two" }, null];
    const bytes = [Uint8Array.of(1, 2, 3), null];
    const columns = {
      number: vectorFromArray(of([7, null, 70_000]), new Int32()),
      word: vectorFromArray(of(words), new Utf8()),
      view: vectorFromArray(of(words), new Utf8View()),
      flag: vectorFromArray(of([true, null, false]), new Bool()),
      list: vectorFromArray(of(lists), list),
      pair: vectorFromArray(of(pairs), pair),
      large: vectorFromArray(of([1n, null, 2n ** 40n]), new Int64()),
      bytes: vectorFromArray(of(bytes), new FixedSizeBinary(3)),
    };
    const [{ data }] = new Table(columns as never).batches;
    return new RecordBatch(new Table(columns as never).schema, data);
  });
}

/** Batches of labels from a dictionary that grows between them. */
function dictionaryBatches(): RecordBatch[] {
  const words = (...texts: string[]): Data<Utf8> => vectorFromArray(texts, new Utf8()).data[0];
  const first = words("a", "b", "c");
  const type = new Dictionary(new Utf8(), new Int8(), 1);
  const batches: [dictionary: Data<Utf8>[], indices: number[]][] = [
    [[first], [0, 1, 2]],
    [[first, words("d", "e")], [3, 4, 0]],
  ];
  const row = vectorFromArray([2, 3, 4], new Int32()).data[0];
  return batches.map(([parts, indices]) => {
    const data = Int8Array.from(indices);
    const dictionary = new Vector(parts);
    const label = makeData({ type, length: 3, nullCount: 0, data, dictionary });
    return new RecordBatch({ row, label });
  });
}

/** Writes documents as another library does: two batches, labels as a dictionary. */
async function writeForeign(path: string, codec?: typeof CompressionType.ZSTD): Promise<void> {
  const decode = (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes));
  const encode = (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes));
  setCompressionCodec(CompressionType.ZSTD, { encode, decode });
  const texts = Array.from({ length: 9 }, (_, i) => i === 3 ? null : `${i} the sea `.repeat(9));
  const columns = {
    text: texts,
    source: texts.map((_, i) => "abc"[i % 3]),
    length: Int32Array.from(texts, (_, i) => i),
    numbers: texts.map((_, i) => Array.from({ length: i % 4 }, (_, j) => i * j)),
  };
  const table = tableFromArrays(columns, { types: { text: utf8() }, maxBatchRows: 5 });
  await Deno.writeFile(path, tableToIPC(table, { format: "file", codec })!);
}

/** Reads a file to a text of its columns and rows. */
async function readContent(path: string): Promise<string> {
  const content: unknown[] = [];
  for await (const batch of readArrow(path, path)) {
    const { fields, metadata } = batch.schema;
    content.push(fields.map(String), [...metadata], batch.toArray());
  }
  return JSON.stringify(content, (_, value) => typeof value === "bigint" ? `${value}n` : value);
}

const KINDS = ["bit", "integer", "integer", "integer", "copy", "cut", "double"] as const;
const WIDTHS = [1, 2, 4, 4, 8];
/** Integers that take the place of others; what is added to an old one comes after them. */
const INTEGERS = [0n, 1n, 2n, 8n, 255n, 256n, 65_536n, 2n ** 31n - 1n, -1n, -8n, 2n ** 62n];
const ADDED = [1n, -1n, 2n, -2n, 4n, -4n, 8n, -8n, 16n, -16n, 64n, -64n];
/** Of so many cases one damages any byte, the others what is no value. */
const ANYWHERE = 8;

/** Gives case `index` of a seed. */
export function arrowCase(
  files: ReadonlyMap<string, SoundFile>,
  seed: number,
  index: number,
): ArrowDamage {
  const draw = (what: string, below: number) =>
    Number(randomBits(seed, `arrow ${what}`, index) % BigInt(below));
  const names = [...files.keys()];
  const file = names[index % names.length];
  const { bytes, layout } = files.get(file)!;
  const place = (what: string) =>
    draw(`${what} anywhere`, ANYWHERE) === 0
      ? draw(what, bytes.length)
      : layout[draw(what, layout.length)];
  const kind = KINDS[draw("kind", KINDS.length)];
  const at = place("at");
  if (kind === "bit") return { file, kind, at, size: 1, from: draw("bit", 8) };
  if (kind === "integer") {
    const size = WIDTHS[draw("width", WIDTHS.length)];
    const aligned = at - at % size;
    return { file, kind, at: aligned, size, from: draw("integer", INTEGERS.length + ADDED.length) };
  }
  return { file, kind, at, size: 1 + draw("size", 24), from: place("from") };
}

/** Gives the bytes of a file once it is damaged: values or others, not both unless bytes move. */
function damage(
  { bytes, isLayout }: SoundFile,
  { kind, at, size, from }: ArrowDamage,
): Uint8Array<ArrayBuffer> {
  if (kind === "cut") return Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + size));
  if (kind === "double") {
    return Uint8Array.of(...bytes.subarray(0, at + size), ...bytes.subarray(at));
  }
  const changed = bytes.slice();
  const border = isLayout.indexOf(!isLayout[at], at);
  const end = Math.min(border < 0 ? bytes.length : border, at + size);
  if (kind === "bit") changed[at] ^= 1 << from;
  if (kind === "copy") {
    changed.set(bytes.subarray(from, Math.min(bytes.length, from + end - at)), at);
  }
  if (kind !== "integer") return changed;
  let old = 0n;
  for (let place = end - 1; place >= at; place--) old = old << 8n | BigInt(bytes[place]);
  const value = INTEGERS[from] ?? old + ADDED[from - INTEGERS.length];
  for (let i = 0; at + i < end; i++) changed[at + i] = Number(value >> BigInt(8 * i) & 255n);
  return changed;
}

/**
 * Does a case. Throws where other rows come from a file whose values nobody changed, or an error
 * does not explain itself.
 */
export async function doArrowCase(
  sound: SoundFile,
  change: ArrowDamage,
  path: string,
): Promise<ArrowOutcome> {
  const { bytes, content, isLayout } = sound;
  const damaged = damage(sound, change);
  await Deno.writeFile(path, damaged);
  let read: string;
  try {
    read = await readContent(path);
  } catch (error) {
    if (error instanceof InputError && /^Cannot [^\n]*$/.test(error.message)) return "refused";
    throw new Error(`an error does not explain itself: ${error}`);
  }
  if (read === content) return "same";
  const isMoved = damaged.length !== bytes.length;
  const isOfLayout = isMoved || damaged.some((byte, i) => byte !== bytes[i] && isLayout[i]);
  if (isOfLayout) throw new Error("other rows without a word");
  return "other value";
}
