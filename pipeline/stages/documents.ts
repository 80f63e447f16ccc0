/**
 * The index of the text: a table with a row for every document, and after the split its expert. So
 * any row of any shard leads back to its file. Any tool reads it.
 *
 *     text/documents.arrow         document, path, place, sha256, source, side, tokens
 *     partition/documents.arrow    the same, expert, shares
 *
 * The expert is `mixed` where the sequences of a document went to several.
 *
 * @module
 */

import { listSome } from "../graph/printable.ts";
import * as v from "valibot";
import {
  type Making,
  type Node,
  oneByOne,
  readManifest,
  SEQUENCES,
  SPLIT,
  TOKENIZE,
  type Work,
} from "../graph/node.ts";
import { columnNames, readArrow, type RecordBatch } from "../rows/arrow.ts";
import { exists, sha256 } from "../graph/files.ts";
import { readVerified } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block, Piece } from "../text/blocks.ts";
import { isNamed } from "../text/glob.ts";
import { assignmentPlace } from "./assign.ts";
import {
  documentBatch,
  type DocumentRow,
  documentRows,
  DOCUMENTS,
  openNeeded,
  selectDocumentRows,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "./token_rows.ts";
import type { GraphOf } from "./stage.ts";
import { readingSettings, type RunText } from "./text.ts";
import { byName, countSources } from "./tokenize.ts";

/** Name of the node of the index of all text, and of that with experts. */
export const [INDEX, PART_INDEX] = ["text/index", "partition/index"];

const FILE_COLUMNS = ["document", "place", "sha256", "source", "side", "tokens"] as const;
const COLUMNS = ["document", "path", "place", "sha256", "source", "side", "tokens"] as const;
/** Columns of the index with experts. */
export const PART_COLUMNS = [...COLUMNS, "expert", "shares"] as const;

/** Names the file of a piece: one that was unpacked by its path in the run, which may be moved. */
export const piecePath = ({ file: { path }, unpacked }: Piece): string =>
  unpacked ? path.split("/").slice(-3).join("/") : path;

const BLOCKS = "blocks.json";

/**
 * Describes a block as the index lists it: of each piece the path, the hash, and the rows that come
 * before it in the file.
 *
 * @ignore Its type is inferred.
 */
export const INDEXED = v.object({
  name: v.string(),
  pieces: v.array(v.tuple([v.string(), v.string(), v.number()])),
});

type IndexedBlock = v.InferOutput<typeof INDEXED>;

/** Reads which blocks the index of a run is of; null where there is no index. */
export async function indexedBlocks(run: string): Promise<IndexedBlock[] | null> {
  const path = `${run}/${INDEX}/${BLOCKS}`;
  if (!await readManifest(`${run}/${INDEX}`)) return null;
  return JSON.parse(new TextDecoder().decode(await readVerified(path)));
}

/**
 * Makes the node of the index. Paths are part of it, so it is made again where a file is only
 * moved.
 */
export function indexNode({ blocks }: GraphOf): Node {
  const list = JSON.stringify(blocks.map(({ name, pieces }): IndexedBlock => ({
    name,
    pieces: pieces.map((piece) => [piecePath(piece), piece.sha256, piece.rowsBefore ?? 0]),
  })));
  return {
    name: INDEX,
    needs: blocks.map((block) => `${tokensNode(block)}:${DOCUMENTS}`),
    links: { [`text/${DOCUMENTS}`]: DOCUMENTS },
    settings: { text: sha256(list) },
    revision: 1,
    maker: oneByOne(TOKENIZE, async (making, { emit }) => {
      const empty = documentBatch(TOKENIZE, COLUMNS, []);
      const indexed = await writeRows(making, DOCUMENTS, indexedRows(making, blocks), empty);
      await making.write(BLOCKS, list);
      const sources = byName(countSources(making, blocks));
      const tests = Object.entries(sources).map(([name, { documents }]) => ({
        name,
        ...documents,
      }));
      if (tests.some(({ test }) => test > 0)) {
        warnOfFew(tests.filter(({ train }) => train > 0), emit);
      }
      return { sources, indexed };
    }),
  };
}

/** Fewest held-out documents of a source of which nothing is said. */
const FEW = 5;

function warnOfFew(sources: readonly { name: string; test: number }[], emit: Work["emit"]): void {
  const few = sources.filter(({ test }) => test < FEW);
  if (few.length === 0) return;
  const names = listSome(few.map(({ name, test }) => `"${name}" (${test})`));
  const message =
    `fewer than ${FEW} documents are held out of ${names}: what they say of a source is chance`;
  emit({ type: "warning", message });
}

async function* indexedRows(making: Making, blocks: readonly Block[]): AsyncGenerator<RecordBatch> {
  for (const block of blocks) {
    const paths = block.pieces.map(piecePath);
    for await (const batch of readArrow(`${making.path(tokensNode(block))}/${DOCUMENTS}`)) {
      const rows = documentRows(batch, ["piece", ...FILE_COLUMNS]).map((
        { piece, place, ...row },
      ) => ({
        ...row,
        path: paths[piece],
        place: place + (block.pieces[piece].rowsBefore ?? 0),
      }));
      yield documentBatch(TOKENIZE, COLUMNS, rows);
    }
  }
}

/** Makes the node of the index with the expert of every document. */
export function partIndexNode(graph: GraphOf): Node {
  const places = new Set(graph.blocks.map((block) => assignmentPlace(block, graph).node));
  return {
    name: PART_INDEX,
    needs: [INDEX, SEQUENCES, ...places],
    links: { [`partition/${DOCUMENTS}`]: DOCUMENTS },
    settings: {},
    revision: 2,
    maker: oneByOne(SPLIT, async (making) => {
      await writeRows(
        making,
        DOCUMENTS,
        rowsWithExperts(making, graph),
        documentBatch(SPLIT, PART_COLUMNS, []),
      );
      return {};
    }),
  };
}

async function* rowsWithExperts(making: Making, graph: GraphOf): AsyncGenerator<RecordBatch> {
  const next = graph.blocks.values();
  let experts = new Map<bigint, Map<number, number>>();
  let left = 0; // of the block
  for await (const batch of readArrow(`${making.path(INDEX)}/${DOCUMENTS}`)) {
    const rows: Pick<DocumentRow, typeof PART_COLUMNS[number]>[] = [];
    for (const row of documentRows(batch, COLUMNS)) {
      // The index has the documents of one block after another.
      while (left === 0) {
        const block = next.next().value!;
        left = Number(making.manifest(tokensNode(block)).result.documents);
        experts = await countExperts(making, block, graph);
      }
      left--;
      rows.push({ ...row, ...nameExpert(experts.get(row.document) ?? new Map()) });
    }
    yield documentBatch(SPLIT, PART_COLUMNS, rows);
  }
}

/** Reports which expert a document went to, or how its sequences went apart. */
function nameExpert(counts: ReadonlyMap<number, number>): Pick<DocumentRow, "expert" | "shares"> {
  const sorted = [...counts].sort(([a, x], [b, y]) => y - x || a - b);
  // None begins a sequence of a packed one.
  if (sorted.length < 2) return { expert: String(sorted[0]?.[0] ?? ""), shares: "" };
  const all = sorted.reduce((sum, [, count]) => sum + count, 0);
  const shares = sorted.map(([expert, count]) => `${expert}: ${(count / all).toFixed(3)}`).join(
    ", ",
  );
  return { expert: "mixed", shares };
}

/** Counts, for every document of a block, its sequences at each expert. */
async function countExperts(
  making: Making,
  block: Block,
  graph: GraphOf,
): Promise<Map<bigint, Map<number, number>>> {
  const counts = new Map<bigint, Map<number, number>>();
  const { node, file } = assignmentPlace(block, graph);
  for (const [side, name] of [["train", TRAIN], ["test", TEST]] as const) {
    using tokens = await openNeeded(making, [{ need: tokensNode(block), file: name }]);
    using assigned = await openNeeded(making, [{ need: node, file: file(side) }]);
    const numbers = tokens.numbers();
    const { expert } = assigned.read(numbers, ["expert"]);
    tokens.read(numbers, ["document"]).document.forEach((document, i) => {
      const byExpert = counts.getOrInsertComputed(document, () => new Map());
      byExpert.set(expert[i], (byExpert.get(expert[i]) ?? 0) + 1);
    });
  }
  return counts;
}

/** Reads what an index tells of the documents with these ids, in its order. */
export async function* selectDocuments(
  index: string,
  ids: ReadonlySet<bigint>,
): AsyncGenerator<Pick<DocumentRow, typeof PART_COLUMNS[number]>> {
  if (ids.size === 0) return;
  yield* selectDocumentRows(index, PART_COLUMNS, (read) => {
    const documents = read("document");
    return (row) => ids.has(documents[row]);
  });
}

/**
 * A document of a run, and the place in its file. Its id is a string, as it has 64 bits; before a
 * split it has no expert.
 */
export interface FoundDocument
  extends
    Pick<DocumentRow, "path" | "place" | "sha256" | "source" | "side" | "tokens">,
    Partial<Pick<DocumentRow, "expert" | "shares">> {
  /** Its id. */
  document: string;
}

/**
 * Finds the documents of a run that an id, a path or a pattern of paths names. Throws an
 * `InputError` where there is no index.
 */
export async function* findDocuments(run: string, named: string): AsyncGenerator<FoundDocument> {
  const [part, all] = [PART_INDEX, INDEX].map((node) => `${run}/${node}/${DOCUMENTS}`);
  const isId = /^\d+$/.test(named);
  for await (const document of listDocuments(await exists(part) ? part : all)) {
    if (isId ? document.document === named : isNamed(document.path, named)) yield document;
  }
}

/** Lists the documents of a table: that of a run's text, or that with experts. */
export async function* listDocuments(path: string): AsyncGenerator<FoundDocument> {
  for await (const batch of readArrow(path)) {
    const isSplit = columnNames(batch).includes("expert");
    for (const row of documentRows(batch, isSplit ? PART_COLUMNS : COLUMNS)) {
      const { document, shares } = row as Partial<DocumentRow>;
      yield { ...row, document: String(document), ...isSplit && { shares: shares || undefined } };
    }
  }
}

/** Files of the text that are not as they were when the run was made. */
export interface TextChanges {
  /** Paths of files that came. */
  added: string[];
  /** Paths of files with other content. */
  changed: string[];
  /** Paths of files that are gone. */
  removed: string[];
}

/** Compares the text with that of which the run's index tells; null where there is no index yet. */
export async function changesOfText(
  run: string,
  blocks: readonly Block[],
): Promise<TextChanges | null> {
  const indexed = await indexedBlocks(run);
  if (!indexed) return null;
  const piecesNow = joinPieces(
    blocks.flatMap(({ pieces }) => pieces.map((piece) => [piecePath(piece), piece.sha256])),
  );
  const then = joinPieces(
    indexed.flatMap(({ pieces }) => pieces.map(([path, sha256]) => [path, sha256])),
  );
  return {
    added: [...piecesNow.keys()].filter((path) => !then.has(path)),
    changed: [...piecesNow.keys()].filter((path) =>
      then.has(path) && then.get(path) !== piecesNow.get(path)
    ),
    removed: [...then.keys()].filter((path) => !piecesNow.has(path)),
  };
}

/** Joins the hashes of the pieces of every file. */
function joinPieces(pieces: readonly string[][]): Map<string, string> {
  const files = new Map<string, string>();
  for (const [path, sha256] of pieces) files.set(path, `${files.get(path) ?? ""} ${sha256}`);
  return files;
}

/** Words changes of the text, by their kinds. */
export function changesText(changes: TextChanges | null): string {
  return Object.entries(changes ?? {}).filter(([, paths]) => paths.length > 0)
    .map(([change, paths]) => `${change} ${listSome(paths.map((path: string) => `"${path}"`))}`)
    .join(
      "; ",
    );
}

/** Gives a block as the index lists it. Its files cannot be read by that. */
export const toBlock = ({ name, pieces }: IndexedBlock): Block => ({
  name,
  id: 0,
  bytes: 0,
  pieces: pieces.map(([path, sha256, rowsBefore]): Piece => ({
    file: { path, format: "txt" },
    bytes: 0,
    sha256,
    rowsBefore,
  })),
});

/**
 * Gives the text of a run as its index tells of it, without a look at a file; it has no blocks
 * where there is no index.
 */
export async function recordedText(run: string, configuration: Configuration): Promise<RunText> {
  const blocks = (await indexedBlocks(run))?.map(toBlock);
  return { ...unseenText(configuration), blocks };
}

/** Gives a text at which nobody has looked. */
export const unseenText = (configuration: Configuration): RunText => ({
  unpacked: [],
  passed: new Map(),
  asText: [],
  reading: readingSettings(configuration),
});
