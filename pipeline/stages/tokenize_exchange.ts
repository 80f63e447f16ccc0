/**
 * The shuffle of a text that is made into tokens in parts: an exchange by hash in two passes. First every group of files sorts its
 * training sequences into buckets by the leading bits of their keys; then whoever writes a shard reads the buckets that it lies in, from
 * all groups, and puts them in order.
 *
 *     tokens/exchange/00012/00003.arrows    what the fourth group of files has for bucket 12
 *     tokens/train-00005.arrow              the sixth shard, which every process writes to the same bytes
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { emptyBatch, fromBatch, readArrow, type RecordBatch, toBatch } from "../rows/arrow.ts";
import { type Lineage, lineageOf } from "../rows/lineage.ts";
import { sliceColumns } from "../rows/columns.ts";
import { shardName } from "../rows/arrow.ts";
import { writeShards } from "../rows/shards.ts";
import { scatter, shuffleBuckets } from "../rows/shuffle.ts";
import { type FileRecord, hashFile, refuseLink, removeIfEmpty, removeIfThere, sha256 } from "../run/files.ts";
import { conform, count } from "../run/schema.ts";
import { Vouched } from "../run/vouched.ts";
import { type FileNote, noteOf, notePath, readNote, writeMissing, writeNote } from "./notes.ts";
import type { Work } from "./stage.ts";

const STAGE = "tokenize";
const EXCHANGE = "tokens/exchange";
const SPILL = "tokens/spill.partial"; // what is too much for memory, a folder for each process that writes shards
const MOST_GROUPS = 256;
const MOST_BITS = 8; // of keys that tell buckets apart

/** Which side of the held-out split shards are on. */
export type Kind = "train" | "test";

/** The tokens of one file of the text, where they lie and what comes before them. */
export interface FileTokens {
  /** Paths in the run folder of its training and its held-out sequences. */
  paths: Record<Kind, string>;
  /** What is noted of them; of training sequences that are exchanged the file is gone. */
  notes: Record<Kind, FileNote | undefined>;
  /** Sequences and documents of the files before it. */
  before: { sequences: bigint; documents: bigint };
}

/** All that is known once every file of the text is made into tokens. */
export interface ExchangePlan {
  /** Hash of what the stage depends on. */
  key: string;
  /** Seed of the order. */
  seed: number;
  /** Most sequences in a shard. */
  shardSequences: number;
  /** Says where the sequences come from. */
  lineage: Lineage;
  /** The files, in their order. */
  files: FileTokens[];
}

const PIECES = v.array(v.object({ bucket: count, bytes: count, sha256: v.string(), rows: count }));

/** What a group of files has for one bucket. */
type Piece = v.InferOutput<typeof PIECES>[number];

const numbered = (number: number) => String(number).padStart(5, "0");
const pieceName = (bucket: number, group: number) =>
  `${EXCHANGE}/${numbered(bucket)}/${numbered(group)}.arrows`;
const noteName = (group: number) => `exchange-${numbered(group)}`;

/** Names of what the exchange leaves besides shards, by their paths in the run folder. */
export const MADE_EXCHANGE =
  /^(tokens\/exchange\/\d{5,}\/\d{5,}\.arrows|manifests\/tokenize\/(exchange-\d{5,}|(train|test)-\d{5,}\.arrow)\.json)$/;

/** Counts the groups that so many files make: each is one file, or some that follow one another. */
export const groupsOf = (files: number): number => Math.min(files, MOST_GROUPS);

/** Gives the group that a file is in. */
export const groupOf = (file: number, files: number): number =>
  Math.floor(((file + 1) * groupsOf(files) - 1) / files);

/** Reads what a group of files has for each bucket; null where it is not there, or was made of something else. */
export async function piecesOf(run: string, group: number, key: string): Promise<Piece[] | null> {
  const note = await readNote(notePath(run, STAGE, noteName(group))).catch(() => null);
  if (note?.key !== key) return null;
  const pieces = conform(PIECES, note.pieces);
  for (const { bucket, bytes } of pieces) {
    const size = await Deno.stat(`${run}/${pieceName(bucket, group)}`).then(({ size }) => size, () => -1);
    if (size !== bytes) return null;
  }
  return pieces;
}

/** Says that a file of the exchange was removed while others are made from it: another process found it to be damaged. */
export function exchangeRemoved(run: string): InputError {
  const where = `${run}/${EXCHANGE}`;
  return new InputError(
    `Cannot write shards as all groups of files must stay exchanged meanwhile: some of "${where}" is gone or was made of something else`,
    { where, remedy: "run the same again, which makes it again" },
  );
}

