/**
 * Finds what documents have in common. A node for each block, or each file that is named, hashes
 * its documents into tables; other nodes join these.
 *
 *     FOLDER/BLOCK/    KIND-train.u32, KIND-test.u32: tables of hashes of one kind, by side
 *
 * Rows of a table are in buckets by the upper bits of their hashes, so that equal hashes of all
 * tables are found some buckets at a time: memory holds these alone. A file has the end of each
 * bucket, in rows, and then the rows: a hash in two halves, and the number of the document in the
 * node; all are u32, little endian.
 *
 * @module
 */

import { basename } from "node:path";
import { ensure, InputError } from "../../kernels/errors.ts";
import { type Making, type Node, oneByOne } from "../graph/node.ts";
import { joinArrays } from "../rows/bytes.ts";
import { readAt } from "../rows/ipc/messages.ts";
import { hashNamed, withRemedy, writeAll, writing } from "../graph/files.ts";
import { verifyFile } from "../graph/schema.ts";
import {
  hashKey,
  hashWords,
  jaccard,
  type Kind,
  KINDS,
  listRuns,
  SHINGLE,
} from "../text/hashes.ts";
import { type Document, readDocuments, readRecords } from "../text/readers.ts";
import type { Side } from "../text/tokenize.ts";
import { SIDES } from "./parts.ts";

/** Jaccard index from which on texts are near-duplicates. */
const NEAR = 0.8;
/** A document is compared with at most so many before it that share the same band. */
const MOST_BEFORE = 100;
/**
 * Buckets of a table, by the upper ten bits of a hash: for 1 TB of text, five million bands in
 * each.
 */
const BUCKETS = 1024;
/** Rows that are joined at once: so many buckets, at least one. */
const MOST_ROWS = 2 ** 20;
/** Documents that are compared at most: their numbers are u32. */
const MOST_DOCUMENTS = 2 ** 32;
/** Rows of tables that wait in memory to be put in the order of their buckets. */
const HELD_ROWS = 2 ** 22;

/** Documents that a node hashes. Those without a side are for training. */
export interface Hashed extends Pick<Node, "name" | "needs" | "settings"> {
  kinds: readonly Kind[];
  read(making: Making): AsyncIterable<Document>;
}

/** Two documents that have something in common, by their numbers. */
export interface Pair {
  /** A document, for training unless only held-out ones are compared. */
  one: number;
  /** A later one, or one of the other side. */
  other: number;
  /** Whether the texts are equal, nearly so, or share a passage. */
  kind: "exact" | "near" | "passage";
  /**
   * Their Jaccard index, or of the other one's runs of 13 words the share that training text has.
   */
  share: number;
}

/**
 * Takes files that are named as held-out documents: of JSON lines and Parquet each record, with all
 * texts in it.
 */
export const namedFiles = (
  folder: string,
  paths: readonly string[],
  ...kinds: Kind[]
): Promise<Hashed[]> =>
  Promise.all(paths.map(async (path, i): Promise<Hashed> => {
    return {
      name: `${folder}/named/${i}`,
      needs: [],
      kinds,
      // Or an error, before anything is written.
      settings: { name: basename(path), sha256: await hashNamed(path) },
      async *read() {
        const texts = /\.(jsonl|ndjson|parquet)\b/.test(path)
          ? Array.fromAsync(readRecords(path), ({ record }) => joinTexts(record))
          : Array.fromAsync(readDocuments([path]), ({ text }) => text);
        const all = await texts.catch(withRemedy("name JSON lines, Parquet or text"));
        if (all.every((text) => text === "")) {
          throw new InputError(`Cannot compare "${path}" as it must hold text: it holds none`, {
            where: path,
          });
        }
        for (const text of all) yield { text, source: "", side: "test" };
      },
    };
  }));

/** Joins the texts in a value, however deep they lie in it. */
function joinTexts(value: unknown): string {
  if (typeof value === "string") return value;
  return value && typeof value === "object" && !ArrayBuffer.isView(value)
    ? Object.values(value).map(joinTexts).join("\n")
    : "";
}

