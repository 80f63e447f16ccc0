/**
 * Finds documents that are equal or nearly so: a node for every block, which hashes its documents, and one that joins them. With passages,
 * the former also hash runs of 13 words.
 *
 *     FOLDER/hashes/BLOCK/   bands.u32: a table of the bands of documents, and of their whole texts; with passages also train.u32 and
 *                            test.u32: tables of the runs of both sides; words.u32: of each document twice its words, 1 more if held out
 *     FOLDER/pairs/          pairs.f64: of each pair the numbers of its documents, which count through all blocks, whether their texts
 *                            are equal, and their Jaccard index
 *
 * @module
 */

import { type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { indexOfText } from "../random.ts";
import { writeAll, writeAtomic } from "../run/files.ts";
import { readVerified, verifyFile } from "../run/verified.ts";
import type { Block } from "../text/blocks.ts";
import { Table } from "../text/overlap/hash_tables.ts";
import { type BlockTable, findCandidates, PASSAGE } from "../text/overlap/joins.ts";
import { hashBands, jaccard, NEAR, shingleSet } from "../text/overlap/shingles.ts";
import { hashRuns, hashWords, noHashes } from "../text/overlap/word_hashes.ts";
import type { Document } from "../text/readers.ts";
import type { GraphOf } from "./stage.ts";
import { hashText } from "./text.ts";

const [BANDS, PAIRS] = ["bands.u32", "pairs.f64"];
/** Files of a block whose passages are hashed. */
export const [TRAIN_RUNS, TEST_RUNS, WORDS] = ["train.u32", "test.u32", "words.u32"];

/** Documents that are looked at. */
export interface Looked {
  /** Stage and folder of the nodes. */
  stage: string;
  folder: string;
  /** Whether passages are hashed too; then documents have a side. */
  passages: boolean;
  /** What reading a block needs, and reading it. */
  needs(block: Block): string[];
  read(block: Block, making: Making): AsyncIterable<Document>;
}

/** Names the node of a block's hashes, and that of all pairs. */
export const hashNode = ({ folder }: Looked, { name }: Block): string => `${folder}/hashes/${name}`;
export const pairNode = ({ folder }: Looked): string => `${folder}/pairs`;

/** Two documents, by their numbers, the lower one first. */
export interface Pair {
  one: number;
  other: number;
  /** Whether the texts are equal, or nearly so. */
  kind: "exact" | "near";
  /** Their Jaccard index, at least {@linkcode NEAR}. */
  jaccard: number;
}

/** Gives tables of blocks, checked; `size` of a block's result is added to the values of the next one. */
export async function openTables(
  making: Making,
  nodes: readonly string[],
  file: string,
  size: string,
): Promise<BlockTable[]> {
  const tables: BlockTable[] = [];
  let first = 0;
  for (const node of nodes) {
    const path = `${making.path(node)}/${file}`;
    await verifyFile(path);
    tables.push({ path, first });
    first += Number(making.manifest(node).result[size]);
  }
  return tables;
}

/** Makes the nodes that find duplicates. */
export function duplicateNodes(looked: Looked, { text, blocks }: GraphOf): Node[] {
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
      revision: 1,
      maker: hashed,
    })),
    {
      name: pairNode(looked),
      needs: blocks.flatMap((block) => [`${hashNode(looked, block)}:${BANDS}`, ...looked.needs(block)]),
      settings: { text: hashText(text) },
      revision: 1,
      maker: oneByOne(looked.stage, (making, work) => joinBlocks(looked, blocks, making, work)),
    },
  ];
}