/** Lists what is known of the files of a group in the exchange, by their paths in the run folder. */
export function pieceRecords(group: number, pieces: readonly Piece[]): Record<string, FileRecord> {
  return Object.fromEntries(
    pieces.map(({ bucket, bytes, sha256 }) => [pieceName(bucket, group), { bytes, sha256 }]),
  );
}

const rowsOf = ({ files }: ExchangePlan, kind: Kind): number =>
  files.reduce((sum, { notes }) => sum + (notes[kind]?.rows ?? 0), 0);

/** Counts the shards of a kind; none where nothing is held out. */
export function shardsOf(plan: ExchangePlan, kind: Kind): number {
  if (plan.files[0].notes[kind] === undefined) return 0;
  return Math.max(1, Math.ceil(rowsOf(plan, kind) / plan.shardSequences));
}

/**
 * Gives the bits that tell the buckets of so many shards apart. There are as many buckets as shards or more, so that who writes a shard
 * reads little beyond it, but at most 256: beyond as many shards a process reads whole buckets for some shards of each.
 */
const bitsOf = (shards: number): number => Math.min(MOST_BITS, Math.ceil(Math.log2(shards)));

/** Counts the buckets into which the sequences of so many shards are sorted. */
export const bucketsOf = (shards: number): number => 2 ** bitsOf(shards);

/** Gives the rows of files the numbers that they have in the whole text. */
async function* inText(
  { run, signal }: Work,
  files: readonly FileTokens[],
  kind: Kind,
  { lineage }: ExchangePlan,
): AsyncGenerator<RecordBatch> {
  for (const { paths, notes, before: { sequences, documents } } of files) {
    const own = new Vouched().add(run, { [paths[kind]]: notes[kind]! }); // of what goes again, so that no manifest tells of it
    for await (const batch of readPart(`${run}/${paths[kind]}`, own)) {
      signal?.throwIfAborted();
      const columns = fromBatch(batch);
      yield toBatch({
        ...columns,
        sequence: columns.sequence.map((id) => id + sequences),
        document: columns.document!.map((id) => id + documents),
      }, lineage);
    }
  }
}

/** Reads what a part left; where that is damaged it is removed, so that it is made again. */
async function* readPart(path: string, own: Vouched): AsyncGenerator<RecordBatch> {
  try {
    yield* readArrow(path, path, own);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    await removeIfThere(path);
    const { what, where } = error;
    throw new InputError(what, { where, remedy: "it is removed: run the same again", cause: error });
  }
}

/** Sorts the training sequences of groups into buckets, those that no note tells of; the groups' own files go. */
export async function exchange(work: Work, plan: ExchangePlan, groups: readonly number[]): Promise<void> {
  const { run, lock } = work;
  for (const group of groups) {
    const release = await lock(`${STAGE}-${noteName(group)}`, { patience: Infinity });
    try {
      if (await piecesOf(run, group, plan.key)) continue;
      const files = plan.files.filter((_, file) => groupOf(file, plan.files.length) === group);
      const bits = bitsOf(shardsOf(plan, "train"));
      await refuseLink(`${run}/${EXCHANGE}`);
      for (let bucket = 0; bucket < 2 ** bits; bucket++) {
        const folder = `${run}/${EXCHANGE}/${numbered(bucket)}`;
        await refuseLink(folder);
        await Deno.mkdir(folder, { recursive: true });
      }
      const partialOf = (bucket: number) => `${run}/${pieceName(bucket, group)}.partial`;
      const rows = await scatter(ReadableStream.from(inText(work, files, "train", plan)), {
        seed: plan.seed,
        bits,
        pathOf: partialOf,
      });
      const pieces: Piece[] = [];
      for (const [bucket, count] of rows.entries()) {
        if (count === 0) continue;
        pieces.push({ bucket, rows: count, ...await finish(partialOf(bucket)) });
      }
      const total = pieces.reduce(
        (sum, { rows, bytes }) => ({ rows: sum.rows + rows, bytes: sum.bytes + bytes }),
        { rows: 0, bytes: 0 },
      );
      const hash = sha256(pieces.map((piece) => piece.sha256).join());
      await writeNote(run, STAGE, noteName(group), { key: plan.key, ...total, sha256: hash, pieces });
      for (const { paths } of files) await removeIfThere(`${run}/${paths.train}`);
    } finally {
      await release();
    }
  }
}

/** Hashes a file that is written, makes sure that it is on the disk, and gives it its name. */
async function finish(partial: string): Promise<FileRecord> {
  const record = await hashFile(partial);
  {
    using file = await Deno.open(partial, { write: true });
    await file.sync();
  }
  await Deno.rename(partial, partial.slice(0, -".partial".length));
  return record;
}

