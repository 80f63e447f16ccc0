/**
 * The index of the text: a table with a row for every document, and after the split its expert, so that any row of any shard leads back to
 * its file. Any tool reads it.
 *
 *     text/documents.arrow        document, path, place, sha256, source, side, tokens
 *     partition/documents.arrow   the same, with expert (-1 where its sequences went apart) and shares
 *
 * @module
 */

import { readManifest } from "../graph/manifest.ts";
import type { Maker, Making, Node } from "../graph/node.ts";
import { NodeFiles } from "../graph/vouched.ts";
import type { Prices } from "../partition/assignment/prices.ts";
import { columnOf, readArrow, type RecordBatch, toTable, writeArrowFile } from "../rows/arrow.ts";
import { integers, strings } from "../rows/column_values.ts";
import { exists, sha256, writeAtomic } from "../run/files.ts";
import { readVouched } from "../run/vouched.ts";
import type { Block, Piece } from "../text/blocks.ts";
import { assignmentPlace } from "./assign.ts";
import { SIDES } from "./parts.ts";
import { openNeeded } from "./token_rows.ts";
import { DOCUMENTS, SEQUENCES, type SourceCounts, TEST, tokensOf, TRAIN } from "./tokenize.ts";

/** Name of the node of the index of all text, and of that with experts. */
export const [INDEX, PART_INDEX] = ["text/index", "partition/index"];

/** Names the file of a piece: one that was unpacked by its path in the run, which may be moved. */
export const pathOf = ({ file: { path }, own }: Piece): string =>
  own ? path.split("/").slice(-3).join("/") : path;

const BLOCKS = "blocks.json";

/** A block as the index lists it: of each piece the path, the hash, and the rows that come before it in the file. */
export interface IndexedBlock {
  name: string;
  pieces: [path: string, sha256: string, before: number][];
}

/** Reads which blocks the index of a run is of; null where there is no index. */
export async function indexedBlocks(run: string): Promise<IndexedBlock[] | null> {
  const path = `${run}/${INDEX}/${BLOCKS}`;
  if (!await readManifest(`${run}/${INDEX}`)) return null;
  return JSON.parse(new TextDecoder().decode(await readVouched(path, new NodeFiles())));
}

/** Fewest held-out documents of a source of which nothing is said. */
const FEW = 5;

/** Makes the node of the index. Paths are part of it, so it is made again where a file is only moved. */
export function indexNode(blocks: readonly Block[]): Node {
  const list = JSON.stringify(blocks.map(({ name, pieces }): IndexedBlock => ({
    name,
    pieces: pieces.map((piece) => [pathOf(piece), piece.sha256, piece.before ?? 0]),
  })));
  const maker: Maker = {
    stage: "tokenize",
    async make([making], { emit }) {
      const rows = ReadableStream.from(indexedRows(making, blocks));
      const { rows: documents, ...record } = await writeArrowFile(
        `${making.folder}/${DOCUMENTS}`,
        rows,
        indexBatch([]),
      );
      making.wrote(DOCUMENTS, record);
      making.wrote(BLOCKS, await writeAtomic(`${making.folder}/${BLOCKS}`, list));
      const sources = countSources(making, blocks);
      const few = Object.entries(sources).filter(([, { documents: { train, test } }]) =>
        train > 0 && test < FEW
      );
      if (few.length > 0 && Object.values(sources).some(({ documents: { test } }) => test > 0)) {
        const names = few.slice(0, 5).map(([name, { documents: { test } }]) => `"${name}" (${test})`).join(
          ", ",
        );
        const more = few.length > 5 ? ` and ${few.length - 5} more` : "";
        const message =
          `fewer than ${FEW} documents are held out of ${names}${more}: what they say of a source is chance`;
        emit({ type: "warning", message });
      }
      return [{ sources, indexed: documents }];
    },
  };
  return {
    name: INDEX,
    needs: blocks.map((block) => `${tokensOf(block)}:${DOCUMENTS}`),
    links: { [`text/${DOCUMENTS}`]: DOCUMENTS },
    settings: { text: sha256(list) },
    revision: 1,
    maker,
  };
}

