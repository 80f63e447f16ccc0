/**
 * Arrow files of nodes: the sequences of all blocks as one list that is read by number, and tables
 * with a row for every document. The rows of a branch of a tree are those that the levels above
 * assigned to it. Nothing is copied: they are read from the tokens of all blocks.
 *
 * @module
 */

import { type Making, PARTITIONER, readManifest, SEQUENCES } from "../graph/node.ts";
import { type Branch, branchName } from "../partition/tree/branches.ts";
import {
  needColumn,
  readArrow,
  type RecordBatch,
  toBatch,
  toTable,
  writeArrowFile,
} from "../rows/arrow.ts";
import { readIntegers, readStrings } from "../rows/column_values.ts";
import { type Columns, takeColumns } from "../rows/columns.ts";
import { Order } from "../rows/order.ts";
import { type Numeric, openRows, type Rows } from "../rows/random_access.ts";
import { blocksIn } from "../text/counts.ts";
import type { GraphOf } from "./stage.ts";

/** Files of a node of the stage. */
export const [TRAIN, TEST, DOCUMENTS] = ["train.arrow", "test.arrow", "documents.arrow"];

/** Names the node of a block's scores. */
export const scoresNode = ({ name }: NamedRows): string => `scores/${name}`;

/** Names the node of a block's tokens. */
export const tokensNode = ({ name }: NamedRows): string => `tokens/${name}`;

/** A file in the folder of a node that is needed. */
export type NeededFile = { need: string; file: string };

/**
 * Opens files of needed nodes as one list of rows. Each batch is checked when a row of it is first
 * read.
 */
export async function openNeeded(
  { path, manifest }: Pick<Making, "path" | "manifest">,
  files: readonly NeededFile[],
): Promise<Rows> {
  const paths = files.map(({ need, file }) => `${path(need)}/${file}`);
  const checksums = new Map(
    files.flatMap(({ need, file }, i) => {
      const { batches } = manifest(need).files[file];
      return batches ? [[paths[i], batches]] : [];
    }),
  );
  return await openRows(paths, { checksums });
}

/** Writes rows into a file of a node, and counts them. `empty` is a batch without rows. */
export async function writeRows(
  { folder, wrote }: Pick<Making, "folder" | "wrote">,
  file: string,
  batches: Parameters<typeof writeArrowFile>[1],
  empty?: RecordBatch,
): Promise<number> {
  const { rows, ...note } = await writeArrowFile(`${folder}/${file}`, batches, empty);
  wrote({ [file]: note });
  return rows;
}

/**
 * Reads rows by their numbers in any order, as fast as in the order of their files; of their tokens
 * the first `width`, or all.
 */
export function readRows<
  Name extends "sequence" | "tokens" | "length" | "begin" | "source" | "nll",
>(
  rows: Rows,
  numbers: ArrayLike<number>,
  names: readonly Name[],
  width?: number,
): Required<Pick<Columns, Name | "rows">> {
  const places = Uint32Array.from({ length: numbers.length }, (_, i) => i).sort((a, b) =>
    numbers[a] - numbers[b]
  );
  const read = rows.read(Float64Array.from(places, (place) => numbers[place]), names, width);
  const back = new Uint32Array(places.length);
  places.forEach((place, i) => back[place] = i);
  return takeColumns(read as unknown as Columns, back) as unknown as Required<
    Pick<Columns, Name | "rows">
  >;
}

/**
 * Reads columns of rows, or of those with these `numbers`, in batches of so many; one batch without
 * rows where there are none.
 */
export function* rowBatches(
  rows: Rows,
  names: readonly (Numeric | "source")[],
  size: number,
  numbers: Float64Array = rows.numbers(),
): Generator<RecordBatch> {
  for (let at = 0; at === 0 || at < numbers.length; at += size) {
    yield toBatch(
      rows.read(numbers.subarray(at, at + size), names) as unknown as Columns,
      rows.lineage!,
    );
  }
}

/**
 * Gives an endless stream of numbers below n for a model that goes on: of the sequences that were
 * added, and with a share `replay` of the first `sequences` ones, which it has seen.
 */
export function replaying(
  n: number,
  seed: number,
  { sequences, replay }: { sequences: number; replay: number },
) {
  const fresh = drawing(n - sequences, seed, "added text");
  const old = drawing(sequences, seed, "replay");
  return (from: number, count: number): Float64Array =>
    Float64Array.from({ length: count }, (_, i) => {
      const at = from + i;
      const freshRows = Math.floor(at * (1 - replay));
      const isNew = Math.floor((at + 1) * (1 - replay)) > freshRows;
      return isNew ? sequences + fresh(freshRows, 1)[0] : old(at - freshRows, 1)[0];
    });
}

