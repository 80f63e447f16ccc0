/**
 * Finds what documents have in common. A node for each block, or each file that is named, hashes its documents into tables; other nodes join
 * these.
 *
 *     FOLDER/BLOCK/   KIND-train.u32 and KIND-test.u32: tables of one kind of hashes, of the documents of both sides
 *
 * @module
 */

import { basename } from "node:path";
import { type Making, type Node, oneByOne } from "../graph/node.ts";
import { readAt } from "../rows/ipc/messages.ts";
import { hashFile, openToRead, withRemedy, writeAll, writeAtomic } from "../graph/files.ts";
import { verifyFile } from "../graph/schema.ts";
import {
  type Entry,
  hashWords,
  jaccard,
  type Joined,
  joinTables,
  type Kind,
  KINDS,
  listRuns,
  PASSAGE,
  tableBytes,
} from "../text/hashes.ts";
import { type Document, readDocuments, readRecords } from "../text/readers.ts";
import { SIDES } from "./parts.ts";

/** Jaccard index from which on texts are near-duplicates. */
export const NEAR = 0.8;
/** A document is compared with at most so many before it that share a band. */
const MOST_BEFORE = 100;

/** Documents that a node hashes. Those without a side are for training. */
export interface Hashed extends Pick<Node, "name" | "needs" | "settings"> {
  kinds: readonly Kind[];
  read(making: Making): AsyncIterable<Document>;
}

/** Two documents that have something in common, by their numbers. */
export interface Pair {
  /** A training document. */
  one: number;
  /** A later training document, or one that is held out. */
  other: number;
  /** Whether the texts are equal, nearly so, or share a passage. */
  kind: "exact" | "near" | "passage";
  /** Their Jaccard index, or of the other one's runs of 13 words the share that training text has. */
  share: number;
}

/** Takes files that are named as held-out documents: of JSON lines and Parquet each record, with all texts in it. */
export const namedFiles = (folder: string, paths: readonly string[], ...kinds: Kind[]): Promise<Hashed[]> =>
  Promise.all(paths.map(async (path, i): Promise<Hashed> => {
    (await openToRead(path)).close(); // or an error that says what is missing
    return {
      ...{ name: `${folder}/named/${i}`, needs: [], kinds },
      settings: { name: basename(path), sha256: (await hashFile(path)).sha256 },
      async *read() {
        const texts = /\.(jsonl|ndjson|parquet)\b/.test(path)
          ? Array.fromAsync(readRecords(path), ({ record }) => joinTexts(record))
          : Array.fromAsync(readDocuments([path]), ({ text }) => text);
        const all = await texts.catch(withRemedy("name JSON lines, Parquet or text"));
        for (const text of all) yield { text, source: "", side: "test" };
      },
    };
  }));

/** Joins the texts in a value, however deep they lie in it. */
function joinTexts(value: unknown): string {
  if (typeof value === "string") return value;
  return value && typeof value === "object" ? Object.values(value).map(joinTexts).join("\n") : "";
}

/** Makes the nodes that hash documents. */
export const hashNodes = (stage: string, all: readonly Hashed[]): Node[] =>
  all.map(({ kinds, read, settings, ...node }): Node => ({
    ...{ ...node, settings: { ...settings, kinds }, revision: 4 },
    maker: oneByOne(stage, async (making, { emit, signal }) => {
      const tables = kinds.flatMap((kind) => SIDES.map((side) => ({ kind, side, entries: [] as Entry[] })));
      let documents = 0;
      for await (const { text, side: own = "train" } of read(making)) {
        signal?.throwIfAborted();
        const words = hashWords(text), value = documents++;
        for (const { kind, side, entries } of tables) {
          if (side === own) entries.push([KINDS[kind](words, text), value]);
        }
        if (documents % 100 === 0) emit({ type: "progress", stage, done: documents, unit: "documents" });
      }
      for (const { kind, side, entries } of tables) {
        const file = `${kind}-${side}.u32`;
        making.wrote(file, await writeAtomic(`${making.folder}/${file}`, tableBytes(entries)));
      }
      return { documents };
    }),
  }));

/** Documents that nodes have hashed, numbered through all of these, in the hands of a node that compares them. */
export class Compared {
  constructor(
    private readonly making: Making,
    private readonly nodes: readonly Hashed[],
    private readonly signal?: AbortSignal,
  ) {}

  /** Gives the number of the node of each document. */
  origins(): number[] {
    return this.nodes.flatMap(({ name }, i) =>
      Array(Number(this.making.manifest(name).result.documents)).fill(i)
    );
  }

