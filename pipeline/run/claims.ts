/**
 * The files of holds under `locks/` in a run folder: what they say, how a process takes one, and how it finds out whether the holder of
 * another one lives.
 *
 * A holder locks its file for as long as it lives. The operating system does that, so on one machine a file that nobody locks was left
 * by a process that is dead. Where machines share a disk that does not pass such locks on, the text of the file tells: its holder writes
 * it anew every few seconds. The holder on another machine is dead when its text stays the same for a minute by the clock of the process
 * that waits. No time that is written in a file counts, so clocks may differ.
 *
 * A power failure can leave a file without a claim. Where nobody locks it, its holder is dead once the file
 * is older than writing one takes.
 *
 * @module
 */

import { entriesOf, isFolder, isMissing, isSame, refuseLink } from "./files.ts";

/** Says who works in a run folder. */
export interface Owner {
  /** Process id. */
  pid: number;
  /** Host name, or "" where it may not be known. */
  host: string;
  /** Start of the hold, ISO 8601. */
  since: string;
  /** Task that holds it. */
  task: string;
  /** The stage that it makes now, and since when (ISO 8601); undefined while it makes none. */
  stage?: { name: string; since: string };
}

/** How something is held: made by one process alone, made in parts by several, or read by several. */
export type Mode = "alone" | "part" | "read";

/** Folder of the files of holds, in the run folder. */
export const LOCKS = "locks";

const SETTLE_MS = 2_000; // longer than writing a file takes on a shared disk

const TEXT_LENGTH = 512; // bytes of a claim; all have as many, so that a new one covers the old one, whenever its writer is killed

/** What the file of a hold says. */
export interface Claim extends Owner {
  /** Tells this hold from all others. */
  id: string;
  /** Tells machines apart that have the same host name. */
  machine: string;
  /** Counts up while the holder lives. */
  beat: number;
}

export async function removeUnlocked(path: string): Promise<void> {
  const file = await Deno.open(path, { read: true, write: true }).catch(() => null);
  if (file && await tryLock(file, true) && await isSame(file, path)) await Deno.remove(path).catch(() => {});
  file?.close();
}

export const fileName = (name: string, mode: Mode, id: string): string =>
  `${name}${mode === "alone" ? "" : `~${mode}-${id}`}.json`;

/** Lists the files in the folder of holds whose names end with `end`, by their paths. */
export async function filesUnder(run: string, end: string): Promise<string[]> {
  const folder = `${run}/${LOCKS}`;
  const names = (await entriesOf(folder)).map(({ name }) => name);
  return names.filter((name) => name.endsWith(end)).map((name) => `${folder}/${name}`);
}

/** Lists the files of holds. */
export async function filesOf(run: string): Promise<{ path: string; name: string; mode: Mode }[]> {
  return (await filesUnder(run, ".json")).flatMap((path) => {
    const file = path.slice(path.lastIndexOf("/") + 1);
    const [, name, mode = "alone"] = /^(.+?)(?:~(part|read)-[0-9a-f-]+)?\.json$/.exec(file) ?? [];
    return name === undefined ? [] : [{ path, name, mode: mode as Mode }];
  });
}

/** Makes the folder of holds, also while others that release the last of theirs remove it. */
export async function makeFolder(run: string): Promise<void> {
  const folder = `${run}/${LOCKS}`;
  while (true) {
    await refuseLink(folder);
    try {
      return await Deno.mkdir(folder, { recursive: true });
    } catch (error) {
      // Deno says so, too, of a folder that was there and is removed before it looks what it is.
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      const there = await Deno.lstat(folder).catch(() => null);
      if (there && !there.isDirectory) throw error;
    }
  }
}

/**
 * Takes the file of a hold: makes a new one, or takes that of a dead process. Returns the open file with the
 * claim in it; or the claim of the process that holds it; or null where that changed in the meantime.
 */
export async function take(
  path: string,
  mode: Mode,
  claim: Claim,
  lease: number,
  wait: (owner: Owner) => void,
): Promise<Deno.FsFile | Claim | null> {
  // The file gets its name only once it holds the claim and is locked: a process that is killed before leaves no hold.
  const unnamed = `${path}.${claim.id}.new`;
  let file: Deno.FsFile | undefined;
  try {
    file = await openNew(unnamed, claim);
    if (mode !== "alone") await Deno.rename(unnamed, path);
    else await Deno.link(unnamed, path);
    return file;
  } catch (error) {
    file?.close();
    if (isMissing(error) && await isFolder(path.slice(0, path.lastIndexOf(`/${LOCKS}/`)))) return null; // another process has just removed the empty folder
    if (error instanceof Deno.errors.AlreadyExists) return await takeOver(path, claim, lease, wait);
    if (file === undefined || mode !== "alone") throw error;
    return await openNew(path, claim).catch((error) => { // a disk without hard links
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      return takeOver(path, claim, lease, wait);
    });
  } finally {
    await Deno.remove(unnamed).catch(() => {});
  }
}

