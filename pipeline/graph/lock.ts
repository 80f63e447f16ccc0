/**
 * Reports which process makes a node, so that no other one does the same work. A lock only saves
 * work: what it guards comes to be by a rename, and two processes that make the same node make the
 * same bytes.
 *
 * The operating system holds a lock for as long as its process lives. A disk that machines share
 * may not pass locks on; there the time of the lock's file tells, by the disk's own clock: its
 * owner writes it anew every few seconds.
 *
 * @module
 */

import { isMissing, listEntries, removeIfThere, SILENT_MS, writing } from "./files.ts";

/** Folder of the locks, in the run folder. */
export const LOCKS = "locks";

const BEAT_MS = 5_000;

/** How long others may look at a lock, and the pause between two tries to get it. */
const [SEEN_MS, PAUSE_MS] = [2_000, 10];

/** The process that makes a node. */
export interface Owner {
  /** Name of the node. */
  node: string;
  /** Process id. */
  pid: number;
  /** Host name, or "" where it may not be known. */
  host: string;
  /** Since when, ISO 8601. */
  since: string;
  /** Task that it runs. */
  task: string;
}

/** Names the process, and the machine where that is known. */
export const processText = ({ pid, host }: Pick<Owner, "pid" | "host">): string =>
  pid > 0 ? `process ${pid}${host && ` on ${host}`}` : "another process";

/** A lock that this process holds. */
export interface Lock {
  /** Gives it up. */
  release(): void;
}

const namePath = (run: string, node: string) => `${run}/${LOCKS}/${node.replaceAll("/", "~")}`;

/** Takes the lock of a node, or returns the process that holds it. */
export async function takeLock(run: string, node: string, task: string): Promise<Lock | Owner> {
  const path = namePath(run, node);
  const file = await writing(path, async () => {
    await Deno.mkdir(`${run}/${LOCKS}`, { recursive: true });
    return await Deno.open(path, { read: true, write: true, create: true });
  });
  const otherOwner = await livingOwner(run, node, file, true).catch((error) => {
    file.close();
    throw error;
  });
  if (otherOwner) {
    file.close();
    return otherOwner;
  }
  const since = new Date().toISOString();
  const owner = { node, pid: Deno.pid, host: hostname(), since, task, machine: machine() };
  const record = new TextEncoder().encode(JSON.stringify(owner));
  // On a full disk others may take this process for dead and do the same work. The bytes are the
  // same.
  const beat = () =>
    attempt(() => {
      file.seekSync(0, Deno.SeekMode.Start);
      file.writeSync(record);
    });
  file.truncateSync(0);
  beat();
  const beating = setInterval(beat, BEAT_MS);
  Deno.unrefTimer(beating);
  return {
    release() {
      clearInterval(beating);
      // Somebody who took this process for dead may have removed it.
      attempt(() => Deno.removeSync(path));
      file.close();
    },
  };
}

/**
 * Lists the processes that make something in a run. With `sweep` the lock files of those that are
 * gone are removed.
 */
export async function listOwners(run: string, sweep = false): Promise<Owner[]> {
  const owners: Owner[] = [];
  for (const { name, isFile } of await listEntries(`${run}/${LOCKS}`)) {
    const path = `${run}/${LOCKS}/${name}`;
    const node = name.replaceAll("~", "/");
    // It may be given up just now.
    const file = isFile ? await Deno.open(path).catch(() => null) : null;
    if (!file) continue;
    const owner = await livingOwner(run, node, file, false).finally(() => file.close());
    if (owner) owners.push(owner);
    // Whoever has just opened it does the same work as another one at worst.
    else if (sweep && await readRecord(path, node)) await removeIfThere(path);
  }
  return owners;
}

/**
 * Reads who made the file of a node's lock; undefined where the process may just be writing it, or
 * where it is no lock's.
 */
async function readRecord(
  path: string,
  node: string,
): Promise<Owner & { machine: string } | undefined> {
  const text = await Deno.readTextFile(path).catch(() => "");
  const record = attempt(() => JSON.parse(text));
  return record?.node === node ? record : undefined;
}

/**
 * Gives the living owner of a lock whose file is open. Where there is none, the file is locked: for
 * others to see, or exclusively.
 */
async function livingOwner(
  run: string,
  node: string,
  file: Deno.FsFile,
  exclusive: boolean,
): Promise<Owner | undefined> {
  const path = namePath(run, node);
  const isFree = await (exclusive ? tryAlone(file) : file.tryLock(false))
    .catch(() => undefined); // a disk without locks
  const record = await readRecord(path, node);
  if (isFree === false) return record ?? { node, pid: 0, host: "", since: "", task: "" };
  if (!record || isFree && record.machine === machine()) return; // its owner is gone
  return await silence(run, path) < SILENT_MS ? record : undefined;
}

/**
 * Locks a file for this process alone, unless another one has it. Whoever lists owners has it for a
 * moment, together with others: that is waited for.
 */
async function tryAlone(file: Deno.FsFile): Promise<boolean> {
  for (let waited = 0; waited < SEEN_MS; waited += PAUSE_MS) {
    if (await file.tryLock(true)) return true;
    if (!await file.tryLock(false)) return false;
    await file.unlock();
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
  return false;
}

/** Measures how long ago a file was written, milliseconds by the clock of its disk. */
async function silence(run: string, path: string): Promise<number> {
  const probe = `${run}/${LOCKS}/.${crypto.randomUUID()}`;
  try {
    await writing(probe, () => Deno.writeTextFile(probe, ""));
    const [probed, locked] = await Promise.all([probe, path].map((path) => Deno.stat(path)));
    return Number(probed.mtime) - Number(locked.mtime);
  } catch (error) {
    if (isMissing(error)) return Infinity;
    throw error;
  } finally {
    await Deno.remove(probe).catch(() => {});
  }
}

/**
 * Does what may fail: where it is not permitted, not there or the disk is full, nothing comes of
 * it.
 */
function attempt<Result>(act: () => Result): Result | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

let machineName: string | undefined;
const hostname = () => attempt(Deno.hostname) ?? "";
const readMachineId = () => Deno.readTextFileSync("/etc/machine-id").trim().slice(0, 8);
/** Tells this machine from others, also from those that have the same host name. */
const machine = () => machineName ??= `${hostname()}/${attempt(readMachineId) ?? ""}`;
