/**
 * Lets processes on any number of machines work side by side in a run folder. Each thing that is made there
 * has a name. A process that makes or reads it says so in a file under `locks/` ({@link Claim}), and looks
 * whether the file of another process forbids that.
 *
 * locks/score.json              one process makes it alone
 *     locks/score~part-1f00….json   one of several that make parts of it
 *     locks/score~read-77ab….json   one of several that read it
 *
 * @module
 */

import { RunError, say, setting } from "../../kernels/errors.ts";
import { checkRunFolder, isMissing, removeIfEmpty, writeError } from "./files.ts";
import {
  type Claim,
  describe,
  fileName,
  filesOf,
  filesUnder,
  hostname,
  livingClaim,
  LOCKS,
  look,
  machine,
  makeFolder,
  type Mode,
  type Owner,
  parse,
  pause,
  removeUnlocked,
  take,
} from "./claims.ts";

/** A hold of something in a run folder. */
export interface Hold {
  /** Releases it; safe to call again. */
  (): Promise<void>;
  /** Says which stage its holder makes from now on; none unless given. */
  makes(stage?: string): void;
  /** Is aborted with a `RunError` where another machine took the hold, as this process was silent for too long. */
  lost: AbortSignal;
}

/** Is thrown where another process holds what is asked for. */
export class HeldError extends RunError {
  /** What is held. */
  readonly held: string;
  /** Who holds it. */
  readonly owner: Owner;
  /** Who holds it, and since when, in words. */
  readonly by: string;

  /** Makes the error of what cannot be done, in which run, what is held there, and by whom. */
  constructor(what: string, run: string, held: string, owners: readonly Owner[]) {
    const by = whoHolds(owners);
    super(`${what}: ${by}`, { where: run, remedy: say`wait for it or choose another ${setting("run")}` });
    this.held = held;
    this.owner = owners[0];
    this.by = by;
  }
}

/** What is held in a run folder, and by whom. */
export interface Held {
  /** What is held. */
  name: string;
  /** How it is held. */
  mode: Mode;
  /** Who holds it. */
  owner: Owner;
}

/** How {@linkcode lockRun} takes a hold. */
export interface LockOptions {
  /** How it is held; alone unless given. */
  mode?: Mode;
  /** Milliseconds to wait where something is held for a moment only. Default: none. */
  patience?: number;
  /** The stage that the holder begins with. */
  makes?: string;
  /**
   * Called once with the process that it waits for. Where that process ran on another machine and is dead, it
   * takes a while to find out.
   */
  onWait?: (owner: Owner) => void;
  /** Milliseconds of silence after which a holder on another machine counts as dead. Default: a minute. */
  lease?: number;
  /** Ends the waiting. */
  signal?: AbortSignal;
  /** First words of the error where the thing is held. Default: words about something that is made. */
  refusal?: string;
}

const RETRY_MS = 50;
const BEAT_MS = 10_000;
const LEASE_MS = 60_000;
/** How long to wait, in milliseconds, so that a process that only looks whether something is held is over. */
export const GLANCE_MS = 500;

const SILENT_MS = 1_000; // of waiting before `onWait` is called

/** For each kind of hold, the kinds that exclude it. */
const EXCLUDES: Record<Mode, readonly Mode[]> = {
  alone: ["alone", "part", "read"],
  part: ["alone", "read"],
  read: ["alone", "part"],
};

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
 * Takes a hold of `name` in a run folder, and makes the folder if it is missing. Throws a
 * {@linkcode HeldError} where another process makes or reads it, an `InputError` where the folder is a file or cannot
 * be written.
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
        throw new HeldError(refusal ?? refusalOf(run, name, mode), run, name, blocking);
      }
      wait(blocking[0]);
      await pause(RETRY_MS * (1 + Math.random())); // of random length, so that two processes that saw each other do not meet again
    }
  } catch (error) {
    await removeIfEmpty(`${run}/${LOCKS}`);
    await checkRunFolder(run);
    throw writeError(path, error);
  }
}

