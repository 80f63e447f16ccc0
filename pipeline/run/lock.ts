/**
 * Lets processes of any number of machines work side by side in a run folder. What is made there has a name; who makes or reads it says
 * so in a file under `locks/`, and looks whether another's file forbids that.
 *
 *     locks/score.json              one process makes it alone
 *     locks/score~part-1f00….json   one of several that make parts of it
 *     locks/score~read-77ab….json   one of several that read it
 *
 * A holder locks its file for as long as it lives, as the operating system does that, so on one machine a file that nobody locks was
 * left by a process that is dead. Where machines share a disk that does not pass such locks on, the text of the file tells: its holder
 * writes it anew every few seconds. Another machine's holder is dead when its text stays the same for a minute by the clock of who
 * waits; no time that is written in a file counts, so clocks may differ.
 *
 * @module
 */

import { RunError, say, setting } from "../../kernels/errors.ts";
import { checkRunFolder, isFolder, isMissing, refuseLink, removeIfEmpty, writeError } from "./files.ts";

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
  /** What it makes now, and since when, ISO 8601; undefined between two. */
  stage?: { name: string; since: string };
}

/** How something is held: made by one process alone, made in parts by several, or read by several. */
export type Mode = "alone" | "part" | "read";

/** A hold of something in a run folder. */
export interface Hold {
  /** Releases it; safe to call again. */
  (): Promise<void>;
  /** Says which stage its holder makes from now on; none unless given. */
  makes(stage?: string): void;
  /** Is aborted with a `RunError` where another machine took the hold, as this process was silent for too long. */
  lost: AbortSignal;
}

/** What is held in a run folder, and by whom. */
export interface Held {
  /** What is held. */
  name: string;
  /** How. */
  mode: Mode;
  /** Who holds it. */
  owner: Owner;
}

/** How {@linkcode lockRun} takes a hold. */
export interface LockOptions {
  /** How it is held; alone unless given. */
  mode?: Mode;
  /** Milliseconds to wait for what is held for moments only; none unless given. */
  patience?: number;
  /** The stage that its holder makes from the start. */
  makes?: string;
  /** Told once whom it waits for: another machine's holder may be dead, which takes a while to know. */
  onWait?: (owner: Owner) => void;
  /** Milliseconds after which another machine's holder that was silent is dead; a minute unless given. */
  lease?: number;
  /** Ends the waiting. */
  signal?: AbortSignal;
  /** Begins the error where it is held, instead of what is said of something that is made. */
  refusal?: string;
}

/** Folder of the files of holds, in the run folder. */
export const LOCKS = "locks";
const RETRY_MS = 50;
const BEAT_MS = 10_000;
const LEASE_MS = 60_000;
const SETTLE_MS = 2_000; // longer than writing a file takes on a shared disk
/** Outlasts others that only look whether something is held, in milliseconds. */
export const GLANCE_MS = 500;
const TEXT_LENGTH = 512; // of a claim, so that a new one covers the one before whenever its writer is killed
const SILENT_MS = 1_000; // of waiting before anyone is told

/** Whether a hold of the first kind and one of the second exclude each other. */
const EXCLUDES: Record<Mode, readonly Mode[]> = {
  alone: ["alone", "part", "read"],
  part: ["alone", "read"],
  read: ["alone", "part"],
};

/** What the file of a hold says. */
interface Claim extends Owner {
  /** Tells this hold from all others. */
  id: string;
  /** Tells machines apart that have the same host name. */
  machine: string;
  /** Counts up while the holder lives. */
  beat: number;
}

/** A hold of this process. */
interface Own {
  file: Deno.FsFile;
  path: string;
  claim: Claim;
  lost: AbortController;
}

const own = new Set<Own>();
let beating: ReturnType<typeof setInterval> | undefined;

/**
 * Takes a hold of `name` in a run folder, which is made if missing. Throws a `RunError` that says who makes or reads it where another
 * process does, an `InputError` where the folder is a file or cannot be written.
 */
