/**
 * Reads what a run holds, and checks it: values against schemas, notes that a run keeps about
 * itself against their checksums, and files against the manifest of the node that they lie in, in
 * whatever run. Files that no manifest knows pass.
 *
 * @module
 */

import { basename, dirname, resolve } from "node:path";
import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import {
  type FileRecord,
  hashFile,
  ifMissing,
  isMissing,
  oneLine,
  refusePipe,
  sha256,
  shortHash,
} from "./files.ts";

/**
 * Version of the code, which manifests and `config.json` note. It is in no key: a new version alone
 * makes nothing again.
 */
export const VERSION = "0.1.0";

/** Name of the manifest in a node's folder. */
export const MANIFEST = "manifest.json";

// Folders between a file and its node: partitioner/router-01/model.safetensors has one.
const DEEPEST = 3;
const KNOWN = 64; // manifests that are remembered

type Files = Readonly<Record<string, FileRecord>>;

/** Manifests that were read, by their paths; each as long as the same file is there. */
const fileNotes = new Map<string, { identity: string; files?: Files }>();

/** Gives what the manifest of its node notes of a file; undefined where no manifest knows it. */
export function findRecord(path: string): FileRecord | undefined {
  const place = linkedPlace(resolve(path));
  let inside = basename(place);
  let folder = dirname(place);
  if (inside === MANIFEST) return;
  for (let up = 0; up < DEEPEST; up++) {
    const record = notedFiles(`${folder}/${MANIFEST}`)?.[inside];
    if (record) return record;
    inside = `${basename(folder)}/${inside}`;
    folder = dirname(folder);
  }
}

/** Follows a link such as `tokenizer.json` of a run. */
function linkedPlace(path: string): string {
  try {
    return resolve(dirname(path), Deno.readLinkSync(path));
  } catch {
    return path; // it is no link, or not there
  }
}

/**
 * Reads the files that a manifest notes; undefined where there is no manifest, or one of another
 * program.
 */
function notedFiles(where: string): Files | undefined {
  let identity: string;
  let text: string;
  try {
    const { ino, mtime, size } = Deno.statSync(where);
    identity = `${ino} ${Number(mtime)} ${size}`;
    const cached = fileNotes.get(where);
    if (cached?.identity === identity) return cached.files;
    text = Deno.readTextFileSync(where);
  } catch (error) {
    // Nothing is there, or nobody may look.
    if (isMissing(error) || error instanceof Deno.errors.NotCapable) return;
    throw error;
  }
  const files = parse(where, text);
  fileNotes.delete(where);
  fileNotes.set(where, { identity, files });
  if (fileNotes.size > KNOWN) fileNotes.delete(fileNotes.keys().next().value!);
  return files;
}

function parse(where: string, text: string): Files | undefined {
  if (text.trim() !== "" && !/"key": "/.test(text)) return; // of another program
  try {
    const manifest = JSON.parse(text);
    if (!("revision" in manifest)) return;
    if (isSealed(manifest)) return manifest.files;
  } catch { /* it is empty or cut short */ }
  const rule =
    "it must be the manifest of a folder of a run: its checksum is not that of what it says";
  throw new InputError(`Cannot read "${where}" as ${rule}`, { where });
}

/** Throws an `InputError` where a file that was read is not what its manifest notes: `record`. */
export function checkRead(path: string, { bytes, sha256 }: FileRecord, record: FileRecord): void {
  if (sha256 === record.sha256) return;
  const fact = bytes === record.bytes
    ? `its SHA-256 is ${shortHash(sha256)}, its maker noted ${shortHash(record.sha256)}`
    : `it has ${bytes} bytes, its maker noted ${record.bytes}`;
  throw new InputError(`Cannot read "${path}" as it must be as it was made: ${fact}`, {
    where: path,
  });
}

/** Reads a whole file, and verifies it. Throws an `InputError` for a pipe. */
export async function readVerified(path: string): Promise<Uint8Array<ArrayBuffer>> {
  await refusePipe(path);
  const bytes = await Deno.readFile(path);
  const record = findRecord(path);
  if (record) checkRead(path, { bytes: bytes.length, sha256: sha256(bytes) }, record);
  return bytes;
}

/** Verifies a file of which a part alone will be read. */
export async function verifyFile(path: string): Promise<void> {
  const record = findRecord(path);
  if (record) checkRead(path, await hashFile(path), record);
}

/** Writes JSON with the keys of every object sorted, so that equal values give equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_, inner) =>
      inner && typeof inner === "object" && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1))
        : inner,
  );
}

/** Adds the checksum of a note to it, as its last field. */
export function seal<T extends object>(note: T): T & { checksum: string } {
  return { ...note, checksum: sha256(canonical(note)) };
}

/**
 * Returns whether a note is as it was sealed: its checksum must be that of everything else in it.
 */
export function isSealed({ checksum, ...note }: Record<string, unknown>): boolean {
  return checksum === sha256(canonical(note));
}

/** A number that is neither infinite nor NaN. */
export const finite = v.pipe(v.number(), v.finite());
/** A whole number from 0 on. */
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** A share of a whole, 0 to 1, give or take a rounding. */
export const share = v.pipe(finite, v.minValue(0), v.maxValue(1 + 1e-9));

/** Whether a value of JSON is an object. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Ids by token, as a `tokenizer.json` has them. Tokens may be `constructor` or `prototype`, which
 * valibot's record leaves out.
 */
export const tokenIds = v.custom<Record<string, number>>((value) =>
  isObject(value) && Object.values(value).every((id) => v.is(count, id))
);

/**
 * Makes the schema of an object whose keys are labels of users. `v.record` leaves out the keys that
 * every object has, such as `constructor`; here they are kept.
 */
export const byLabel = <T>(value: Schema<T>): Schema<Record<string, T>> =>
  v.pipe(
    v.custom<Record<string, unknown>>(isObject, "it must be an object"),
    v.transform((values) => new Map(Object.entries(values))),
    v.map(v.string(), value),
    v.transform((values): Record<string, T> => Object.fromEntries(values)),
  );

/**
 * Returns a value as the schema reads it. Throws an `InputError` that names the first field that
 * breaks the schema, and reports why.
 */
export function conform<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw new InputError(`${field ? `${field}: ` : ""}${issue.message}`);
}

