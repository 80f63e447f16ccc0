/**
 * Writes files whole or not at all, and hashes them. A file is written as
 * `<name>.<number>.partial`, synchronised and renamed. So a file under its final name is complete:
 * a process that is killed at any moment leaves no half-written one.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { statfsSync } from "node:fs";
import { basename, dirname } from "node:path";
import {
  type Explanation,
  InputError,
  RunError,
  say,
  setting,
  type Text,
} from "../../kernels/errors.ts";

/** Describes a file's content: its size and its SHA-256 in hexadecimal. */
export interface FileRecord {
  /** Size in bytes. */
  bytes: number;
  /** SHA-256 of the content, in hexadecimal. */
  sha256: string;
}

/** Hashes text (as UTF-8) or bytes with SHA-256, in hexadecimal. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/**
 * Hashes a file with SHA-256 in bounded memory; throws `Deno.errors.NotFound` where there is none,
 * and an `InputError` where it is a folder.
 */
export async function hashFile(path: string): Promise<FileRecord> {
  const hash = createHash("sha256");
  const file = await Deno.open(path);
  let bytes = 0;
  try {
    for await (const chunk of file.readable) {
      hash.update(chunk);
      bytes += chunk.length;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.IsADirectory)) throw error; // which names no path
    throw unreadable(`"${path}"`, "it must be a file", "it is a folder", {
      where: path,
      cause: error,
    });
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Hashes a file that somebody names. Throws an `InputError` where there is none, or one that cannot
 * be read again, as a pipe.
 */
export async function hashNamed(where: string): Promise<string> {
  await refusePipe(where).catch(refuseMissing(where));
  return (await hashFile(where)).sha256;
}

/**
 * Throws an `InputError` for a pipe or a device, which may never end. Throws what Deno does where
 * there is nothing.
 */
export async function refusePipe(where: string): Promise<void> {
  const { isFile, isDirectory } = await Deno.stat(where);
  if (isFile || isDirectory) return;
  throw unreadable(`"${where}"`, "it must be a file", "it is a pipe or a device", {
    where,
    remedy: "write it to a file",
  });
}

const READ_BYTES = 2 ** 26;

/**
 * Reads a whole file into as much memory as it has bytes; `Deno.readFile` needs twice as much while
 * it reads. Throws an `InputError` for a pipe.
 */
export async function readLarge(path: string): Promise<Uint8Array<ArrayBuffer>> {
  await refusePipe(path);
  using file = await Deno.open(path);
  const bytes = new Uint8Array((await file.stat()).size);
  let at = 0;
  while (at < bytes.length) {
    const count = await file.read(bytes.subarray(at, at + READ_BYTES));
    if (count === null) break; // it became shorter
    at += count;
  }
  return bytes.subarray(0, at);
}

/**
 * Shortens a SHA-256 to as many digits as tell two of them apart in a message. Shorter texts stay
 * as they are.
 */
export function shortHash(sha256: string): string {
  return sha256.replace(/^([0-9a-f]{12})[0-9a-f]{52}$/, "$1…");
}

/**
 * Compares names that end in numbers by the numbers, also where one has more digits than the
 * padding: `train-100000` comes last.
 */
export function byNumber(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}

/** Writes JSON text with two spaces of indentation and a final newline. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}

/**
 * Writes a file whole or not at all, makes its folder if needed, and returns its size and SHA-256.
 * On any error (also one of the source) the partial file is removed, and an existing file of that
 * name stays as it was. Several processes may write the file at once: the last one's stays. `bytes`
 * of the data, where it is known, are how many they are. Throws a `RunError` that names the path
 * where the disk is full, and an `InputError` where the place cannot be written.
 */
export async function writeAtomic(
  path: string,
  data:
    | string
    | Uint8Array
    | (AsyncIterable<Uint8Array> | Iterable<Uint8Array>) & { bytes?: number },
): Promise<FileRecord> {
  const whole = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const isOne = whole instanceof Uint8Array;
  await using file = new AtomicFile(path, isOne ? whole.length : whole.bytes);
  for await (const chunk of isOne ? [whole] : whole) await file.write(chunk);
  return await file.close();
}

/**
 * A file that {@linkcode writeAtomic} writes, chunk by chunk. It is there once it is closed;
 * disposing of it before removes it.
 */
export class AtomicFile implements AsyncDisposable {
  readonly #partial: string;
  readonly #file: Deno.FsFile;
  readonly #hash = createHash("sha256");
  #written = 0;
  #isWhole = false;

  /**
   * Makes a partial file, and the folder if needed. `needed` are the bytes of the whole file, if
   * they are known.
   */
  constructor(private readonly path: string, private readonly needed?: number) {
    // A name that no other process uses.
    this.#partial = `${path}.${crypto.getRandomValues(new Uint32Array(1))[0]}.partial`;
    this.#file = writing(path, () => {
      Deno.mkdirSync(dirname(path), { recursive: true });
      return Deno.openSync(this.#partial, { write: true, createNew: true });
    });
    removeLeft(path, this.#file);
  }

  /** Writes a chunk, which may be used again afterwards. */
  async write(chunk: Uint8Array): Promise<void> {
    const { needed } = this;
    const written = writeAll(this.#file, chunk, this.path, { needed, written: this.#written });
    this.#hash.update(chunk); // while the chunk is being written
    await written;
    this.#written += chunk.length;
  }

  /** Gives the file its name. */
  async close(): Promise<FileRecord> {
    // Only then some disks say that they are full.
    await writing(this.path, () => this.#file.sync());
    // A folder may have the name.
    await writing(this.path, () => Deno.rename(this.#partial, this.path));
    this.#isWhole = true;
    this.#file.close();
    return { bytes: this.#written, sha256: this.#hash.digest("hex") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isWhole) return;
    this.#file.close();
    await removeIfThere(this.#partial);
  }
}

/** How long a process at work may be silent: one that is for longer counts as dead. */
export const SILENT_MS = 60_000;

/**
 * Partial files by folder, as they lay there when this process first wrote into it: a list for
 * every file would be long in a large folder.
 */
const partialFiles = new Map<string, string[]>();

/**
 * Removes partial files of a path that killed processes left. Their age is measured against `file`,
 * which this process has just made, so by the clock of the disk.
 */
function removeLeft(path: string, file: Deno.FsFile): void {
  const folder = dirname(path);
  const leftNames = partialFiles.getOrInsertComputed(folder, () => {
    try {
      return Array.from(Deno.readDirSync(folder), ({ name }) => name).filter(wholeName);
    } catch {
      return []; // another user's
    }
  });
  for (const entry of leftNames.filter((entry) => wholeName(entry) === basename(path))) {
    const place = `${folder}/${entry}`;
    try {
      const silent = Number(file.statSync().mtime) - Number(Deno.lstatSync(place).mtime);
      if (silent > SILENT_MS) Deno.removeSync(place);
    } catch { /* it is gone, or another user's */ }
  }
}

/** How large a file becomes, and how much of it is written; for messages about a full disk. */
export interface Amount {
  /** Bytes of the file. */
  needed?: number;
  /** Bytes that are written already. */
  written?: number;
}

/**
 * Writes all of a chunk into an open file; its path, and how large it becomes, are for the error
 * where that fails. Files are never written as streams: Deno 2.9 does not tell where a full disk
 * cuts the last chunk.
 */
export async function writeAll(
  file: Deno.FsFile,
  chunk: Uint8Array,
  path: string,
  { needed, written = 0 }: Amount = {},
): Promise<void> {
  let at = 0;
  try {
    while (at < chunk.length) at += await file.write(chunk.subarray(at));
  } catch (error) {
    throw writeError(path, error, { needed, written: written + at });
  }
}

/** Removes a file, a link or an empty folder; does nothing where there is none. */
export async function removeIfThere(path: string): Promise<void> {
  await Deno.remove(path).catch(ifMissing(undefined));
}

/** Removes a folder if nothing is in it; a file or a link of that name stays. */
async function removeIfEmpty(path: string): Promise<void> {
  const isDirectory = await Deno.lstat(path).then(({ isDirectory }) => isDirectory, () => false);
  if (isDirectory) await Deno.remove(path).catch(() => {});
}

/**
 * Lists the files below a folder, or below `inside` of it, by their paths from `folder`. Links are
 * listed and not followed.
 */
export async function* filesUnder(folder: string, inside = ""): AsyncGenerator<string> {
  if (inside !== "" && await isLink(`${folder}/${inside}`)) return;
  for (const { name, isDirectory } of await listEntries(`${folder}/${inside}`)) {
    const path = inside === "" ? name : `${inside}/${name}`;
    if (isDirectory) yield* filesUnder(folder, path);
    else yield path;
  }
}

/** Tells when a file was last written, in milliseconds; 0 where it cannot be looked at. */
export const writtenAt = (path: string): Promise<number> =>
  Deno.stat(path).then(({ mtime }) => Number(mtime), () => 0);

/** Lists what a folder holds; nothing where there is no such folder. */
export function listEntries(folder: string): Promise<Deno.DirEntry[]> {
  // A promise for each of 200,000 takes a second.
  return Promise.try(() => [...Deno.readDirSync(folder)]).catch(ifMissing([]));
}

/**
 * Asks about many files, some at a time: one after another, a hundred thousand take minutes. The
 * answers are in the order of the paths.
 */
export async function askAll<Answer>(
  paths: readonly string[],
  ask: (path: string) => Promise<Answer>,
  atOnce = 64,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let i = 0; i < paths.length; i += atOnce) {
    for (const answer of await Promise.all(paths.slice(i, i + atOnce).map(ask))) {
      answers.push(answer);
    }
  }
  return answers;
}

/**
 * Removes files, by their paths from `root`, and the folders below it that are empty after that. Of
 * a link the link is removed.
 */
export async function removeFiles(root: string, paths: readonly string[]): Promise<void> {
  const folders = new Set<string>();
  for (const path of paths) {
    await removeIfThere(`${root}/${path}`);
    for (let at = dirname(path); at !== "."; at = dirname(at)) folders.add(at);
  }
  for (const path of [...folders].sort((a, b) => b.length - a.length)) {
    await removeIfEmpty(`${root}/${path}`);
  }
}

/** Gives the final name of a partial file; undefined for any other file. */
export function wholeName(path: string): string | undefined {
  return /^(.+)\.\d+\.partial$/.exec(path)?.[1];
}

async function isLink(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(({ isSymlink }) => isSymlink, () => false);
}

/**
 * Throws an `InputError` where a file or folder that is to be written in place is a link: the file
 * that it leads to is the user's.
 */
export async function refuseLink(where: string): Promise<void> {
  if (!await isLink(where)) return;
  const fact = `Cannot write "${where}" as it must not lead elsewhere: it is a symbolic link`;
  throw new InputError(fact, { where, remedy: "remove the link" });
}

/** Returns whether a path is a folder. */
export async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
}

/** Throws an `InputError` where a run folder, or one that it is to lie in, is a file. */
export async function checkRunFolder(run: string): Promise<void> {
  for (let path = run;; path = dirname(path)) {
    const entry = await Deno.stat(path).catch(() => null); // nor is there anything below a file
    if (entry === null && path !== dirname(path)) continue;
    if (entry === null || entry.isDirectory) return;
    const fact = `${path === run ? "it" : `"${path}"`} is a file`;
    const remedy = say`choose another ${setting("run")}`;
    throw new InputError(`Cannot work in "${run}" as it must be a folder: ${fact}`, {
      where: path,
      remedy,
    });
  }
}

/** Returns whether an error means that there is nothing at a path. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}

/**
 * Makes a handler for `catch` that gives this where there is nothing at a path, and throws all
 * other errors.
 */
export const ifMissing = <Given>(substitute: Given) => (error: unknown): Given => {
  if (isMissing(error)) return substitute;
  throw error;
};

/** Opens a file to read it; throws an `InputError` where there is none. */
export const openToRead = (where: string): Promise<Deno.FsFile> =>
  Deno.open(where).catch(refuseMissing(where));

const refuseMissing = (where: string) => (cause: unknown): never => {
  if (!isMissing(cause)) throw cause;
  throw new InputError(`Cannot open "${where}" as it must exist: there is no such file`, {
    where,
    cause,
  });
};

/**
 * Makes the error of a place that cannot be read, such as "tokens.arrow, batch 3, row 7,". Its
 * `where` is the file or stream in that place, unless it is given.
 */
export function unreadable(
  place: string,
  rule: string,
  fact: string,
  explanation: Explanation = {},
): InputError {
  const where = place.replace(/(, (batch|line|row|row group) \d+)+,?$/, "");
  return new InputError(`Cannot read ${place} as ${rule}: ${fact}`, { where, ...explanation });
}

/**
 * Makes a handler for `catch` that gives an `InputError` this remedy, and throws all other errors
 * as they are.
 */
export function withRemedy(remedy: Text): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.what, { where: error.where, remedy, cause: error });
  };
}

/**
 * Gives the message of an error on one line. Parsers quote what they read, line breaks included.
 */
export function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/[\s\p{Cc}]+/gu, " ");
}

