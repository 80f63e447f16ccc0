/**
 * Cuts text into blocks by what stands in it. Blocks are what processes and machines share: each is
 * tokenized, scored and split by itself, and a file that is added or changed touches its block
 * alone.
 *
 * Small files gather in a block, in their order, until one whose hash says so or the block is full.
 * A large file of lines, row groups or Arrow batches is cut into pieces. Where the files lie and
 * what they are called makes no difference.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { ensure } from "../../kernels/errors.ts";
import { ifMissing, sha256, writeAtomic } from "../graph/files.ts";
import { type InputFile, STANDARD_INPUT } from "./inputs.ts";
import { arrowBatches } from "../rows/arrow.ts";
import { readBytes } from "../rows/bytes.ts";
import { rowGroups } from "./tables.ts";

/** A file of text, or lines or row groups of one. */
export interface Piece {
  /** The file. */
  file: InputFile;
  /** Bytes of the piece. */
  bytes: number;
  /** SHA-256 of the piece. */
  sha256: string;
  /** Bytes `from` up to `to` of the file. The whole file unless given. */
  lines?: { from: number; to: number };
  /** Row groups of Parquet or batches of Arrow, `from` up to `to`; all unless given. */
  groups?: { from: number; to: number };
  /** Lines or rows of the file that come before the piece; none unless given. */
  rowsBefore?: number;
  /**
   * Size and time of the file when it was hashed, where only some of its groups are read: nobody
   * hashes these again.
   */
  seen?: string;
  /** Whether it lies in the run, where the project wrote it: lines of `text` and `source`. */
  unpacked?: boolean;
}

/** Writes size and time of a file, by which a change of it shows. */
export const stampFile = ({ size, mtime }: Pick<Deno.FileInfo, "size" | "mtime">): string =>
  `${size} ${Number(mtime)}`;

/** Pieces of text that are tokenized together. */
export interface Block {
  /** Its name: a hash of its content, and of the sources that paths tell. */
  name: string;
  /** Number that ids of its documents and sequences begin with, below 2^40. */
  id: number;
  /** Its pieces, in order. */
  pieces: Piece[];
  /** Bytes of all pieces. */
  bytes: number;
}

/** Where a piece ends, in bytes and lines, and its SHA-256. */
type End = [to: number, line: number, sha256: string];

/**
 * What is known of files that were hashed, a row for each piece: these columns are read in a third
 * of the time of rows.
 */
class Hashed {
  path: string[] = [];
  time: number[] = []; // when the file was changed
  most: number[] = []; // bytes of a piece, about; 0 where the file is one piece
  to: number[] = [];
  line: number[] = [];
  sha256: string[] = [];
}

const FRESH_MS = 2_000; // some disks tell times no finer

/**
 * Cuts files into pieces, of at most about so many bytes where they can be cut; standard input is
 * one without bytes. A file of the same size and time is not read again if `place` tells its
 * hashes, unless they are to be checked. With `keep` they are written there.
 */
export async function cutFiles(
  files: readonly InputFile[],
  most: number,
  { place, keep = false, check = false }: { place?: string; keep?: boolean; check?: boolean } = {},
): Promise<Piece[]> {
  const noted = place && !check ? await readHashed(place) : undefined;
  const earlier = noted ?? new Hashed();
  const pieces: Piece[] = [];
  const kept = new Hashed();
  let isNew = false;
  let row = 0;
  let rows: Map<string, number> | undefined;
  for (const file of files) {
    if (file.path === STANDARD_INPUT) {
      pieces.push({ file, bytes: 0, sha256: "" });
      continue;
    }
    // Quicker than to follow links, and a promise costs ten times as much as the answer.
    const here = Deno.lstatSync(file.path);
    const stat = here.isSymlink ? Deno.statSync(file.path) : here;
    const { path, format, compression } = file;
    const { size } = stat;
    const time = Number(stat.mtime);
    const cut = format === "jsonl" && compression === undefined ? most : 0;
    if (earlier.path[row] !== path) { // the files are not those of the last time
      // The first row of each.
      rows ??= new Map(earlier.path.map((path, i) => [path, i] as const).reverse());
      row = rows.get(path) ?? row;
    }
    let ends: End[] = [];
    for (; earlier.path[row] === path; row++) {
      ends.push([earlier.to[row], earlier.line[row], earlier.sha256[row]]);
    }
    const isKnown = ends.at(-1)?.[0] === size && earlier.time[row - 1] === time &&
      earlier.most[row - 1] === cut;
    const isFresh = Date.now() - time < FRESH_MS; // a later change may not show in its time
    if (!isKnown) ends = await hashPieces(path, cut);
    isNew ||= !isKnown && !isFresh;
    for (const [to, line, sha256] of isKnown || !isFresh ? ends : []) {
      kept.path.push(path);
      kept.time.push(time);
      kept.most.push(cut);
      kept.to.push(to);
      kept.line.push(line);
      kept.sha256.push(sha256);
    }
    const isTable = format === "parquet" || format === "arrow";
    const filePieces = isTable
      ? await piecesOfGroups(file, stat, ends[0][2], most)
      : piecesOfLines(file, ends);
    for (const piece of filePieces) pieces.push(piece);
  }
  // Also where all files are fresh: whether a run has this file does not depend on the time.
  const hasFiles = files.some(({ path }) => path !== STANDARD_INPUT);
  const isNoted = noted && !isNew && kept.path.length === earlier.path.length;
  if (keep && place && hasFiles && !isNoted) {
    const text = JSON.stringify(kept);
    await writeAtomic(place, `${sha256(text)}\n${text}`);
  }
  return pieces;
}

