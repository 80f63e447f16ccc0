/**
 * Lets one process at a time work in a run folder. The lock is the operating system's own on the open file `lock.json`,
 * so it ends with its process, however that ends; the file's text only says who holds it.
 *
 * @module
 */

import { RunError, say, setting } from "../../kernels/errors.ts";
import { checkRunFolder, isFolder, refuseLink, writeError } from "./files.ts";

/** Says who holds a run folder. */
export interface Owner {
  /** Process id. */
  pid: number;
  /** Host name, or "" where it may not be known. */
  host: string;
  /** Start of the hold, ISO 8601. */
  since: string;
  /** Task that holds it. */
  task: string;
}

/** Releases the run folder when called; safe to call again. */
export type Release = () => Promise<void>;

/** Name of the file that is locked. */
export const LOCK = "lock.json";
const RETRY_MS = 50;
/** Outlasts others that only look whether a folder is held, in milliseconds. */
export const GLANCE_MS = 500;

/**
 * Takes the lock of a run folder, made if missing. `shared` holders exclude only exclusive ones: the parts of one stage
 * work side by side. Waits up to `patience` milliseconds, for what is held for moments only. Throws a `RunError` that says who
 * holds the folder, an `InputError` where it is a file.
 */
export async function lockRun(
  run: string,
  task: string,
  { shared = false, patience = 0 } = {},
): Promise<Release> {
  const start = performance.now();
  const path = `${run}/${LOCK}`;
  try {
    while (true) {
      await Deno.mkdir(run, { recursive: true });
      const file = await openLock(run, path);
      if (!file) continue;
      if (!await file.tryLock(!shared)) {
        file.close();
        if (performance.now() - start >= patience) throw await heldError(run);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      if (await isSame(file, path)) {
        await describe(file, { pid: Deno.pid, host: hostname(), since: new Date().toISOString(), task });
        return releaser(file, path);
      }
      file.close(); // its last owner removed it between our opening and locking it
    }
  } catch (error) {
    await checkRunFolder(run);
    throw writeError(path, error);
  }
}

/**
 * Whether a process holds the lock of a folder for itself alone. Shares it for a moment, so that whoever wants it alone needs a
 * little patience.
 */
export async function isHeld(folder: string): Promise<boolean> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(`${folder}/${LOCK}`);
  } catch {
    return false;
  }
  try {
    return !await file.tryLock(false);
  } finally {
    file.close();
  }
}

/** Opens a lock's file, made if missing; null where the last owner removed the folder since it was made. */
async function openLock(run: string, path: string): Promise<Deno.FsFile | null> {
  await refuseLink(path);
  try {
    return await Deno.open(path, { read: true, write: true, create: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound && !await isFolder(run)) return null;
    throw error;
  }
}

async function isSame(file: Deno.FsFile, path: string): Promise<boolean> {
  const [open, named] = await Promise.all([file.stat(), Deno.stat(path).catch(() => null)]);
  return named !== null && open.ino === named.ino && open.dev === named.dev;
}

async function describe(file: Deno.FsFile, owner: Owner): Promise<void> {
  await file.truncate();
  await file.seek(0, Deno.SeekMode.Start);
  await file.write(new TextEncoder().encode(JSON.stringify(owner) + "\n"));
}

function releaser(file: Deno.FsFile, path: string): Release {
  let held = true;
  return async () => {
    if (!held) return;
    held = false;
    // The last one out removes the file: only it can make its lock exclusive.
    if (await file.tryLock(true)) await Deno.remove(path).catch(() => {});
    file.close();
  };
}

async function heldError(run: string): Promise<RunError> {
  let who = "another process";
  try {
    const owner: Owner = JSON.parse(await Deno.readTextFile(`${run}/${LOCK}`));
    who = `process ${owner.pid}${owner.host ? ` on ${owner.host}` : ""} has held it since ${owner.since} ` +
      `for task "${owner.task}"`;
  } catch {
    // The owner is just writing it.
  }
  return new RunError(`Cannot work in "${run}" as one process at a time may: ${who}`, {
    where: run,
    remedy: say`wait for it or choose another ${setting("run")}`,
  });
}

function hostname(): string {
  try {
    return Deno.hostname();
  } catch {
    return ""; // not permitted
  }
}

/** Reads who holds a folder for itself alone; undefined where nobody does. */
export async function holderOf(folder: string): Promise<Owner | undefined> {
  if (!await isHeld(folder)) return undefined;
  const text = await Deno.readTextFile(`${folder}/${LOCK}`).catch(() => "");
  try {
    return JSON.parse(text);
  } catch {
    return { pid: 0, host: "", since: "", task: "" }; // just being written
  }
}