export async function lockRun(
  run: string,
  name: string,
  task: string,
  { mode = "alone", patience = 0, makes, onWait, lease = LEASE_MS, signal, refusal }: LockOptions = {},
): Promise<Hold> {
  const start = performance.now();
  const id = crypto.randomUUID().slice(0, 13);
  const path = `${run}/${LOCKS}/${fileName(name, mode, id)}`;
  const since = now();
  const claim: Claim = {
    ...{ pid: Deno.pid, host: hostname(), since, task },
    ...makes === undefined ? {} : { stage: { name: makes, since } },
    ...{ id, machine: machine(), beat: 0 },
  };
  let told = false;
  const wait = (owner: Owner) => {
    if (!told && performance.now() - start > SILENT_MS) {
      told = true;
      onWait?.(owner);
    }
    signal?.throwIfAborted();
  };
  try {
    while (true) {
      signal?.throwIfAborted();
      await makeFolder(run);
      const file = await take(path, mode, claim, lease, wait);
      if (file === null) continue; // it was released, or taken, just now
      let blocking: Claim[];
      if (file instanceof Deno.FsFile) {
        try {
          blocking = await othersThat(run, name, EXCLUDES[mode], path, lease, wait);
        } catch (error) {
          await drop({ file, path, claim });
          throw error;
        }
        if (blocking.length === 0) return holdOf(run, { file, path, claim, lost: new AbortController() });
        await drop({ file, path, claim });
      } else blocking = [file];
      if (performance.now() - start >= patience) {
        throw heldError(run, refusal ?? refusalOf(run, name, mode), blocking);
      }
      wait(blocking[0]);
      await pause(RETRY_MS * (1 + Math.random())); // two that saw each other do not meet again
    }
  } catch (error) {
    await removeIfEmpty(`${run}/${LOCKS}`);
    await checkRunFolder(run);
    throw writeError(path, error);
  }
}

/** Says whether a process makes something of this name, alone or in parts. One of another machine may be dead. */
export async function isHeld(run: string, name: string): Promise<boolean> {
  return (await heldIn(run, (other, mode) => other === name && mode !== "read")).length > 0;
}

/** Lists what is held in a run folder, the earliest first. What another machine holds is listed although its holder may be dead. */
export async function heldIn(
  run: string,
  wanted: (name: string, mode: Mode) => boolean = () => true,
): Promise<Held[]> {
  const held: Held[] = [];
  for (const { path, name, mode } of await filesOf(run)) {
    if (!wanted(name, mode)) continue;
    const claim = await look(path);
    if (claim === "dead" || claim === "gone") continue;
    const { pid = 0, host = "", since = "", task = "", stage } = claim ?? {}; // unknown: it is just being written
    held.push({ name, mode, owner: { pid, host, since, task, ...stage ? { stage } : {} } });
  }
  return held.sort((a, b) => a.owner.since < b.owner.since ? -1 : 1);
}

/** Removes what processes of this machine left that were killed, and the folder of holds where that empties it. */
export async function removeDeadLocks(run: string): Promise<void> {
  for (const { path } of await filesOf(run)) if (await look(path) === "dead") await removeUnlocked(path);
  for (const path of await filesUnder(run, ".new")) await removeUnlocked(path); // whose maker tries again where it lives
  await removeIfEmpty(`${run}/${LOCKS}`);
}

async function removeUnlocked(path: string): Promise<void> {
  const file = await Deno.open(path, { read: true, write: true }).catch(() => null);
  if (file && await tryLock(file, true) && await isSame(file, path)) await Deno.remove(path).catch(() => {});
  file?.close();
}

const fileName = (name: string, mode: Mode, id: string): string =>
  `${name}${mode === "alone" ? "" : `~${mode}-${id}`}.json`;

/** Lists the paths of files in the folder of holds whose names end so. */
async function filesUnder(run: string, end: string): Promise<string[]> {
  const folder = `${run}/${LOCKS}`;
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch((error) => {
    if (isMissing(error)) return [];
    throw error;
  });
  return entries.filter(({ name }) => name.endsWith(end)).map(({ name }) => `${folder}/${name}`);
}

