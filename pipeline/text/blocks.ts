/**
 * Cuts text into blocks by what stands in it. Blocks are what processes and machines share: each is tokenized, scored and split by itself,
 * and a file that is added or changed touches its block alone.
 *
 * Small files gather in a block, in their order, until one whose hash says so or the block is full. A large file of lines, row groups
 * or Arrow batches is cut into pieces. Where the files lie and what they are called makes no difference.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { InputError } from "../../kernels/errors.ts";
import { isMissing, sha256, writeAtomic } from "../run/files.ts";
import { canonical } from "../run/schema.ts";
import type { InputFile } from "./inputs.ts";
import { arrowBatches } from "../rows/arrow.ts";
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
  before?: number;
  /** Whether the project wrote the file itself: lines of `text` and `source`. */
  own?: boolean;
}

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

/** What is known of a file that was hashed: the ends of its pieces, with their hashes. */
interface Hashed {
  bytes: number;
  time: number;
  /** Bytes of a block that it was cut for, and how it was read. */
  cut: number;
  kind: string;
  ends: [to: number, line: number, sha256: string][];
  /** Whether it was written so shortly before that a later change may not show in its time: it is read again next time. */
  isFresh?: true;
}

const FRESH_MS = 2_000; // some disks tell times no finer

/** Hashes of files that were seen before, by path. A file of the same size and time is not read again. */
export class KnownFiles {
  #files = new Map<string, Hashed>();
  #changed = false;

  private constructor(private readonly place?: string) {}

  /** Reads what `keep` wrote at a place. What cannot be read counts as unknown. */
  static async at(place?: string): Promise<KnownFiles> {
    const known = new KnownFiles(place);
    if (place) {
      try {
        const text = await Deno.readTextFile(place), end = text.indexOf("\n");
        const seen = text.slice(end + 1);
        if (sha256(seen) === text.slice(0, end)) {
          for (const [path, bytes, time, cut, kind, ...ends] of JSON.parse(seen)) {
            known.#files.set(path, { bytes, time, cut, kind, ends });
          }
        }
      } catch (error) {
        if (!isMissing(error) && !(error instanceof SyntaxError) && !(error instanceof TypeError)) {
          throw error;
        }
      }
    }
    return known;
  }

  /** Forgets everything, so that each file is read again. */
  forget(): void {
    this.#files.clear();
  }