/** Makes the nodes that hash documents. */
export const hashNodes = (stage: string, all: readonly Hashed[]): Node[] =>
  all.map(({ kinds, read, settings, ...node }): Node => ({
    ...node,
    settings: { ...settings, kinds },
    revision: 4,
    maker: oneByOne(stage, async (making, { emit, signal }) => {
      const tables = kinds.flatMap((kind) =>
        SIDES.map((side) => ({ kind, side, hashes: [] as Halves[] }))
      );
      let documents = 0;
      for await (const { text, side: documentSide = "train" } of read(making)) {
        signal?.throwIfAborted();
        const words = hashWords(text);
        for (const { kind, side, hashes } of tables) {
          hashes.push(
            side === documentSide ? joinArrays(Int32Array, KINDS[kind](words, text)) : NONE,
          );
        }
        if (++documents % 100 === 0) {
          emit({ type: "progress", stage, done: documents, unit: "documents" });
        }
      }
      for (const { kind, side, hashes } of tables) {
        await making.write(`${kind}-${side}.u32`, tableBytes(hashes));
      }
      return { documents };
    }),
  }));

/**
 * Hashes of a document: the upper halves of all, then the lower ones. Of many short documents every
 * array costs more than its hashes.
 */
type Halves = Int32Array;
const NONE: Halves = new Int32Array();

/** Gives the bytes of a table of the hashes of documents. Rows of a bucket keep their order. */
export function tableBytes(documents: readonly Halves[]): Uint8Array<ArrayBuffer> {
  const ends = new Uint32Array(BUCKETS);
  for (const halves of documents) {
    for (let i = 0; i < halves.length / 2; i++) ends[halves[i] >>> 22]++;
  }
  let rows = 0;
  // Now where each begins.
  for (const [bucket, count] of ends.entries()) [ends[bucket], rows] = [rows, rows + count];
  const table = new Uint32Array(BUCKETS + 3 * rows);
  for (const [document, halves] of documents.entries()) {
    const count = halves.length / 2;
    for (let i = 0; i < count; i++) {
      const at = BUCKETS + 3 * ends[halves[i] >>> 22]++;
      table[at] = halves[i];
      table[at + 1] = halves[count + i];
      table[at + 2] = document;
    }
  }
  table.set(ends);
  return new Uint8Array(table.buffer);
}

/** The table of one kind of hashes of the documents of one side of a node. */
interface Table {
  path: string;
  /** The number of the node's first document. */
  first: number;
  /** Which of the sides that are joined it is of. */
  side: number;
}

/** Reads the end of each bucket of a table, in rows. */
const readEnds = (file: Deno.FsFile): Uint32Array =>
  new Uint32Array(readAt(file, 0, 4 * BUCKETS).buffer);

/** Reads a table, with the numbers of its documents through all nodes. */
function readTable({ path, first }: Table): { ends: Uint32Array; rows: Uint32Array } {
  using file = Deno.openSync(path); // a promise costs ten times as much as the answer
  const ends = readEnds(file);
  const rows = new Uint32Array(readAt(file, 4 * BUCKETS, 12 * ends.at(-1)!).buffer);
  for (let at = 2; at < rows.length; at += 3) rows[at] += first;
  return { ends, rows };
}

/** Adds the number of rows in each bucket of a table to these `counts`. */
function countBuckets({ path }: Table, counts: Float64Array): void {
  using file = Deno.openSync(path);
  const ends = readEnds(file);
  for (const [bucket, end] of ends.entries()) counts[bucket] += end - (ends[bucket - 1] ?? 0);
}

/**
 * Takes the number of a document that has a hash, and what is kept of that hash: nothing at its
 * first row, then the document of that row and whatever was added here.
 */
export type OnRow = (document: number, kept?: number[]) => unknown;

/**
 * Documents that nodes have hashed, numbered through all of these, in the hands of a node that
 * compares them.
 */
export class Compared {
  /** The nodes, each with the numbers of its documents: from `first` on, below `end`. */
  readonly nodes: readonly (Hashed & { first: number; end: number })[];

  constructor(
    private readonly making: Making,
    nodes: readonly Hashed[],
    private readonly signal?: AbortSignal,
  ) {
    let end = 0;
    this.nodes = nodes.map((node) => {
      const first = end;
      return { ...node, first, end: end += Number(making.manifest(node.name).result.documents) };
    });
    const [all, most] = [end, MOST_DOCUMENTS].map((number) => number.toLocaleString("en"));
    ensure(
      end <= MOST_DOCUMENTS,
      `Cannot compare documents as there must be at most ${most} of them: there are ${all}`,
    );
  }