/** Lists the files of holds. */
async function filesOf(run: string): Promise<{ path: string; name: string; mode: Mode }[]> {
  return (await filesUnder(run, ".json")).flatMap((path) => {
    const file = path.slice(path.lastIndexOf("/") + 1);
    const [, name, mode = "alone"] = /^(.+?)(?:~(part|read)-[0-9a-f-]+)?\.json$/.exec(file) ?? [];
    return name === undefined ? [] : [{ path, name, mode: mode as Mode }];
  });
}

async function makeFolder(run: string): Promise<void> {
  await refuseLink(`${run}/${LOCKS}`);
  await Deno.mkdir(`${run}/${LOCKS}`, { recursive: true });
}

/**
 * Takes the file of a hold: a new one, or that of a dead process. Gives the file with the claim written; or whose it is; or null where
 * that changed meanwhile.
 */
async function take(
  path: string,
  mode: Mode,
  claim: Claim,
  lease: number,
  wait: (owner: Owner) => void,
): Promise<Deno.FsFile | Claim | null> {
  // It gets its name when it says whose it is and is locked: who is killed before leaves no hold.
  const unnamed = `${path}.${claim.id}.new`;
  let file: Deno.FsFile | undefined;
  try {
    file = await openNew(unnamed, claim);
    if (mode !== "alone") await Deno.rename(unnamed, path);
    else await Deno.link(unnamed, path);
    return file;
  } catch (error) {
    file?.close();
    if (isMissing(error) && await isFolder(path.slice(0, path.lastIndexOf(`/${LOCKS}/`)))) return null; // the last one out removed it
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

/** Makes a file that says whose it is, and locks it. */
async function openNew(path: string, claim: Claim): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { read: true, write: true, createNew: true });
  await file.lock(true).catch(() => {}); // waits for those that only look
  try {
    describe(file, claim);
    return file;
  } catch (error) {
    await Deno.remove(path).catch(() => {}); // a full disk: others must not wait for a file that says nothing
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
    // Two machines may have found it dead at once: the one that wrote last has it.
    await pause(Math.min(SETTLE_MS, lease));
    if (parse(await Deno.readTextFile(path).catch(() => ""))?.id === claim.id) return file;
  }
  file.close();
  return null;
}

/** Finds who holds something in a way that forbids ours. */
async function othersThat(
  run: string,
  name: string,
  modes: readonly Mode[],
  path: string,
  lease: number,
  wait: (owner: Owner) => void,
): Promise<Claim[]> {
  const files = (await filesOf(run)).filter((other) =>
    other.path !== path && other.name === name && modes.includes(other.mode)
  );
  const claims = await Promise.all(files.map(async ({ path, mode }) => {
    const alive = await livingClaim(path, lease, wait);
    if (alive === null && mode !== "alone") await Deno.remove(path).catch(() => {}); // of a dead one
    return alive;
  }));
  return claims.filter((claim) => claim !== null);
}

/** Gives who holds a file, once that is known; null where its holder is dead, or has released it. */
async function livingClaim(path: string, lease: number, wait: (owner: Owner) => void): Promise<Claim | null> {
  const start = performance.now();
  let first: string | undefined;
  while (true) {
    const claim = await look(path);
    if (claim === "dead" || claim === "gone") return null;
    if (claim?.locked) return claim;
    const text = JSON.stringify(claim);
    first ??= text;
    if (text !== first && claim) return claim; // it writes: it lives
    if (performance.now() - start >= lease) return null;
    if (claim) wait(claim);
    await pause(Math.min(1_000, lease / 20));
  }
}

/**
 * Looks at the file of a hold: who holds it, `locked` where the operating system says that it does; undefined where that is just being
 * written; `dead` where its process was on this machine and is no more.
 */
async function look(
  path: string,
): Promise<Claim & { locked: boolean } | "dead" | "gone" | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    if (isMissing(error)) return "gone";
    throw error;
  }
  const free = await tryLock(file, false);
  file.close();
  const claim = parse(await Deno.readTextFile(path).catch(() => ""));
  if (free === false) return { ...UNKNOWN, ...claim, locked: true };
  if (claim === undefined) return undefined;
  return free && claim.machine === machine() ? "dead" : { ...claim, locked: false };
}