const MOST_READ = 4096; // rows that are looked at together

/**
 * Lists the numbers of the rows that are wanted, in their order; `look` reads some rows and tells
 * which.
 */
function selectRows(
  rows: Rows,
  look: (numbers: Float64Array) => (place: number) => boolean,
): Float64Array {
  const chosen: Float64Array[] = [];
  let count = 0;
  for (let at = 0; at < rows.count; at += MOST_READ) {
    const numbers = rows.numbers(at, at + MOST_READ);
    const isWanted = look(numbers);
    chosen.push(numbers.filter((_, place) => isWanted(place)));
    count += chosen.at(-1)!.length;
  }
  const all = new Float64Array(count);
  let end = 0;
  for (const numbers of chosen) {
    all.set(numbers, end);
    end += numbers.length;
  }
  return all;
}

/** Gives rows in an order in which the sequences of `last` are the last ones. */
export function putLast(rows: Rows, last: Rows): Rows {
  const moved = new Set(last.read(last.numbers(), ["sequence"]).sequence);
  last[Symbol.dispose]();
  const select = (isMoved: boolean) =>
    selectRows(rows, (numbers) => {
      const { sequence } = rows.read(numbers, ["sequence"]);
      return (place) => moved.has(sequence[place]) === isMoved;
    });
  const order = new Float64Array(rows.count);
  const kept = select(false);
  order.set(kept);
  order.set(select(true), kept.length);
  return rows.some(order);
}

/** Gives an endless stream of numbers below n: each pass in a random order of its own. */
export function drawing(
  n: number,
  seed: number,
  purpose: string,
): (from: number, count: number) => Float64Array {
  let order: Order | undefined;
  let epoch = -1;
  return (from, count) =>
    Float64Array.from({ length: count }, (_, i) => {
      const pass = Math.floor((from + i) / n);
      if (pass !== epoch || !order) order = new Order(n, { seed, purpose, epoch: epoch = pass });
      return order.at((from + i) % n);
    });
}

/** A row: what is known of a document. Each table has some of the columns. */
export interface DocumentRow {
  /** Its id. */
  document: bigint;
  /** Number of the piece that it is of, in its block. */
  piece: number;
  /** The file. */
  path: string;
  /** Its line or row, in the file or in the piece. */
  place: number;
  /** SHA-256 of its text. */
  sha256: string;
  /** Source, "" if none. */
  source: string;
  /** Whether it is for training or held out. */
  side: "train" | "test";
  /** Its tokens. */
  tokens: number;
  /** The expert that it went to, or `mixed`. */
  expert: string;
  /** Shares of experts, where its sequences went apart. */
  shares: string;
}

type Column = keyof DocumentRow;
const NUMBERS = {
  document: BigUint64Array,
  piece: Uint32Array,
  place: Uint32Array,
  tokens: Uint32Array,
};

/** Gives these columns of rows, each under its name after a `prefix`. */
export function documentColumns<Name extends Column>(
  names: readonly Name[],
  rows: readonly Pick<DocumentRow, Name>[],
  prefix = "",
) {
  return Object.fromEntries(names.map((name) => {
    const values = rows.map((row) => row[name]);
    return [
      prefix + name,
      name in NUMBERS
        ? new NUMBERS[name as keyof typeof NUMBERS](values as never)
        : values as string[],
    ];
  }));
}

/** Makes a batch of a table of these columns, which a stage writes. */
export const documentBatch = <Name extends Column>(
  stage: string,
  names: readonly Name[],
  rows: readonly Pick<DocumentRow, Name>[],
): RecordBatch => toTable(documentColumns(names, rows), { format: 1, stage });

/** Reads a column of a batch of a table. */
export function documentColumn<Name extends Column>(
  batch: RecordBatch,
  name: Name,
): ArrayLike<DocumentRow[Name]> {
  const column = needColumn(batch, name);
  const values = name in NUMBERS
    ? readIntegers(column, NUMBERS[name as keyof typeof NUMBERS])
    : readStrings(column);
  return values as ArrayLike<unknown> as ArrayLike<DocumentRow[Name]>;
}

