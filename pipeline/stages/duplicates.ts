/**
 * Finds documents that are equal or nearly so: a node for every block, which hashes its documents, and one that joins them. Of documents
 * that have a side, the former also hashes runs of 13 words.
 *
 *     FOLDER/hashes/BLOCK/   bands.u32: a table of the bands of documents, and of their whole texts; train.u32 and test.u32: tables of
 *                            the runs of both sides; words.u32: of each document its words if it is held out, else 0
 *     FOLDER/pairs/          pairs.f64: of each pair the numbers of its documents, which count through all blocks, whether their texts
 *                            are equal, and their Jaccard index
 *
 * @module
 */

import { type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { indexOfText } from "../random.ts";
import { readAt } from "../rows/ipc/messages.ts";
import { writeAll, writeAtomic } from "../run/files.ts";
import { readVerified, verifyFile } from "../run/verified.ts";
import type { Block } from "../text/blocks.ts";
import { type BlockTable, joinTables, Table } from "../text/overlap/hash_tables.ts";
import { PASSAGE } from "../text/overlap/passages.ts";
import { hashBands, jaccard, listShingles, NEAR } from "../text/overlap/shingles.ts";
import { hashRuns, hashWords } from "../text/overlap/word_hashes.ts";
import type { Document } from "../text/readers.ts";
import type { GraphOf } from "./stage.ts";
import { hashText } from "./text.ts";

const [BANDS, PAIRS] = ["bands.u32", "pairs.f64"];
/** Files of a block about passages. */
export const [TRAIN_RUNS, TEST_RUNS, WORDS] = ["train.u32", "test.u32", "words.u32"];

/** Documents that are looked at. */
export interface Looked extends GraphOf {
  /** Stage and folder of the nodes. */
  stage: string;
  folder: string;
  /** What reading a block needs, and reading it. */
  needs(block: Block): string[];
  read(block: Block, making: Making): AsyncIterable<Document>;
}

/** Names the node of a block's hashes, and that of all pairs. */
export const hashNode = ({ folder }: Looked, { name }: Block): string => `${folder}/hashes/${name}`;
export const pairNode = ({ folder }: Looked): string => `${folder}/pairs`;

/** Two documents that have something in common, by their numbers. */
export interface Pair {
  one: number;
  /** The later one; of a passage the training document. */
  other: number;
  /** Whether the texts are equal, nearly so, or share a passage. */
  kind: "exact" | "near" | "passage";
  /** Their Jaccard index, or of the first one's words the share that passages cover. */
  share: number;
}

/** Gives tables of blocks, checked; `size` of a block's result is added to the values of the next one. */
export async function openTables(
  looked: Looked,
  making: Making,
  file: string,
  size: "documents" | "testWords",
): Promise<BlockTable[]> {
  const tables: BlockTable[] = [];
  let first = 0;
  for (const node of looked.blocks.map((block) => hashNode(looked, block))) {
    const path = `${making.path(node)}/${file}`;
    await verifyFile(path);
    tables.push({ path, first });
    first += Number(making.manifest(node).result[size]);
  }
  return tables;
}

/** Writes files of a node. */
export async function writeFiles(making: Making, files: Record<string, Uint8Array | string>): Promise<void> {
  for (const [file, data] of Object.entries(files)) {
    making.wrote(file, await writeAtomic(`${making.folder}/${file}`, data));
  }
}

/** Makes the nodes that find duplicates. */
export function duplicateNodes(looked: Looked): Node[] {
  const { text, blocks } = looked;
  const blockOf = new Map(blocks.map((block) => [hashNode(looked, block), block]));
  const hashed = oneByOne(
    looked.stage,
    (making, work) => hashBlock(looked, blockOf.get(making.node.name)!, making, work),
  );
  return [
    ...blocks.map((block): Node => ({
      name: hashNode(looked, block),
      needs: looked.needs(block),
      settings: { ...text.reading, block: block.name },
      revision: 3,
      maker: hashed,
    })),
    {
      name: pairNode(looked),
      needs: blocks.flatMap((block) => [`${hashNode(looked, block)}:${BANDS}`, ...looked.needs(block)]),
      settings: { text: hashText(text) },
      revision: 3,
      maker: oneByOne(looked.stage, (making, work) => joinBlocks(looked, making, work)),
    },
  ];
}

async function hashBlock({ stage, read }: Looked, block: Block, making: Making, { emit, signal }: Work) {
  const [bands, train, test] = [new Table(), new Table(), new Table()], sizes: number[] = [];
  let testWords = 0;
  for await (const { text, side } of read(block, making)) {
    signal?.throwIfAborted();
    const document = sizes.length, words = hashWords(text), whole = indexOfText(text);
    bands.add(hashBands(words), document);
    bands.add(
      { high: Int32Array.of(Number(whole >> 32n)), low: Int32Array.of(Number(whole & 0xffffffffn)) },
      document,
    );
    if (side === "train") train.add(hashRuns(words, PASSAGE), document);
    if (side === "test") test.add(hashRuns(words, PASSAGE), testWords, 1);
    sizes.push(side === "test" ? words.high.length : 0);
    testWords += sizes[document];
    if (sizes.length % 100 === 0) emit({ type: "progress", stage, done: sizes.length, unit: "documents" });
  }
  await writeFiles(making, {
    ...{ [BANDS]: bands.bytes(), [TRAIN_RUNS]: train.bytes(), [TEST_RUNS]: test.bytes() },
    [WORDS]: new Uint8Array(Uint32Array.from(sizes).buffer),
  });
  return { documents: sizes.length, testWords };
}

/** Reads the documents of some numbers, in order. */
export async function* readNumbers(
  looked: Looked,
  making: Making,
  wanted: ReadonlySet<number>,
): AsyncGenerator<{ number: number; text: string }> {
  const sorted = Float64Array.from(wanted).sort();
  let next = 0, first = 0;
  for (const block of looked.blocks) {
    let number = first;
    first += Number(making.manifest(hashNode(looked, block)).result.documents);
    for await (const { text } of sorted[next] < first ? looked.read(block, making) : []) {
      if (sorted[next] === number++) yield { number: sorted[next++], text };
    }
  }
}

async function joinBlocks(looked: Looked, making: Making, { signal }: Work) {
  const tables = await openTables(looked, making, BANDS, "documents");
  const candidates = new Map<number, Set<number>>(), wanted = new Set<number>(); // of each document, those before it
  await joinTables(tables, undefined, (before, document) => {
    const own = candidates.get(document) ?? new Set();
    for (const one of before) {
      own.add(one);
      wanted.add(one).add(document);
    }
    candidates.set(document, own);
  }, signal);
  const path = `${making.folder}/shingles.f64`; // on disk while documents are compared
  using file = await Deno.open(path, { read: true, write: true, createNew: true });
  const known = new Map<number, { text: bigint; from: number; size: number }>();
  let end = 0;
  for await (const { number, text } of readNumbers(looked, making, wanted)) {
    signal?.throwIfAborted();
    const bytes = new Uint8Array(listShingles(hashWords(text)).buffer);
    known.set(number, { text: indexOfText(text), from: end, size: bytes.length });
    await writeAll(file, bytes, path);
    end += bytes.length;
  }
  const pairs: Pair[] = [];
  for (const [other, before] of candidates) {
    for (const one of before) {
      const both = [known.get(one)!, known.get(other)!], isEqual = both[0].text === both[1].text;
      const [a, b] = both.map(({ from, size }) =>
        new Float64Array(readAt(file, from, isEqual ? 0 : size).buffer)
      );
      const share = isEqual ? 1 : jaccard(a, b);
      if (share >= NEAR) pairs.push({ one, other, kind: isEqual ? "exact" : "near", share });
    }
  }
  await Deno.remove(path);
  const rows = pairs.sort((a, b) => a.other - b.other || a.one - b.one).flatMap((
    { one, other, kind, share },
  ) => [
    ...[one, other, Number(kind === "exact"), share],
  ]);
  await writeFiles(making, { [PAIRS]: new Uint8Array(Float64Array.from(rows).buffer) });
  return { candidates: candidates.size, pairs: pairs.length };
}

/** Reads all pairs, by the later document. */
export async function readPairs(looked: Looked, { path }: Making): Promise<Pair[]> {
  const numbers = new Float64Array((await readVerified(`${path(pairNode(looked))}/${PAIRS}`)).buffer);
  return Array.from({ length: numbers.length / 4 }, (_, i) => {
    const [one, other, isEqual, share] = numbers.subarray(4 * i);
    return { one, other, kind: isEqual ? "exact" : "near", share };
  });
}

/** Groups documents that pairs lead to from one another: of each that is in a pair, the lowest number of its group. */
export function groupPairs(pairs: readonly Pair[]): Map<number, number> {
  const lower = new Map<number, number>();
  const lowest = (number: number) => {
    for (let next; (next = lower.get(number) ?? number) !== number;) number = next;
    return number;
  };
  for (const { one, other } of pairs) {
    const [a, b] = [lowest(one), lowest(other)];
    lower.set(Math.max(a, b), Math.min(a, b));
  }
  return new Map(pairs.flatMap(({ one, other }) => [one, other]).map((number) => [number, lowest(number)]));
}