  /** Writes what is known, if that has changed. */
  async keep(): Promise<void> {
    if (!this.#changed || !this.place) return;
    const files = [...this.#files].filter(([, { isFresh }]) => !isFresh);
    const seen = JSON.stringify(
      files.map(([path, { bytes, time, cut, kind, ends }]) => [path, bytes, time, cut, kind, ...ends]),
    ); // names of fields would take a third of the time to read it
    await writeAtomic(this.place, `${sha256(seen)}\n${seen}`);
    this.#changed = false;
  }

  /** Gives the pieces of a file, of at most about so many bytes where it can be cut. */
  async cutPieces(file: InputFile, most: number): Promise<Piece[]> {
    const { size: bytes, mtime } = Deno.statSync(file.path); // a promise costs ten times as much as the answer
    const time = Number(mtime), known = this.#files.get(file.path);
    const kind = `${file.format} ${file.compression ?? ""}`;
    const isKnown = known?.bytes === bytes && known.time === time && known.cut === most &&
      known.kind === kind;
    let hashed: Hashed = known!;
    if (!isKnown) {
      const fresh = Date.now() - time < FRESH_MS ? { isFresh: true as const } : {};
      hashed = { bytes, time, cut: most, kind, ends: await hashPieces(file, most), ...fresh };
      this.#files.set(file.path, hashed);
      this.#changed ||= !hashed.isFresh;
    }
    if (file.format === "parquet" || file.format === "arrow") {
      return await piecesOfGroups(file, bytes, hashed.ends[0][2], most);
    }
    let from = 0, before = 0;
    return hashed.ends.map(([to, line, sha256], _, { length }) => {
      const cut = { lines: { from, to }, before };
      [from, before] = [to, line - 1];
      return { file, bytes: to - cut.lines.from, sha256, ...length === 1 ? {} : cut };
    });
  }

  /** Forgets files that are not among these. */
  retain(files: readonly InputFile[]): void {
    const paths = new Set(files.map(({ path }) => path));
    for (const path of this.#files.keys()) {
      if (paths.has(path)) continue;
      this.#files.delete(path);
      this.#changed = true;
    }
  }
}

const NEWLINE = 10;
const SMALL = 1 << 20; // a file of so many bytes is read at once

/** Hashes a file; one of lines piece by piece, each ending with a line. */
async function hashPieces(file: InputFile, most: number): Promise<Hashed["ends"]> {
  const isLines = file.format === "jsonl" && file.compression === undefined;
  const { size } = await Deno.stat(file.path);
  if (size <= Math.min(SMALL, most)) {
    const data = await Deno.readFile(file.path);
    return [[data.length, 0, sha256(data)]];
  }
  const ends: Hashed["ends"] = [];
  let hash = createHash("sha256"), from = 0, at = 0, line = 1;
  const close = () => {
    ends.push([at, line, hash.digest("hex")]);
    [hash, from] = [createHash("sha256"), at];
  };
  const take = (bytes: Uint8Array) => {
    hash.update(bytes);
    at += bytes.length;
    if (isLines) { for (let i = bytes.indexOf(NEWLINE); i >= 0; i = bytes.indexOf(NEWLINE, i + 1)) line++; }
  };
  using open = await Deno.open(file.path);
  const buffer = new Uint8Array(1 << 18);
  for (let count = await open.read(buffer); count !== null; count = await open.read(buffer)) {
    let rest = buffer.subarray(0, count);
    while (isLines && at + rest.length - from >= most) {
      const end = rest.indexOf(NEWLINE, Math.max(0, from + most - at - 1));
      if (end < 0) break;
      take(rest.subarray(0, end + 1));
      rest = rest.subarray(end + 1);
      close();
    }
    take(rest);
  }
  if (at > from || ends.length === 0) close();
  return ends;
}

async function piecesOfGroups(file: InputFile, bytes: number, hash: string, most: number): Promise<Piece[]> {
  if (bytes <= most) return [{ file, bytes, sha256: hash }];
  const pieces: Piece[] = [];
  let from = 0, size = 0, before = 0, row = 0;
  const groups = await (file.format === "parquet" ? rowGroups : arrowBatches)(file.path);
  for (const [group, { bytes, rows }] of groups.entries()) {
    size += bytes;
    row += rows;
    const to = group + 1;
    if (size < most && to < groups.length) continue;
    pieces.push({ file, bytes: size, sha256: sha256(`${hash} ${from} ${to}`), groups: { from, to }, before });
    [from, size, before] = [to, 0, row];
  }
  return pieces;
}

/**
 * Gathers pieces into blocks of at most so many bytes, where no piece has more, with other names than blocks that are there `others`. Throws
 * an `InputError` where there are too many blocks.
 */
export function gatherBlocks(
  pieces: Iterable<Piece>,
  most: number,
  others: readonly Pick<Block, "name">[] = [],
): Block[] {
  const blocks: Block[] = [];
  const taken = new Set(others.map(({ name }) => parseBlockId(name)));
  let held: Piece[] = [], bytes = 0;
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

/** Gives the number of a block by its name. */
export const parseBlockId = (name: string): number => parseInt(name.slice(0, 10), 16);

/** Names a block. Of blocks with the same content each has a name of its own, by their order. */
function makeBlock(pieces: Piece[], bytes: number, taken: Set<number>): Block {
  if (taken.size >= MOST_BLOCKS) {
    throw new InputError(`Cannot cut the text as it must make at most ${MOST_BLOCKS} blocks: it makes more`);
  }
  const content = pieces.map((
    { sha256, file: { format, compression, source } },
  ) => [sha256, format, compression, source]);
  for (let copy = 0;; copy++) {
    const hash = sha256(canonical({ content, copy }));
    const id = parseBlockId(hash);
    if (taken.has(id)) continue;
    taken.add(id);
    return { name: hash.slice(0, 16), id, pieces, bytes };
  }
}