async function hashBlock(
  { stage, passages, read }: Looked,
  block: Block,
  making: Making,
  { emit, signal }: Work,
) {
  const bands = new Table(), runs = { train: new Table(), test: new Table() };
  const [words, ofRuns, ofBands] = [noHashes(), noHashes(), noHashes()];
  const sizes: number[] = [], before = { train: 0, test: 0 };
  for await (const { text, side = "train" } of read(block, making)) {
    signal?.throwIfAborted();
    const document = sizes.length, whole = indexOfText(text);
    hashBands(hashWords(text, words), ofBands);
    for (let i = 0; i < ofBands.count; i++) bands.add(ofBands.high[i], ofBands.low[i], document);
    if (text !== "") bands.add(Number(whole >> 32n), Number(whole & 0xffffffffn), document);
    if (passages) hashRuns(words, PASSAGE, ofRuns);
    for (let i = 0; i < ofRuns.count; i++) runs[side].add(ofRuns.high[i], ofRuns.low[i], before[side] + i);
    before[side] += words.count;
    sizes.push(2 * words.count + (side === "test" ? 1 : 0));
    if (sizes.length % 100 === 0) emit({ type: "progress", stage, done: sizes.length, unit: "documents" });
  }
  const files = { [BANDS]: bands.bytes() };
  if (passages) {
    files[WORDS] = new Uint8Array(Uint32Array.from(sizes).buffer);
    Object.assign(files, { [TRAIN_RUNS]: runs.train.bytes(), [TEST_RUNS]: runs.test.bytes() });
  }
  for (const [file, bytes] of Object.entries(files)) {
    making.wrote(file, await writeAtomic(`${making.folder}/${file}`, bytes));
  }
  return { documents: sizes.length, trainWords: before.train, testWords: before.test };
}

async function joinBlocks(looked: Looked, blocks: readonly Block[], making: Making, { signal }: Work) {
  const tables = await openTables(making, blocks.map((block) => hashNode(looked, block)), BANDS, "documents");
  const candidates = await findCandidates(tables, signal);
  const wanted = new Set<number>();
  for (const pair of candidates) wanted.add(Number(pair >> 32n)).add(Number(pair & 0xffffffffn));
  const sorted = Float64Array.from(wanted).sort();
  const path = `${making.folder}/sets.f64`; // sets of shingles, on disk while pairs are compared
  using file = await Deno.open(path, { read: true, write: true, createNew: true });
  const sets = new Map<number, { text: bigint; from: number; length: number }>();
  let end = 0;
  for (const [i, block] of blocks.entries()) {
    const { first } = tables[i];
    if (!(sorted[sets.size] < (tables[i + 1]?.first ?? Infinity))) continue;
    let number = first;
    for await (const { text } of looked.read(block, making)) {
      if (sorted[sets.size] !== number++) continue;
      signal?.throwIfAborted();
      const bytes = new Uint8Array(shingleSet(hashWords(text)).buffer);
      sets.set(number - 1, { text: indexOfText(text), from: end, length: bytes.length });
      await writeAll(file, bytes, path);
      end += bytes.length;
    }
  }
  const read = ({ from, length }: { from: number; length: number }) => {
    const bytes = new Uint8Array(length);
    file.seekSync(from, Deno.SeekMode.Start);
    for (let at = 0; at < length;) at += file.readSync(bytes.subarray(at))!;
    return new Float64Array(bytes.buffer);
  };
  const pairs: number[] = [];
  for (const pair of candidates) {
    const numbers = [Number(pair >> 32n), Number(pair & 0xffffffffn)];
    const [one, other] = numbers.map((number) => sets.get(number)!);
    const isEqual = one.text === other.text, index = isEqual ? 1 : jaccard(read(one), read(other));
    if (index >= NEAR) pairs.push(...numbers, isEqual ? 1 : 0, index);
  }
  await Deno.remove(path);
  making.wrote(
    PAIRS,
    await writeAtomic(`${making.folder}/${PAIRS}`, new Uint8Array(Float64Array.from(pairs).buffer)),
  );
  return { candidates: candidates.length, pairs: pairs.length / 4 };
}

/** Reads all pairs. */
export async function readPairs(looked: Looked, { path }: Making): Promise<Pair[]> {
  const numbers = new Float64Array((await readVerified(`${path(pairNode(looked))}/${PAIRS}`)).buffer);
  return Array.from({ length: numbers.length / 4 }, (_, i) => {
    const [one, other, isEqual, jaccard] = numbers.subarray(4 * i);
    return { one, other, kind: isEqual ? "exact" : "near", jaccard };
  });
}

/** Groups documents that pairs lead to from one another: of each that is in a pair, the lowest number of its group. */
export function groupPairs(pairs: readonly Pair[]): Map<number, number> {
  const groups = new Map<number, number>();
  const find = (number: number): number => {
    let root = number;
    for (let next; (next = groups.get(root) ?? root) !== root;) root = next;
    groups.set(number, root);
    return root;
  };
  for (const { one, other } of pairs) {
    const [a, b] = [find(one), find(other)];
    groups.set(Math.max(a, b), Math.min(a, b));
  }
  for (const number of groups.keys()) find(number);
  return groups;
}