/**
 * Reads what is known of files, undefined where nothing was noted. What cannot be read counts as
 * unknown.
 */
async function readHashed(place: string): Promise<Hashed | undefined> {
  const text = await Deno.readTextFile(place).catch(ifMissing(undefined));
  if (text === undefined) return undefined;
  const end = text.indexOf("\n");
  const seen = text.slice(end + 1);
  return Object.assign(new Hashed(), sha256(seen) === text.slice(0, end) ? JSON.parse(seen) : {});
}

function piecesOfLines(file: InputFile, ends: readonly End[]): Piece[] {
  let from = 0;
  let linesBefore = 0;
  return ends.map(([to, line, sha256]) => {
    const bytes = to - from;
    const cut = ends.length === 1 ? {} : { lines: { from, to }, rowsBefore: linesBefore };
    [from, linesBefore] = [to, line - 1];
    return { file, bytes, sha256, ...cut };
  });
}

const NEWLINE = 10;
const SMALL = 1 << 20; // a file of so many bytes is read at once

/**
 * Hashes a file; piece by piece of at most about so many bytes, each ending with a line, unless
 * these are 0.
 */
async function hashPieces(path: string, most: number): Promise<End[]> {
  const { size } = await Deno.stat(path);
  if (size <= Math.min(SMALL, most || SMALL)) {
    const data = await Deno.readFile(path);
    return [[data.length, 0, sha256(data)]];
  }
  const ends: End[] = [];
  let hash = createHash("sha256");
  let from = 0;
  let at = 0;
  let line = 1;
  const close = () => {
    ends.push([at, line, hash.digest("hex")]);
    [hash, from] = [createHash("sha256"), at];
  };
  const take = (bytes: Uint8Array) => {
    hash.update(bytes);
    at += bytes.length;
    if (most > 0) {
      for (let i = bytes.indexOf(NEWLINE); i >= 0; i = bytes.indexOf(NEWLINE, i + 1)) line++;
    }
  };
  for await (let chunk of readBytes(path)) {
    while (most > 0 && at + chunk.length - from >= most) {
      const end = chunk.indexOf(NEWLINE, Math.max(0, from + most - at - 1));
      if (end < 0) break;
      take(chunk.subarray(0, end + 1));
      chunk = chunk.subarray(end + 1);
      close();
    }
    take(chunk);
  }
  if (at > from || ends.length === 0) close();
  return ends;
}

async function piecesOfGroups(
  file: InputFile,
  stat: Deno.FileInfo,
  hash: string,
  most: number,
): Promise<Piece[]> {
  if (stat.size <= most) return [{ file, bytes: stat.size, sha256: hash }];
  const pieces: Piece[] = [];
  let from = 0;
  let size = 0;
  let rowsBefore = 0;
  let row = 0;
  const groups = await (file.format === "parquet" ? rowGroups : arrowBatches)(file.path);
  for (const [group, { bytes, rows }] of groups.entries()) {
    size += bytes;
    row += rows;
    const to = group + 1;
    if (size < most && to < groups.length) continue;
    const groupsHash = sha256(`${hash} ${from} ${to}`);
    const seen = stampFile(stat);
    pieces.push({
      file,
      bytes: size,
      sha256: groupsHash,
      groups: { from, to },
      rowsBefore,
      seen,
    });
    [from, size, rowsBefore] = [to, 0, row];
  }
  return pieces;
}

/**
 * Gathers pieces into blocks of at most so many bytes, where no piece has more, with other names
 * than the `present` blocks. Throws an `InputError` where there are too many blocks.
 */
export function gatherBlocks(
  pieces: Iterable<Piece>,
  most: number,
  present: readonly Pick<Block, "name">[] = [],
): Block[] {
  const blocks: Block[] = [];
  const taken = new Set(present.map(({ name }) => parseBlockId(name)));
  let held: Piece[] = [];
  let bytes = 0;
  const close = () => {
    if (held.length > 0) blocks.push(makeBlock(held, bytes, taken));
    [held, bytes] = [[], 0];
  };
  for (const piece of pieces) {
    if (bytes + piece.bytes > most) close();
    held.push(piece);
    bytes += piece.bytes;
    if (parseInt(piece.sha256.slice(0, 8), 16) / 2 ** 32 < 2 * piece.bytes / most) close();
  }
  close();
  return blocks;
}

const MOST_BLOCKS = 2 ** 24; // so that few share a number before they are distinguished

/** Reads the number of a block from its name. */
export const parseBlockId = (name: string): number => parseInt(name.slice(0, 10), 16);

/** Names a block. Of blocks with the same content each has a name of its own, by their order. */
function makeBlock(pieces: Piece[], bytes: number, taken: Set<number>): Block {
  const rule = `it must make at most ${MOST_BLOCKS} blocks: it makes more`;
  ensure(taken.size < MOST_BLOCKS, `Cannot cut the text as ${rule}`);
  const content = pieces.map((
    { sha256, file },
  ) => [sha256, file.format, file.compression, file.source]);
  for (let copy = 0;; copy++) {
    const hash = sha256(JSON.stringify({ content, copy }));
    const id = parseBlockId(hash);
    if (taken.has(id)) continue;
    taken.add(id);
    return { name: hash.slice(0, 16), id, pieces, bytes };
  }
}
