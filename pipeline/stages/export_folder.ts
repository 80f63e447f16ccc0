/**
 * The folder that an export is written into. A note in it, `export.json`, describes the export and lists its
 * files. So only files of an export are ever replaced, and an export that was stopped can be made again.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, RunError, say, setting } from "../../kernels/errors.ts";
import {
  exists,
  type FileRecord,
  filesUnder,
  isFolder,
  jsonText,
  removeFiles,
  sha256,
  wholeName,
  writeAtomic,
} from "../run/files.ts";
import { HeldError, lockRun } from "../run/lock.ts";
import { LOCKS } from "../run/claims.ts";
import { missingOutput } from "../run/manifest.ts";
import { conform, count } from "../run/schema.ts";
import { canonical, isSealed, seal } from "../run/seal.ts";

const FORMAT = 1;
/** The note's name. */
export const NOTE = "export.json";

const NOTE_SCHEMA = v.object({
  format: v.pipe(v.number(), v.integer(), v.maxValue(FORMAT)),
  of: v.record(v.string(), v.unknown()),
  key: v.string(),
  complete: v.boolean(),
  files: v.record(v.string(), v.object({ bytes: count, sha256: v.string() })),
  result: v.record(v.string(), v.unknown()),
});

type Note = v.InferOutput<typeof NOTE_SCHEMA>;

/** An export: what it contains, which names its files may have, and what makes them. */
export interface Export {
  /** Folder to write into: new, empty, or that of an export. */
  output: string;
  /** What it contains, and everything that its files depend on. */
  of: Record<string, unknown>;
  /** Names of all files that it may make, by their paths in the folder, scratch files among them. */
  makes: RegExp;
  /** Replaces an export with other contents, and makes existing files again. */
  force?: boolean;
  /** Makes the files; returns size and SHA-256 by path in the folder, and what to tell of them. */
  make(): Promise<{ files: Record<string, FileRecord>; result: Record<string, unknown> }>;
}

/** The result of an export. */
export interface Exported {
  /** Folder. */
  output: string;
  /** Whether it was written now, or there already. */
  state: "done" | "up to date";
  /** What it contains. */
  of: Record<string, unknown>;
  /** Size and SHA-256 of every file, by path in the folder. */
  files: Record<string, FileRecord>;
  /** Counts. */
  result: Record<string, unknown>;
}

/**
 * Makes an export, unless its folder holds it already. Throws an `InputError` where the folder holds files of
 * others, or another export that `force` does not give up; a `RunError` where another process writes there;
 * and what `make` throws.
 */
export async function exportInto({ output, of, makes, force = false, make }: Export): Promise<Exported> {
  const key = sha256(canonical(of));
  if (await exists(output) && !await isFolder(output)) {
    throw refuse(output, "it must be a folder, new or empty: it is a file");
  }
  await checkFolder(output, makes); // before anything is written there
  const release = await lockRun(output, "export", "export", {
    refusal: `Cannot export into "${output}" as nobody else may write there meanwhile`,
  }).catch((error) => {
    if (!(error instanceof HeldError)) throw error;
    const remedy = say`wait for it or choose another ${setting("output")}`;
    throw new RunError(error.what, { where: output, remedy, cause: error });
  });
  try {
    const before = await checkFolder(output, makes);
    if (before?.complete && before.key === key && !force) {
      if (await missingOutput(output, { outputs: before.files }) === null) {
        return { output, state: "up to date", of, files: before.files, result: before.result };
      }
    } else if (before?.complete && before.key !== key && !force) {
      const name = Object.keys({ ...before.of, ...of }).find((name) =>
        canonical(before.of[name] ?? null) !== canonical(of[name] ?? null)
      )!;
      const [then, now] = [before.of[name], of[name]].map((value) => JSON.stringify(value) ?? "not set");
      throw refuse(output, `it holds an export whose ${name} must be ${now}: it is ${then}`, true);
    }
    const note = { format: FORMAT, of, key, complete: false, files: before?.files ?? {}, result: {} };
    await writeNote(output, note);
    await removeFiles(output, "", (path) => isOwn(path, makes, before));
    const { files, result } = await make();
    await writeNote(output, { ...note, complete: true, files, result });
    return { output, state: "done", of, files, result };
  } finally {
    await release();
    await Deno.remove(output).catch(() => {}); // unless something is in it
  }
}

async function writeNote(output: string, note: Note): Promise<void> {
  await writeAtomic(`${output}/${NOTE}`, jsonText(seal(note)));
}

/** Says whether a file is one that the export in a folder has made or begun. */
function isOwn(path: string, makes: RegExp, note: Note | null): boolean {
  if (path === NOTE || note === null) return false;
  if (path in note.files) return true;
  return !note.complete && (makes.test(path) || makes.test(wholeName(path) ?? ""));
}

/**
 * Lists the unfinished files of an interrupted export, by their paths in its folder; none where the folder
 * has no note of an export. `makesOf` gives the names of all files that such an export makes.
 */
export async function unfinishedIn(output: string, makesOf: (of: Note["of"]) => RegExp): Promise<string[]> {
  const note = await readNote(output).catch(() => null); // a note that was changed says nothing
  if (note === null) return [];
  const makes = makesOf(note.of);
  const files = await Array.fromAsync(filesUnder(output, ""));
  return files.filter((path) => {
    const whole = wholeName(path);
    if (whole === undefined) return path.includes(".partial/") && makes.test(path); // in a scratch folder
    return whole === NOTE || whole in note.files || makes.test(whole);
  });
}

/**
 * Reads the note of a folder; null where the folder is new or empty. Throws an `InputError` where it holds
 * files of others: an export would replace them, or could not tell them from its own.
 */
async function checkFolder(output: string, makes: RegExp): Promise<Note | null> {
  if (!await exists(output)) return null;
  const note = await readNote(output);
  for await (const path of filesUnder(output, "")) {
    if (path.startsWith(`${LOCKS}/`)) continue;
    if (path === NOTE || wholeName(path) === NOTE || isOwn(path, makes, note)) continue;
    if (note === null) throw refuse(output, `it must be new or empty: it holds "${path}"`);
    if (makes.test(path)) throw refuse(output, `an export would replace "${path}", which is none of its own`);
  }
  return note;
}

/** Reads the note of a folder; null where there is none. Throws an `InputError` where it is damaged, or of something else. */
export async function readNote(output: string): Promise<Note | null> {
  const where = `${output}/${NOTE}`;
  if (!await exists(where)) return null;
  try {
    const object = JSON.parse(await Deno.readTextFile(where));
    const note = conform(NOTE_SCHEMA, object);
    if (isSealed(object, FORMAT)) return note;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof InputError)) throw error;
  }
  throw refuse(output, `its "${NOTE}" must be that of an export: it is not, or was changed`);
}

function refuse(where: string, fact: string, accept = false): InputError {
  const other = say`choose another ${setting("output")}`;
  return new InputError(`Cannot export into "${where}" as ${fact}`, {
    where,
    remedy: accept ? say`${other}, or replace it with ${setting("force")}` : other,
  });
}