/**
 * Says whether a process makes something of this name, alone or in parts. A process on another machine may be
 * dead and still count.
 */
export async function isHeld(run: string, name: string): Promise<boolean> {
  return (await heldIn(run, (other, mode) => other === name && mode !== "read")).length > 0;
}

/**
 * Lists what is held in a run folder, the earliest first. A hold from another machine is listed even if its
 * holder may be dead.
 */
export async function heldIn(
  run: string,
  wanted: (name: string, mode: Mode) => boolean = () => true,
): Promise<Held[]> {
  const held = await Array.fromAsync(claimsIn(run, wanted), toHeld);
  return held.sort((a, b) => a.owner.since < b.owner.since ? -1 : 1);
}

/**
 * Finds what is held in a run folder by a process that lives; undefined where nothing is. It waits for a word of a
 * holder on another machine, at most `lease` milliseconds for each, and calls `wait` meanwhile.
 */
export async function firstLiving(
  run: string,
  wanted: (name: string, mode: Mode) => boolean,
  { lease = LEASE_MS, wait = () => {} }: { lease?: number; wait?: (owner: Owner) => void } = {},
): Promise<Held | undefined> {
  for await (const { path, ...held } of claimsIn(run, wanted)) {
    const claim = await livingClaim(path, lease, wait);
    if (claim !== null) return toHeld({ ...held, claim });
  }
  return undefined;
}

/**
 * Makes what tells, whenever it is called, what is held in a run folder; undefined where nothing is. A hold
 * from another machine counts until its holder has said nothing for `lease` milliseconds.
 */
export function watchHeld(
  run: string,
  wanted: (name: string, mode: Mode) => boolean,
  lease = LEASE_MS,
): () => Promise<Held | undefined> {
  const words = new Map<string, { text: string; since: number }>(); // the last ones from other machines, by path
  return async () => {
    for await (const { path, ...held } of claimsIn(run, wanted)) {
      if (held.claim?.locked) return toHeld(held);
      const text = JSON.stringify(held.claim ?? null);
      const now = performance.now();
      if (words.get(path)?.text !== text) words.set(path, { text, since: now });
      if (now - words.get(path)!.since < lease) return toHeld(held);
    }
    return undefined;
  };
}

/** Yields the claims in a run folder whose holders may live. */
async function* claimsIn(run: string, wanted: (name: string, mode: Mode) => boolean) {
  for (const { path, name, mode } of await filesOf(run)) {
    if (!wanted(name, mode)) continue;
    const claim = await look(path);
    if (claim !== "dead" && claim !== "gone") yield { path, name, mode, claim };
  }
}

function toHeld({ name, mode, claim }: { name: string; mode: Mode; claim?: Claim }): Held {
  const { pid = 0, host = "", since = "", task = "", stage } = claim ?? {}; // unknown: it is just being written
  return { name, mode, owner: { pid, host, since, task, ...stage ? { stage } : {} } };
}

/**
 * Removes the holds of processes of this machine that were killed, and the folder of holds if that empties
 * it.
 */
export async function removeDeadLocks(run: string): Promise<void> {
  for (const { path } of await filesOf(run)) if (await look(path) === "dead") await removeUnlocked(path);
  for (const path of await filesUnder(run, ".new")) await removeUnlocked(path); // if its maker lives, it tries again
  await removeIfEmpty(`${run}/${LOCKS}`);
}

/** Finds the processes that hold something in a way that excludes ours. */
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
    if (alive === null && mode !== "alone") await Deno.remove(path).catch(() => {}); // its holder is dead
    return alive;
  }));
  return claims.filter((claim) => claim !== null);
}

/** Gives a hold up: removes its file, unless another machine has taken it. */
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

/**
 * Writes a claim that changed. Others only read it, so the work goes on where a full disk prevents the
 * writing.
 */
function tell({ file, claim }: Own): void {
  try {
    describe(file, claim);
  } catch {
    // The beat that was written before still counts for a while.
  }
}

/**
 * Shows other machines that this process lives, and finds out whether one of them took a hold because it
 * believed this process dead.
 */
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
