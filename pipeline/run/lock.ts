/**
 * Lets one process at a time work in a run folder. The lock is the operating system's own on the open file `lock.json`,
 * so it ends with its process, however that ends; the file's text only says who holds it alone. Those who share it say who they are
 * in a file each, `lock-*.json`, which they lock as well: a file that nobody locks was left by a process that was killed.
 *
 * @module
 */

import { RunError, say, setting } from "../../kernels/errors.ts";
import { checkRunFolder, isFolder, refuseLink, writeError } from "./files.ts";

/** Says who holds a run folder, alone or with others. */
export interface Owner {
  /** Process id. */
  pid: number;
  /** Host name, or "" where it may not be known. */
  host: string;
  /** Start of the hold, ISO 8601. */
  since: string;
  /** Task that holds it. */
  task: string;
  /** What it makes now, and since when, ISO 8601; undefined between two. */
  stage?: { name: string; since: string };
}

/** A hold of a run folder. */
export interface Hold {
  /** Releases the folder; safe to call again. */
  (): Promise<void>;
  /** Says which stage its holder makes from now on; none unless given. */
  makes(stage?: string): void;
}

/** Name of the file that is locked. */
export const LOCK = "lock.json";
const SHARER = /^lock-.+\.json$/;
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
): Promise<Hold> {
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
        const owner = { pid: Deno.pid, host: hostname(), since: now(), task };
        const own = shared ? await openSharer(run) : undefined;
        describe(own?.file ?? file, owner);
        return holdOf(run, file, owner, own);
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
  return await isLocked(`${folder}/${LOCK}`);
}

async function isLocked(path: string): Promise<boolean> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
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

function describe(file: Deno.FsFile, owner: Owner): void {
  const text = new TextEncoder().encode(JSON.stringify(owner) + "\n");
  file.seekSync(0, Deno.SeekMode.Start);
  file.writeSync(text);
  file.truncateSync(text.length);
}

/** What a sharer says who it is in: its file, locked, and the path. */
interface Sharer {
  file: Deno.FsFile;
  path: string;
}

async function openSharer(run: string): Promise<Sharer> {
  const path = `${run}/lock-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}.json`;
  const file = await Deno.open(path, { read: true, write: true, createNew: true });
  await file.lock(true); // waits for those that only look
  return { file, path };
}

/** Lists the paths of sharers' files. */
async function sharersOf(run: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(run)).catch(() => []);
  return entries.filter(({ name }) => SHARER.test(name)).map(({ name }) => `${run}/${name}`).sort();
}

function holdOf(run: string, file: Deno.FsFile, owner: Owner, own?: Sharer): Hold {
  let held = true;
  const release = async () => {
    if (!held) return;
    held = false;
    if (own) {
      await Deno.remove(own.path).catch(() => {});
      own.file.close();
    }
    // The last one out removes the file, after what sharers that were killed have left: only it can make its lock exclusive.
    if (await file.tryLock(true)) {
      for (const path of [...await sharersOf(run), `${run}/${LOCK}`]) await Deno.remove(path).catch(() => {});
    }
    file.close();
  };
  const makes = (name?: string) => {
    try {
      if (held) {
        describe(own?.file ?? file, {
          ...owner,
          stage: name === undefined ? undefined : { name, since: now() },
        });
      }
    } catch {
      // It only tells others: work goes on where a full disk keeps it from being told.
    }
  };
  return Object.assign(release, { makes });
}

const now = () => new Date().toISOString();

async function heldError(run: string): Promise<RunError> {
  const holders = (await holdersOf(run)).filter(({ pid }) => pid > 0); // 0: it is just writing who it is
  const who =
    holders.map(({ pid, host, since, task }) =>
      `process ${pid}${host ? ` on ${host}` : ""} has held it since ${since} for task "${task}"`
    ).join(", ") || "another process";
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

/** Reads who holds a folder: the one that holds it alone, or all that share it; none where nobody does. */
export async function holdersOf(folder: string): Promise<Owner[]> {
  const path = `${folder}/${LOCK}`;
  if (await isLocked(path)) return [await readOwner(path)];
  const holders: Owner[] = [];
  for (const path of await sharersOf(folder)) if (await isLocked(path)) holders.push(await readOwner(path));
  return holders.sort((a, b) => a.since < b.since ? -1 : 1);
}

async function readOwner(path: string): Promise<Owner> {
  const text = await Deno.readTextFile(path).catch(() => "");
  try {
    return JSON.parse(text);
  } catch {
    return { pid: 0, host: "", since: "", task: "" }; // just being written
  }
}