  /**
   * Joins tables of one kind by their hashes, once they are checked. Goes through all rows of the
   * first side, then through those rows of the other side whose hash the first one has.
   */
  async join(kind: Kind, ...sides: readonly (readonly [Side, OnRow])[]): Promise<void> {
    const nodes = this.nodes.filter(({ kinds }) => kinds.includes(kind));
    const tables = sides.flatMap(([name], side) =>
      nodes.map((node): Table => ({
        path: `${this.making.path(node.name)}/${kind}-${name}.u32`,
        first: node.first,
        side,
      }))
    );
    for (const { path } of tables) await verifyFile(path);
    for await (const rowsBySide of this.#readByBuckets(tables, sides.length)) {
      const kept = new Map<number, number[]>();
      // By the lower bits of a hash: for most rows of the other side a look is enough.
      const seen = new Uint8Array(MOST_ROWS);
      for (const [side, rows] of rowsBySide.entries()) {
        const [, onRow] = sides[side];
        const isFirst = side === 0;
        for (let at = 0; at < rows.length; at += 3) {
          const place = rows[at + 1] % MOST_ROWS;
          if (!isFirst && seen[place] === 0) continue;
          const key = hashKey(rows[at], rows[at + 1]);
          const document = rows[at + 2];
          const keyed = kept.get(key);
          if (keyed || isFirst) onRow(document, keyed);
          if (keyed || !isFirst) continue;
          kept.set(key, [document]);
          seen[place] = 1;
        }
      }
    }
  }