const UNKNOWN: Claim = { pid: 0, host: "", since: "", task: "", id: "", machine: "", beat: 0 };

/** Locks an open file unless another process does; undefined where its disk knows no locks. */
async function tryLock(file: Deno.FsFile, exclusive: boolean): Promise<boolean | undefined> {
  return await file.tryLock(exclusive).catch(() => undefined);
}

async function isSame(file: Deno.FsFile, path: string): Promise<boolean> {
  const [open, named] = await Promise.all([file.stat(), Deno.stat(path).catch(() => null)]);
  return named !== null && open.ino === named.ino && open.dev === named.dev;
}

function describe(file: Deno.FsFile, claim: Claim): void {
  const text = new TextEncoder().encode(JSON.stringify(claim).padEnd(TEXT_LENGTH) + "\n");
  file.seekSync(0, Deno.SeekMode.Start);
  file.writeSync(text);
  file.truncateSync(text.length);
}

function parse(text: string): Claim | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Gives a hold up: its file goes, unless another machine took it. */
async function drop({ file, path, claim }: Pick<Own, "file" | "path" | "claim">): Promise<void> {
  const there = parse(await Deno.readTextFile(path).catch(() => ""));
  if (there?.id === claim.id) await Deno.remove(path).catch(() => {});
  file.close();
}

function holdOf(run: string, mine: Own): Hold {
  own.add(mine);
  if (beating === undefined) Deno.unrefTimer(beating = setInterval(beat, BEAT_MS));
  const release = async () => {
    if (!own.delete(mine)) return;
    if (own.size === 0) {
      clearInterval(beating);
      beating = undefined;
    }
    await drop(mine);
    await removeIfEmpty(`${run}/${LOCKS}`);
  };
  const makes = (name?: string) => {
    mine.claim = { ...mine.claim, stage: name === undefined ? undefined : { name, since: now() } };
    tell(mine);
  };
  return Object.assign(release, { makes, lost: mine.lost.signal });
}

/** Writes a claim that changed; others only read it, so work goes on where a full disk keeps it from being written. */
function tell({ file, claim }: Own): void {
  try {
    describe(file, claim);
  } catch {
    // The beat before still counts for a while.
  }
}

/** Shows other machines that this process lives, and finds out whether one of them took a hold for dead. */
async function beat(): Promise<void> {
  for (const mine of own) {
    const there = await Deno.readTextFile(mine.path).then(
      parse,
      (error) => isMissing(error) ? null : undefined,
    );
    if (!own.has(mine)) continue;
    if (there === null || there !== undefined && there.id !== mine.claim.id) {
      const by = there ? `: ${whoHolds([there])}` : "";
      mine.lost.abort(
        new RunError(`Cannot go on as the hold "${mine.path}" must be kept: another machine took it${by}`, {
          where: mine.path,
          remedy: "this process was silent for a minute: run the same again",
        }),
      );
      continue;
    }
    mine.claim.beat++;
    tell(mine);
  }
}

const now = () => new Date().toISOString();

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function whoHolds(claims: readonly Owner[]): string {
  return claims.filter(({ pid }) => pid > 0).map(({ pid, host, since, task }) =>
    `process ${pid}${host ? ` on ${host}` : ""} has held it since ${since} for task "${task}"`
  ).join(", ") || "another process does";
}

function refusalOf(run: string, name: string, mode: Mode): string {
  return mode === "read"
    ? `Cannot read "${name}" in "${run}" as nobody else may make it meanwhile`
    : `Cannot make "${name}" in "${run}" as nobody else may make or read it meanwhile`;
}

function heldError(run: string, refusal: string, claims: readonly Owner[]): RunError {
  return new RunError(`${refusal}: ${whoHolds(claims)}`, {
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

let known: string | undefined;

/** Tells this machine from others, also from those that have the same host name. */
function machine(): string {
  if (known !== undefined) return known;
  let id = "";
  try {
    id = Deno.readTextFileSync("/etc/machine-id").trim().slice(0, 8);
  } catch {
    // Then the host name has to do.
  }
  return known = `${hostname()}/${id}`;
}