/** The schema of what a file holds. */
export type Schema<T> = v.GenericSchema<unknown, T>;

/** Reads a JSON file that must be `what`. Throws an `InputError` where it is missing, damaged. */
export async function readJson<T>(
  where: string,
  schema: Schema<T>,
  form: string,
): Promise<T> {
  return await needed(where, form, readJsonIfThere(where, schema, form));
}

/**
 * Reads a JSON file that must be `what`; null where there is none. Throws an `InputError` where it
 * is damaged.
 */
export function readJsonIfThere<T>(
  where: string,
  schema: Schema<T>,
  form: string,
): Promise<T | null> {
  return read(where, (text) => orRefuse(where, form, () => conform(schema, JSON.parse(text))));
}

/**
 * Reads JSON lines that must be `what`. A last line without its line break is still being written
 * and is left out. Throws an `InputError` where the file is missing or damaged.
 */
export async function readJsonLines<T>(
  where: string,
  schema: Schema<T>,
  form: string,
): Promise<T[]> {
  const parse = (line: string, i: number) => {
    try {
      return conform(schema, JSON.parse(line));
    } catch (error) {
      throw new InputError(`line ${i + 1}: ${oneLine(error)}`);
    }
  };
  const parseAll = (text: string) =>
    orRefuse(where, form, () => text.split("\n").slice(0, -1).map(parse));
  return await needed(where, form, read(where, parseAll));
}

/**
 * Reads the lines of JSON in the last so many bytes of a file; none where there is no file. Lines
 * that are damaged, cut by a full disk or still being written are left out.
 */
export async function readLastLines<T>(
  where: string,
  schema: Schema<T>,
  most = Infinity,
): Promise<T[]> {
  using file = await Deno.open(where).catch(ifMissing(null));
  if (!file) return [];
  const { size } = await file.stat();
  await file.seek(Math.max(0, size - most), Deno.SeekMode.Start);
  const text = await new Response(file.readable).text();
  return text.split("\n").flatMap((line) => {
    try {
      return [v.parse(schema, JSON.parse(line))];
    } catch {
      return [];
    }
  });
}

async function needed<T>(where: string, form: string, reading: Promise<T | null>): Promise<T> {
  const value = await reading;
  if (value !== null) return value;
  throw new InputError(`Cannot read "${where}" as it must be ${form}: it is missing`, { where });
}

async function read<T>(where: string, parse: (text: string) => T): Promise<T | null> {
  const bytes = await readVerified(where).catch(ifMissing(null));
  return bytes && parse(new TextDecoder().decode(bytes));
}

function orRefuse<T>(where: string, form: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new InputError(`Cannot read "${where}" as it must be ${form}: ${oneLine(cause)}`, {
      where,
      cause,
    });
  }
}

/** Makes the schema of a note that was sealed. */
export const sealed = <T>(schema: v.GenericSchema<Record<string, unknown>, T>) =>
  v.pipe(
    v.custom<Record<string, unknown>>(isObject, "it must be an object"),
    v.check(isSealed, "its checksum is not that of what it says"),
    schema,
  );