/** Makes a file with the claim in it, and locks it. */
async function openNew(path: string, claim: Claim): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { read: true, write: true, createNew: true });
  await file.lock(true).catch(() => {}); // waits for processes that only look at it
  try {
    describe(file, claim);
    return file;
  } catch (error) {
    await Deno.remove(path).catch(() => {}); // the disk is full: others must not wait for a file without a claim
    file.close();
    throw error;
  }
}

/** Takes the file of a process that may be dead: see {@linkcode take}. */
async function takeOver(
  path: string,
  claim: Claim,
  lease: number,
  wait: (owner: Owner) => void,
): Promise<Deno.FsFile | Claim | null> {
  await refuseLink(path);
  const before = await Deno.readTextFile(path).catch(() => "");
  const alive = await livingClaim(path, lease, wait);
  if (alive) return alive;
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { read: true, write: true });
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  const isOurs = await tryLock(file, true) !== false && await isSame(file, path) &&
    await Deno.readTextFile(path) === before;
  if (isOurs) {
    describe(file, claim);
    if (parse(before)?.machine === claim.machine) return file;
    // Two machines may have found the holder dead at once: the one that wrote last has the hold.
    await pause(Math.min(SETTLE_MS, lease));
    if (parse(await Deno.readTextFile(path).catch(() => ""))?.id === claim.id) return file;
  }
  file.close();
  return null;
}

/**
 * Waits until it is known who holds a file, and returns that claim; null where its holder is dead or has
 * released it.
 */
export async function livingClaim(
  path: string,
  lease: number,
  wait: (owner: Owner) => void,
): Promise<Claim | null> {
  const start = performance.now();
  let first: string | undefined;
  while (true) {
    const claim = await look(path);
    if (claim === "dead" || claim === "gone") return null;
    if (claim?.locked) return claim;
    const text = JSON.stringify(claim);
    first ??= text;
    if (text !== first && claim) return claim; // the text changed, so its holder lives
    if (performance.now() - start >= lease) return null;
    if (claim) wait(claim);
    await pause(Math.min(1_000, lease / 20));
  }
}

/**
 * Looks at the file of a hold. Returns its claim, with `locked` where the operating system says that a
 * process holds it; undefined where the file is just being written; `dead` where its holder ran on this
 * machine and does not any more, or wrote no claim for seconds; `gone` where there is no file.
 */
export async function look(
  path: string,
): Promise<Claim & { locked: boolean } | "dead" | "gone" | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    if (isMissing(error)) return "gone";
    throw error;
  }
  const [free, { mtime }] = [await tryLock(file, false), await file.stat()];
  file.close();
  const claim = parse(await Deno.readTextFile(path).catch(() => ""));
  if (free === false) return { ...UNKNOWN, ...claim, locked: true };
  if (claim === undefined) return free && Date.now() - Number(mtime) > SETTLE_MS ? "dead" : undefined;
  return free && claim.machine === machine() ? "dead" : { ...claim, locked: false };
}

const UNKNOWN: Claim = { pid: 0, host: "", since: "", task: "", id: "", machine: "", beat: 0 };

/**
 * Locks an open file, or returns false where another process has locked it; undefined where the disk knows no
 * locks.
 */
async function tryLock(file: Deno.FsFile, exclusive: boolean): Promise<boolean | undefined> {
  return await file.tryLock(exclusive).catch(() => undefined);
}

export function describe(file: Deno.FsFile, claim: Claim): void {
  const text = new TextEncoder().encode(JSON.stringify(claim).padEnd(TEXT_LENGTH) + "\n");
  file.seekSync(0, Deno.SeekMode.Start);
  file.writeSync(text);
  file.truncateSync(text.length);
}

export function parse(text: string): Claim | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function hostname(): string {
  try {
    return Deno.hostname();
  } catch {
    return ""; // not permitted
  }
}

let known: string | undefined;

/** Tells this machine from others, also from those that have the same host name. */
export function machine(): string {
  if (known !== undefined) return known;
  let id = "";
  try {
    id = Deno.readTextFileSync("/etc/machine-id").trim().slice(0, 8);
  } catch {
    // The host name alone must do.
  }
  return known = `${hostname()}/${id}`;
}