  /** Opens tables for a join, checked; those of a kind that no node has hashed are none. */
  async #open(kind: Kind, side: typeof SIDES[number], onRow: Joined["onRow"]): Promise<Joined> {
    const tables: Joined["tables"] = [];
    let first = 0;
    for (const { name } of this.nodes.filter(({ kinds }) => kinds.includes(kind))) {
      const path = `${this.making.path(name)}/${kind}-${side}.u32`;
      await verifyFile(path);
      tables.push({ path, first });
      first += Number(this.making.manifest(name).result.documents);
    }
    return { tables, onRow };
  }

  /** Reads the documents of some numbers, in order. */
  async *read(numbers: Iterable<number>): AsyncGenerator<Document & { number: number }> {
    const sorted = Float64Array.from(numbers).sort();
    let next = 0, first = 0;
    for (const { name, read } of this.nodes) {
      let number = first;
      first += Number(this.making.manifest(name).result.documents);
      for await (const document of sorted[next] < first ? read(this.making) : []) {
        this.signal?.throwIfAborted();
        if (sorted[next] === number++) yield { ...document, number: sorted[next++] };
      }
    }
  }

  /** Finds the duplicates of training documents. Of equal texts the first alone is compared, so a thousand make a thousand pairs. */
  async findDuplicates(): Promise<Pair[]> {
    const pairs: Pair[] = [], copies = new Set<number>(), candidates = new Map<number, Set<number>>();
    const copy = ([one]: readonly number[], other: number) => {
      if (one === undefined) return;
      copies.add(other);
      pairs.push({ kind: "exact", one, other, share: 1 });
    };
    const compare = (before: number[], other: number) => {
      if (before.length === 0 || copies.has(other)) return;
      const own = candidates.getOrInsertComputed(other, () => new Set());
      for (const one of before.slice(-MOST_BEFORE)) own.add(one);
    };
    for (const [kind, onRow] of [["text", copy], ["bands", compare]] as const) {
      const trained = await this.#open(kind, "train", (before, other) => {
        onRow(before, other);
        if (!copies.has(other)) before.push(other);
      });
      await joinTables([trained, await this.#open(kind, "test", onRow)], this.signal);
    }
    for await (const pair of this.#verify(candidates)) pairs.push(pair);
    return pairs.sort((a, b) => a.other - b.other || a.one - b.one);
  }

  /** Yields those of some pairs that are near-duplicates. Their shingles are on disk meanwhile. */
  async *#verify(candidates: ReadonlyMap<number, ReadonlySet<number>>): AsyncGenerator<Pair> {
    const path = `${this.making.folder}/shingles.f64`, places = new Map<number, readonly [number, number]>();
    const wanted = new Set(candidates.entries().flatMap(([other, before]) => [other, ...before]));
    using file = await Deno.open(path, { read: true, write: true, createNew: true });
    let end = 0;
    for await (const { number, text } of this.read(wanted)) {
      const bytes = new Uint8Array(listRuns(hashWords(text)).buffer);
      await writeAll(file, bytes, path);
      places.set(number, [end, bytes.length]);
      end += bytes.length;
    }
    const shingles = (number: number) =>
      new Set(new Float64Array(readAt(file, ...places.get(number)!).buffer));
    for (const [other, before] of candidates) {
      const own = shingles(other);
      for (const one of before) {
        const share = jaccard(shingles(one), own);
        if (share >= NEAR) yield { kind: "near", one, other, share };
      }
    }
    await Deno.remove(path);
  }

  /**
   * Finds the runs of words of held-out documents here that training documents of others have. Gives by document the number of runs, how many
   * of them are shared, and if there are some the first training document that shares one; of documents for training nothing but zeros.
   */
  async findPassages(others: Compared, kind: 8 | 13) {
    const size = this.origins().length;
    const [runs, shared, ones] = [new Uint32Array(size), new Uint32Array(size), new Float64Array(size)];
    const held = await this.#open(kind, "test", (kept, document) => {
      runs[document]++;
      kept.push(document);
    });
    const trained = await others.#open(kind, "train", (kept, one) => {
      for (let document; (document = kept.pop()) !== undefined;) {
        if (shared[document]++ === 0 || one < ones[document]) ones[document] = one;
      }
    });
    await joinTables([held, trained], this.signal);
    return { runs, shared, ones };
  }

  /** Finds the documents that share a passage with texts of named files: of each the number of the first such file. */
  async findLeaks(named: Compared): Promise<Map<number, number>> {
    const leaks = new Map<number, number>(), files = named.origins();
    const texts = await named.#open(PASSAGE, "test", (kept, text) => kept.push(text));
    const documents = await this.#open(PASSAGE, "train", ([text], document) => {
      leaks.set(document, Math.min(files[text], leaks.get(document) ?? Infinity));
    });
    await joinTables([texts, documents], this.signal);
    return leaks;
  }
}

/** Groups documents that pairs lead to from one another: of each that is in a pair, the lowest number of its group. */
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