/** Adds up the documents and tokens of every source, for training and held out. */
function countSources({ manifest }: Making, blocks: readonly Block[]): Record<string, SourceCounts> {
  const totals = new Map<string, SourceCounts>();
  for (const block of blocks) {
    const sources = manifest(tokensOf(block)).result.sources as Record<string, SourceCounts>;
    for (const [name, { documents, tokens }] of Object.entries(sources)) {
      const sum = totals.get(name) ?? { documents: { train: 0, test: 0 }, tokens: { train: 0, test: 0 } };
      for (const side of SIDES) {
        sum.documents[side] += documents[side];
        sum.tokens[side] += tokens[side];
      }
      totals.set(name, sum);
    }
  }
  return Object.fromEntries([...totals].sort(([a], [b]) => a < b ? -1 : 1));
}

/** A row of the index. */
interface Row {
  document: bigint;
  path: string;
  place: number;
  sha256: string;
  source: string;
  side: string;
  tokens: number;
  expert?: number;
  shares?: string;
}

async function* indexedRows(making: Making, blocks: readonly Block[]): AsyncGenerator<RecordBatch> {
  for (const block of blocks) {
    const paths = block.pieces.map(pathOf);
    const file = `${making.path(tokensOf(block))}/${DOCUMENTS}`;
    for await (const batch of readArrow(file, file, making.verified)) {
      const pieces = integers(columnOf(batch, "piece"), Uint32Array);
      yield indexBatch(
        rowsOf(batch).map((row, i) => {
          const { before = 0 } = block.pieces[pieces[i]];
          return { ...row, path: paths[pieces[i]], place: row.place + before };
        }),
      );
    }
  }
}

/** Reads the columns of documents that their tokens and the index share. */
function rowsOf(batch: RecordBatch): Omit<Row, "path" | "expert" | "shares">[] {
  const [document, place, tokens] = [
    integers(columnOf(batch, "document"), BigUint64Array),
    integers(columnOf(batch, "place"), Uint32Array),
    integers(columnOf(batch, "tokens"), Uint32Array),
  ];
  const [sha256, source, side] = ["sha256", "source", "side"].map((name) => strings(columnOf(batch, name)));
  return Array.from(document, (document, i) => ({
    ...{ document, place: place[i], sha256: sha256[i], source: source[i], side: side[i], tokens: tokens[i] },
  }));
}

function indexBatch(rows: readonly Row[], withExperts = false): RecordBatch {
  return toTable({
    document: BigUint64Array.from(rows, ({ document }) => document),
    path: rows.map(({ path }) => path),
    place: Uint32Array.from(rows, ({ place }) => place),
    sha256: rows.map(({ sha256 }) => sha256),
    source: rows.map(({ source }) => source),
    side: rows.map(({ side }) => side),
    tokens: Uint32Array.from(rows, ({ tokens }) => tokens),
    ...withExperts
      ? {
        expert: rows.map(({ expert = -1 }) => expert < 0 ? "mixed" : String(expert)),
        shares: rows.map(({ shares = "" }) => shares),
      }
      : {},
  }, { format: 1, stage: withExperts ? "split" : "tokenize" });
}

/** Makes the node of the index with the expert of every document. */
export function partIndexNode(blocks: readonly Block[], prices?: Prices): Node {
  const maker: Maker = {
    stage: "split",
    async make([making]) {
      const rows = ReadableStream.from(rowsWithExperts(making, blocks, prices));
      const { rows: _, ...record } = await writeArrowFile(
        `${making.folder}/${DOCUMENTS}`,
        rows,
        indexBatch([], true),
      );
      making.wrote(DOCUMENTS, record);
      return [{}];
    },
  };
  const places = [...new Set(blocks.map((block) => assignmentPlace(block, prices).node))];
  return {
    name: PART_INDEX,
    needs: [INDEX, SEQUENCES, ...places],
    links: { [`partition/${DOCUMENTS}`]: DOCUMENTS },
    settings: {},
    revision: 1,
    maker,
  };
}