/** Returns whether a path exists. */
export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * Does what writes `path`, and turns a failure into an error that says what to do ({@linkcode
 * writeError}).
 */
export function writing<Result>(path: string, write: () => Result): Result {
  const fail = (error: unknown): never => {
    throw writeError(path, error);
  };
  try {
    const result = write();
    return result instanceof Promise ? result.catch(fail) as Result : result;
  } catch (error) {
    return fail(error);
  }
}

/**
 * The errors of a system that has no room: their codes and numbers, and what to say of each.
 */
const ROOMS = [
  [/ENOSPC|error 28\)/, "the disk must have room for it: it is full"],
  [/EDQUOT|error 122\)/, "your quota on the disk must have room for it: it is used up"],
  [
    /EFBIG|error 27\)/,
    "the system must take a file as large: it does not (ulimit -f, or the kind of disk)",
  ],
] as const;

/**
 * Explains an error that says that there is no room for `path`, or for the output; undefined for
 * any other.
 */
export function fullDisk(
  path: string | undefined,
  error: Error,
  { needed, written = 0 }: Amount = {},
): RunError | undefined {
  if (error instanceof RunError) return;
  const text = `${(error as { code?: string }).code} ${error.message}`;
  const [, rule] = ROOMS.find(([pattern]) => pattern.test(text)) ?? [];
  if (rule === undefined) return;
  const remedy = "free some space or choose another folder, and run again";
  const left = path !== undefined && rule === ROOMS[0][1]
    ? roomAt(dirname(path), written)
    : undefined;
  const facts = [needed === undefined ? [] : `${needed} bytes are needed`, left ?? []].flat().join(
    ", ",
  );
  const fact = `Cannot write ${path === undefined ? "the output" : `"${path}"`} as ${rule}`;
  return new RunError(facts ? `${fact} (${facts})` : fact, { where: path, remedy, cause: error });
}

