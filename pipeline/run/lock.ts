/**
 * Lets processes of any number of machines work side by side in a run folder. What is made there has a name; who makes or reads it says
 * so in a file under `locks/` ({@link Claim}), and looks whether the file of another process forbids that.
 *
 *     locks/score.json              one process makes it alone
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

const RETRY_MS = 50;
const BEAT_MS = 10_000;
const LEASE_MS = 60_000;
/** Outlasts others that only look whether something is held, in milliseconds. */
export const GLANCE_MS = 500;

const SILENT_MS = 1_000; // of waiting before anyone is told

/** Whether a hold of the first kind and one of the second exclude each other. */
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