/** Lists the notes of the shards of a kind, in their order; null for one that is still to be written. */
export async function shardNotes(
  { run }: Pick<Work, "run">,
  plan: ExchangePlan,
  kind: Kind,
): Promise<(FileNote | null)[]> {
  const names = Array.from({ length: shardsOf(plan, kind) }, (_, shard) => shardName(kind, shard));
  return await Promise.all(
    names.map((file) => noteOf({ run, stage: STAGE, folder: "tokens", file, key: plan.key })),
  );
}

/** Writes those shards of these numbers, which follow one another, and what lies between, that no note tells of. */
export async function writeOwnShards(
  work: Work,
  plan: ExchangePlan,
  kind: Kind,
  numbers: readonly number[],
): Promise<void> {
  const { run, files: { read } } = work;
  const { shardSequences: size } = plan;
  const all = kind === "train" ? inOrder : heldOut;
  await writeMissing(work, {
    nameOf: (shard) => `${STAGE}-${shardName(kind, shard)}`,
    async missing() {
      const notes = await shardNotes(work, plan, kind);
      return numbers.filter((shard) => notes[shard] === null);
    },
    async write(first, last) {
      try {
        await refuseLink(`${run}/${SPILL}`);
        const rows = between(all(work, plan, first * size, (last + 1) * size), plan.lineage);
        for await (const shard of writeShards(`${run}/tokens`, kind, rows, size, first)) {
          const { name, ...written } = shard;
          await writeNote(run, STAGE, name, { key: plan.key, ...written, read: { ...read } });
        }
      } finally {
        await removeIfEmpty(`${run}/${SPILL}`);
      }
    },
  });
}

/** Rows that are read one after another, with the number of the first of them, and which are wanted. */
interface Stretch {
  rows: AsyncIterable<RecordBatch>;
  at: number;
  from: number;
  to: number;
}

/** Leaves of stretches the rows that are wanted, in their order. */
function between(stretches: AsyncIterable<Stretch>, lineage: Lineage): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    yield emptyBatch(["document", "source", "tokens"], lineage);
    for await (const { rows, at, from, to } of stretches) {
      let seen = at;
      for await (const batch of rows) {
        const [begin, end] = [from - seen, to - seen].map((row) => Math.min(Math.max(row, 0), batch.numRows));
        seen += batch.numRows;
        if (begin < end) {
          yield toBatch(sliceColumns(fromBatch(batch), begin, end), lineageOf(batch) ?? lineage);
        }
        if (seen >= to) break;
      }
    }
  }());
}

/** Gives held-out sequences from one number to before another, in the order of the text. */
async function* heldOut(
  work: Work,
  plan: ExchangePlan,
  from: number,
  to: number,
): AsyncGenerator<Stretch> {
  let at = 0;
  for (const file of plan.files) {
    const { rows } = file.notes.test!;
    if (at < to && at + rows > from) yield { rows: inText(work, [file], "test", plan), at, from, to };
    at += rows;
  }
}

/** Gives shuffled training sequences from one number to before another. */
async function* inOrder(
  { run, signal }: Work,
  plan: ExchangePlan,
  from: number,
  to: number,
): AsyncGenerator<Stretch> {
  const groups = groupsOf(plan.files.length);
  const pieces = await Promise.all(
    Array.from({ length: groups }, (_, group) => piecesOf(run, group, plan.key)),
  );
  const own = new Vouched();
  const rows = new Array<number>(bucketsOf(shardsOf(plan, "train"))).fill(0);
  for (const [group, found] of pieces.entries()) {
    if (found === null) throw exchangeRemoved(run);
    own.add(run, pieceRecords(group, found));
    for (const { bucket, rows: more } of found) rows[bucket] += more;
  }
  let at = 0, first: number | undefined;
  const buckets: number[] = [];
  for (const [bucket, count] of rows.entries()) {
    if (at < to && at + count > from) {
      first ??= at;
      buckets.push(bucket);
    }
    at += count;
  }
  const read = (bucket: number) =>
    ReadableStream.from(async function* () {
      for (let group = 0; group < groups; group++) {
        if (!pieces[group]!.some((piece) => piece.bucket === bucket)) continue;
        signal?.throwIfAborted();
        yield* readPart(`${run}/${pieceName(bucket, group)}`, own);
      }
    }());
  const spill = `${run}/${SPILL}/${numbered(from)}`;
  const streams = buckets.values().map(read); // each opened in its turn
  if (first !== undefined) {
    yield { rows: shuffleBuckets(streams, { seed: plan.seed, spill }), at: first, from, to };
  }
}