/**
 * Reports what room the disk of a folder, or of the one that it is to lie in, has; undefined where
 * it may not be known.
 */
function roomAt(folder: string, freed: number): string | undefined {
  // Nor ask for it.
  if (Deno.permissions.querySync({ name: "sys", kind: "statfs" }).state !== "granted") return;
  try {
    const { bavail, bsize, files, ffree } = statfsSync(folder);
    return files > 0 && ffree === 0
      ? "no file more can be made"
      : `${bavail * bsize + freed} bytes are left`;
  } catch (error) {
    return (error as { code?: string }).code === "ENOENT"
      ? roomAt(dirname(folder), freed)
      : undefined;
  }
}

/**
 * Turns a failure to write `path` into an error that says what to do; other errors come back
 * unchanged.
 */
export function writeError(path: string, error: unknown, amount?: Amount): unknown {
  if (!(error instanceof Error)) return error;
  const full = fullDisk(path, error, amount);
  if (full) return full;
  const refused = (rule: string, remedy: string) =>
    new InputError(`Cannot write "${path}" as ${rule}`, { where: path, remedy, cause: error });
  if (error instanceof Deno.errors.IsADirectory) {
    return refused("it must be a file: it is a folder", "name a file in it, or another");
  }
  const { PermissionDenied, NotADirectory, NotCapable, AlreadyExists } = Deno.errors;
  const isRefused =
    [PermissionDenied, NotADirectory, NotCapable, AlreadyExists].some((kind) =>
      error instanceof kind
    ) ||
    (error as { code?: string }).code === "EROFS";
  return isRefused
    ? refused(`its folder must be writable: ${plain(error)}`, "choose another folder")
    : error;
}

const plain = (error: Error): string =>
  error.message.replace(/ \(os error \d+\).*$|, run again with.*$/s, "").toLowerCase();