async function* rowsWithExperts(
  making: Making,
  blocks: readonly Block[],
  prices?: Prices,
): AsyncGenerator<RecordBatch> {
  const next = blocks.values();
  let experts = new Map<bigint, Map<number, number>>(), left = 0; // of the block
  const file = `${making.path(INDEX)}/${DOCUMENTS}`;
  for await (const batch of readArrow(file, file, making.verified)) {
    const rows: Row[] = [];
    const paths = strings(columnOf(batch, "path"));
    for (const [i, row] of rowsOf(batch).entries()) {
      // The index has the documents of one block after another.
      while (left === 0) {
        const block = next.next().value!;
        left = Number(making.manifest(tokensOf(block)).result.documents);
        experts = await expertsOf(making, block, prices);
      }
      left--;
      const counts = experts.get(row.document);
      rows.push({ ...row, path: paths[i], ...counts ? expertOf(counts) : {} });
    }
    yield indexBatch(rows, true);
  }
}

/** Says which expert a document went to, or how its sequences went apart. */
function expertOf(counts: ReadonlyMap<number, number>): Pick<Row, "expert" | "shares"> {
  const sorted = [...counts].sort(([a, x], [b, y]) => y - x || a - b);
  if (sorted.length === 1) return { expert: sorted[0][0] };
  const all = sorted.reduce((sum, [, count]) => sum + count, 0);
  return { shares: sorted.map(([expert, count]) => `${expert}: ${(count / all).toFixed(3)}`).join(", ") };
}

/** Counts, for every document of a block, its sequences at each expert. */
async function expertsOf(
  making: Making,
  block: Block,
  prices?: Prices,
): Promise<Map<bigint, Map<number, number>>> {
  const counts = new Map<bigint, Map<number, number>>();
  const { node, file } = assignmentPlace(block, prices);
  for (const [side, name] of [["train", TRAIN], ["test", TEST]] as const) {
    using tokens = await openNeeded(making, [{ need: tokensOf(block), file: name }]);
    const assigned = `${making.path(node)}/${file(side)}`;
    let row = 0;
    for await (const batch of readArrow(assigned, assigned, making.verified)) {
      const expert = integers(columnOf(batch, "expert"), Uint16Array);
      const numbers = Float64Array.from({ length: batch.numRows }, () => row++);
      const documents = tokens.fill("document", numbers, new BigUint64Array(numbers.length));
      documents.forEach((document, i) => {
        const own = counts.get(document) ?? new Map<number, number>();
        own.set(expert[i], (own.get(expert[i]) ?? 0) + 1);
        counts.set(document, own);
      });
    }
  }
  return counts;
}

/** A document of a run, and the place in its file. */
export interface FoundDocument {
  /** Its id; a string, as it has 64 bits. */
  document: string;
  /** The file. */
  path: string;
  /** Its line or row there. */
  place: number;
  /** SHA-256 of its text. */
  sha256: string;
  /** Source, "" if none. */
  source: string;
  /** Whether it is for training or held out. */
  side: "train" | "test";
  /** Its tokens. */
  tokens: number;
  /** The expert that it went to, or `mixed`; absent before a split. */
  expert?: string;
  /** Shares of experts, where its sequences went apart. */
  shares?: string;
}

/** Finds a document of a run by its id, as rows of shards tell it; null where there is none. Throws an `InputError` where there is no index. */
export async function findDocument(run: string, id: bigint): Promise<FoundDocument | null> {
  const files = [PART_INDEX, INDEX].map((node) => `${run}/${node}/${DOCUMENTS}`);
  const file = await exists(files[0]) ? files[0] : files[1];
  for await (const batch of readArrow(file, file, new NodeFiles())) {
    const row = integers(columnOf(batch, "document"), BigUint64Array).indexOf(id);
    if (row < 0) continue;
    const text = (name: string) => strings(columnOf(batch, name))[row];
    const { document, ...known } = rowsOf(batch)[row];
    return {
      document: String(document),
      path: text("path"),
      ...known,
      side: known.side as FoundDocument["side"],
      ...file === files[0] ? { expert: text("expert"), shares: text("shares") || undefined } : {},
    };
  }
  return null;
}
