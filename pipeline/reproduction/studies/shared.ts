/**
 * Lets several processes, on one machine or on many, make the pieces of studies in one folder: each takes what
 * nobody works on.
 *
 * @module
 */

import { HeldError, type Hold } from "../../run/lock.ts";
import type { Work } from "../../stages/stage.ts";

/** A piece of the work. */
export interface SharedPiece {
  /** Tells it from all other pieces. */
  name: string;
  /** Names of the pieces that must be made before. */
  after: readonly string[];
  /** What no other process may work on meanwhile. */
  holds: readonly string[];
  /**
   * Makes it. Does nothing where another process made it before. Where it throws a `HeldError` the piece counts
   * as held, and is tried again.
   */
  make(): Promise<void>;
}

/** How {@linkcode makeShared} holds things, and whom it tells of it. */
export interface Sharing {
  /** Takes a hold. */
  lock: Work["lock"];
  /** Is called once for each hold that it waits for, with the error that says what is held, and by whom. */
  onWait: (error: HeldError) => void;
  /** Ends the waiting. */
  signal?: AbortSignal;
}

/** Milliseconds until a process that found everything taken looks again. */
const PAUSE_MS = 500;

/**
 * Makes pieces until none is left. `listed` gives them, and is asked again before each piece, as a piece may
 * bring others: the first one goes first that follows on nothing that is still to be made, and that is free. A
 * piece of a name that was made is not made again, though it may be listed. Waits where other processes hold
 * all that is left. Throws what the pieces throw, and the reason of the signal.
 */
export async function makeShared(
  listed: () => Promise<readonly SharedPiece[]>,
  { lock, onWait, signal }: Sharing,
): Promise<void> {
  const made = new Set<string>();
  const told = new Set<string>();
  while (true) {
    signal?.throwIfAborted();
    const left = (await listed()).filter(({ name }) => !made.has(name));
    if (left.length === 0) return;
    const next = left.filter(({ after }) => after.every((name) => made.has(name)));
    if (next.length === 0) {
      throw new RangeError("Cannot make pieces as each must follow on one that is listed");
    }
    let held: HeldError | undefined;
    for (const piece of next) {
      held = await makeIfFree(piece, lock);
      if (held) continue;
      made.add(piece.name);
      break;
    }
    if (!held) continue;
    if (!told.has(held.by)) onWait(held);
    told.add(held.by);
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

/** Makes a piece, or gives the error that says who holds what it needs. */
async function makeIfFree({ holds, make }: SharedPiece, lock: Work["lock"]): Promise<HeldError | undefined> {
  const own: Hold[] = [];
  try {
    for (const name of holds) own.push(await lock(name));
    await make();
  } catch (error) {
    if (error instanceof HeldError) return error;
    throw error;
  } finally {
    await Promise.all(own.map((release) => release()));
  }
}