/** Reads these columns of a batch of a table, or of those `rows` of it. */
export function documentRows<Name extends Column>(
  batch: RecordBatch,
  names: readonly Name[],
  rows?: readonly number[],
): Pick<DocumentRow, Name>[] {
  const columns = names.map((name) => documentColumn(batch, name));
  return Array.from({ length: rows?.length ?? batch.numRows }, (_, i) => {
    const row = rows?.[i] ?? i;
    const values: Record<string, unknown> = {};
    for (const [i, name] of names.entries()) values[name] = columns[i][row];
    return values as Pick<DocumentRow, Name>;
  });
}

/** Reads these columns of all rows of a table in a file. */
export async function* readDocumentRows<Name extends Column>(path: string, names: readonly Name[]) {
  for await (const batch of readArrow(path)) yield* documentRows(batch, names);
}

/**
 * Reads these columns of the rows of a table that are wanted: `look` reads columns of a batch and
 * returns what tells of a row whether it is. Other columns of a batch without such a row are not
 * read.
 */
export async function* selectDocumentRows<Name extends Column>(
  path: string,
  names: readonly Name[],
  look: (
    read: <Seen extends Column>(name: Seen) => ArrayLike<DocumentRow[Seen]>,
  ) => (row: number) => boolean,
): AsyncGenerator<Pick<DocumentRow, Name>> {
  for await (const batch of readArrow(path)) {
    const isWanted = look((name) => documentColumn(batch, name));
    const wanted: number[] = [];
    for (let row = 0; row < batch.numRows; row++) if (isWanted(row)) wanted.push(row);
    if (wanted.length > 0) yield* documentRows(batch, names, wanted);
  }
}

/**
 * Lists the nodes of all tokens of a run, in order, without a look at its text; null before that is
 * there as tokens.
 */
export async function listTokens(run: string): Promise<string[] | null> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  return list && blocksIn(list).map((name) => tokensNode({ name }));
}

/** Names the node of the partitioner of a branch, or of the run. */
export const partitionerNode = (branch?: Branch): string =>
  branch ? `branches/${branchName(branch)}` : PARTITIONER;

const roundsFolder = (branch?: Branch) => branch ? `rounds/${branchName(branch)}` : "rounds";

const twoDigits = (number: number) => String(number).padStart(2, "0");

/** Names the node of the clusters that routers begin with. */
export const startNode = ({ branch }: GraphOf): string => `${roundsFolder(branch)}/start`;

/** Names the node of a router after a round. */
export const roundNode = (round: number, router: number, { branch }: GraphOf): string =>
  `${roundsFolder(branch)}/${twoDigits(round)}/router-${twoDigits(router)}`;

/** A node's worth of rows: a block, or all rows of a branch below the root. */
export type NamedRows = Pick<GraphOf["blocks"][number], "name">;

/** What rows of a branch are made of. */
type BranchOf = Partial<Pick<GraphOf, "branch">> & { blocks: readonly NamedRows[] };

/** Names what holds the rows of a branch: all blocks, or below the root the branch. */
export const listBranchRows = ({ branch, blocks }: BranchOf): readonly NamedRows[] =>
  branch?.length ? [{ name: branchName(branch) }] : blocks;

/** Names the node of the assignment of a branch, or of all rows. */
export const assignmentNode = (branch?: Branch): string => `assignments/${branchName(branch)}`;

/**
 * Names what is needed to know the rows of a branch: the assignments of those that lead to it, the
 * root first.
 */
export const rowNeeds = ({ branch = [] }: GraphOf): string[] =>
  branch.map((_, depth) => assignmentNode(branch.slice(0, depth)));

/** Opens the assignment of the rows of a branch in their order, from its files of this name. */
export async function openAssigned(
  making: Pick<Making, "path" | "manifest">,
  source: BranchOf,
  side: string,
): Promise<Rows> {
  const need = assignmentNode(source.branch);
  return await openNeeded(
    making,
    listBranchRows(source).map(({ name }) => ({ need, file: `${name}-${side}` })),
  );
}

/** Opens the sequences of a side: all, or those that the branch above assigned to a branch. */
export async function branchRows(making: Making, source: BranchOf, side: string): Promise<Rows> {
  const { blocks, branch = [] } = source;
  if (branch.length === 0) {
    return await openNeeded(
      making,
      blocks.map((block) => ({ need: tokensNode(block), file: side })),
    );
  }
  const above = { blocks, branch: branch.slice(0, -1) };
  const rows = await branchRows(making, above, side);
  using assigned = await openAssigned(making, above, side);
  const itsRows = selectRows(assigned, (numbers) => {
    const { expert } = assigned.read(numbers, ["expert"]);
    return (place) => expert[place] === branch.at(-1);
  });
  return rows.some(itsRows);
}