  /**
   * Yields the rows of tables by their sides, some buckets at a time. Where there are too many for
   * memory, a file gets them first, in the order of their buckets. So each table is opened twice,
   * however many buckets there are.
   */
  async *#readByBuckets(
    tables: readonly Table[],
    sides: number,
  ): AsyncGenerator<readonly Uint32Array[]> {
    const counts = Array.from({ length: sides }, () => new Float64Array(BUCKETS));
    for (const table of tables) countBuckets(table, counts[table.side]);
    const all = counts.flatMap((ofSide) => [...ofSide]).reduce((a, b) => a + b, 0);
    const step = Math.max(1, Math.floor(BUCKETS * MOST_ROWS / all));
    if (step >= BUCKETS) {
      await this.#pause();
      const bySide = counts.map((_, wantedSide) =>
        tables.filter(({ side }) => side === wantedSide)
      );
      yield bySide.map((sideTables) =>
        joinArrays(Uint32Array, sideTables.map((table) => readTable(table).rows))
      );
      return;
    }
    const path = `${this.making.folder}/rows.u32`;
    using file = await writing(
      path,
      () => Deno.open(path, { read: true, write: true, createNew: true }),
    );
    const spans = await this.#sortByBuckets(tables, counts, step, { file, path });
    for (const bySide of spans) {
      await this.#pause();
      yield bySide.map(({ start, end }) =>
        new Uint32Array(readAt(file, 12 * start, 12 * (end - start)).buffer)
      );
    }
    await Deno.remove(path);
  }

  /**
   * Writes the rows of tables into a file, `step` buckets after `step` buckets and of these one
   * side after the other. Returns the rows from which and before which each lies there.
   */
  async #sortByBuckets(
    tables: readonly Table[],
    counts: readonly Float64Array[],
    step: number,
    { file, path }: { file: Deno.FsFile; path: string },
  ): Promise<{ start: number; end: number }[][]> {
    let place = 0;
    const spans = Array.from(
      { length: Math.ceil(BUCKETS / step) },
      (_, i) =>
        counts.map((ofSide) => {
          const start = place;
          for (const count of ofSide.subarray(i * step, (i + 1) * step)) place += count;
          return { start, end: start };
        }),
    );
    let held: (ReturnType<typeof readTable> & { side: number })[] = [];
    let rows = 0;
    for (const [i, table] of tables.entries()) {
      held.push({ ...readTable(table), side: table.side });
      rows += held.at(-1)!.rows.length / 3;
      if (rows < HELD_ROWS && i + 1 < tables.length) continue;
      await this.#pause();
      for (const [i, bySide] of spans.entries()) {
        for (const [side, span] of bySide.entries()) {
          const parts = held.filter((table) => table.side === side).map(({ ends, rows }) =>
            rows.subarray(
              3 * (ends[i * step - 1] ?? 0),
              3 * (ends[(i + 1) * step - 1] ?? ends.at(-1)!),
            )
          );
          const part = joinArrays(Uint32Array, parts);
          if (part.length === 0) continue;
          await file.seek(12 * span.end, Deno.SeekMode.Start);
          await writeAll(file, new Uint8Array(part.buffer), path);
          span.end += part.length / 3;
        }
      }
      [held, rows] = [[], 0];
    }
    return spans;
  }

  /** Lets a signal be heard, and ends the work where it came. */
  async #pause(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.signal?.throwIfAborted();
  }

  /** Reads the documents of some numbers, in order. */
  async *read(numbers: Iterable<number>): AsyncGenerator<Document & { number: number }> {
    const sorted = Float64Array.from(numbers).sort();
    let next = 0;
    for (const { first, end, read } of this.nodes) {
      let number = first;
      for await (const document of sorted[next] < end ? read(this.making) : []) {
        this.signal?.throwIfAborted();
        if (sorted[next] === number++) yield { ...document, number: sorted[next++] };
      }
    }
  }

  /**
   * Finds the duplicates of the documents of a side, among these and those of another side. Of
   * equal texts the first alone is compared, so a thousand make a thousand pairs.
   */
  async findDuplicates(side: Side, ...others: Side[]): Promise<Pair[]> {
    const pairs: Pair[] = [];
    const copies = new Set<number>();
    const candidates = new Map<number, Set<number>>();
    const copy: OnRow = (document, kept) => {
      if (!kept) return;
      copies.add(document);
      pairs.push({ kind: "exact", one: kept[0], other: document, share: 1 });
    };
    const sides = (onRow: OnRow) => others.map((other) => [other, onRow] as const);
    await this.join("text", [side, copy], ...sides(copy));
    const compare = (document: number, earlier?: number[]) => {
      if (!earlier || copies.has(document)) return;
      const partners = candidates.getOrInsertComputed(document, () => new Set());
      for (const partner of earlier.slice(-MOST_BEFORE)) partners.add(partner);
      return earlier;
    };
    const first: OnRow = (document, kept) => compare(document, kept)?.push(document);
    await this.join("bands", [side, first], ...sides(compare));
    for await (const pair of this.#verify(candidates)) pairs.push(pair);
    return pairs.sort((a, b) => a.other - b.other || a.one - b.one);
  }

  /** Yields those of some pairs that are near-duplicates. Their shingles are on disk meanwhile. */
  async *#verify(candidates: ReadonlyMap<number, ReadonlySet<number>>): AsyncGenerator<Pair> {
    const path = `${this.making.folder}/shingles.f64`;
    const places = new Map<number, readonly [number, number]>();
    const wanted = new Set(
      candidates.entries().flatMap(([document, partners]) => [document, ...partners]),
    );
    using file = await Deno.open(path, { read: true, write: true, createNew: true });
    let end = 0;
    for await (const { number, text } of this.read(wanted)) {
      const bytes = new Uint8Array(listRuns(hashWords(text), SHINGLE).buffer);
      await writeAll(file, bytes, path);
      places.set(number, [end, bytes.length]);
      end += bytes.length;
    }
    const shingles = (number: number) =>
      new Set(new Float64Array(readAt(file, ...places.get(number)!).buffer));
    for (const [document, partners] of candidates) {
      const itsShingles = shingles(document);
      for (const partner of partners) {
        const share = jaccard(shingles(partner), itsShingles);
        if (share >= NEAR) yield { kind: "near", one: partner, other: document, share };
      }
    }
    await Deno.remove(path);
  }
}

/**
 * Groups documents that pairs lead to from one another: of each that is in a pair, the lowest
 * number of its group.
 */
export function groupPairs(pairs: readonly Pair[]): Map<number, number> {
  const lower = new Map<number, number>();
  const lowest = (number: number) => {
    for (let next; (next = lower.get(number) ?? number) !== number;) number = next;
    return number;
  };
  for (const { one, other } of pairs) {
    const [a, b] = [lowest(one), lowest(other)].sort((a, b) => a - b);
    lower.set(a, a).set(b, a);
  }
  return new Map(lower.keys().map((number) => [number, lowest(number)]));
}
