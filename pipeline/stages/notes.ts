/**
 * Notes of files that parts of a stage made, `manifests/STAGE/FILE.json`. They are kept until a manifest
 * vouches for all files.
 *
 * @module
 */

import * as v from "valibot";
import { jsonText, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import { isSealed, seal } from "../run/seal.ts";
import type { Hold } from "../run/lock.ts";

/** A share of the work of a stage: several processes do the stage together. */
export interface Part {
  /** Number of this part, from 1. */
  index: number;
  /** Number of parts. */
  of: number;
  /** Seconds that it waits for another part that nobody makes, where parts wait for one another. */
  patience?: number;
}

/** Version of the layout of notes. Notes of the version before had no number and no checksum. */
const FORMAT = 2;
const NOTE = v.looseObject({
  key: v.string(),
  bytes: count,
  sha256: v.string(),
  rows: count,
  tokens: v.optional(count),
  read: v.optional(v.record(v.string(), v.string())),
});
const SEALED_NOTE = v.pipe(
  NOTE,
  v.check((note) => isSealed(note, FORMAT), "its checksum is not that of what it says"),
);

/**
 * The note of one file: the hash of what it depends on, its size and SHA-256, its rows, their tokens where
 * these count, and what was read for it.
 */
export type FileNote = v.InferOutput<typeof NOTE>;

/** Gives the path of the note of a file; `file` is its path in the folder of the stage. */
export function notePath(run: string, stage: string, file: string): string {
  return `${run}/manifests/${stage}/${file}.json`;
}

/** Reads a note; null where there is none. Throws an `InputError` where it is damaged. */
export async function readNote(where: string): Promise<FileNote | null> {
  return await readJsonIfThere(where, SEALED_NOTE, "the note of a file");
}

/**
 * Reads the note of a file that is there with this size and this key; null otherwise, and where the note is
 * damaged.
 */
export async function noteOf(
  { run, stage, folder, file, key }: {
    run: string;
    stage: string;
    /** Folder of the stage's files, in the run folder. */
    folder: string;
    file: string;
    key: string;
  },
): Promise<FileNote | null> {
  const note = await readNote(notePath(run, stage, file)).catch(() => null); // damaged: made again
  const size = await Deno.stat(`${run}/${folder}/${file}`).then(({ size }) => size, () => -1);
  return note?.key === key && note.bytes === size ? note : null;
}

/** Writes the note of a file that is whole. */
export async function writeNote(run: string, stage: string, file: string, note: FileNote): Promise<void> {
  await writeAtomic(notePath(run, stage, file), jsonText(seal({ format: FORMAT, ...note })));
}

/** Gives the share of a part in `count` numbered things: those from `from` up to, but not including, `to`. */
export function shareOf({ index, of }: Part, things: number): { from: number; to: number } {
  return { from: Math.floor(things * (index - 1) / of), to: Math.floor(things * index / of) };
}

/** What several processes write side by side, by numbers. */
export interface Missing<Result> {
  /** Gives the name under which a number is held. */
  nameOf(number: number): string;
  /** Lists the numbers that no note tells of, in their order. */
  missing(): Promise<number[]>;
  /** Writes the numbers from `first` to `last`. */
  write(first: number, last: number): Promise<Result>;
}

/**
 * Writes what no note tells of, and what lies between, while no other process does. It looks before it holds
 * anything: most often nothing is missing. Returns undefined where nothing is.
 */
export async function writeMissing<Result>(
  { lock }: { lock(name: string, more: { patience: number }): Promise<Hold> },
  { nameOf, missing, write }: Missing<Result>,
): Promise<Result | undefined> {
  const due = await missing();
  if (due.length === 0) return undefined;
  const [first, last] = [due[0], due.at(-1)!];
  const holds: Hold[] = [];
  try {
    // In their order, so that two parts that overlap never wait for each other.
    for (let number = first; number <= last; number++) {
      holds.push(await lock(nameOf(number), { patience: Infinity }));
    }
    const left = (await missing()).filter((number) => number >= first && number <= last); // others may have written some
    return left.length === 0 ? undefined : await write(left[0], left.at(-1)!);
  } finally {
    for (const release of holds) await release();
  }
}
