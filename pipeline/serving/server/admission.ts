/** Lets in what can wait, and counts what waits and what runs. */

import { ApiError, unavailable } from "./errors.ts";

/** Places of the texts of one request; disposing of it gives back what is left. */
export interface Places extends Disposable {
  /** Says that one of the texts is being written or scored; it may be both, one after the other. */
  start(): void;
  /** Says that one that was started is over. */
  end(): void;
}

/** A waiting room with so many places. */
export interface Admission {
  /** Texts that wait for a model or a slot. */
  readonly waiting: number;
  /** Texts that are being written. */
  readonly running: number;
  /**
   * Takes places for so many texts. Throws a 429 where they do not fit; a request that exceeds the room alone is let in when nothing
   * waits. Throws a 503 once it was closed.
   */
  enter(texts: number): Places;
  /** Lets nothing in any more; resolves when all are over. */
  close(): Promise<void>;
}

/** Opens a waiting room with `most` places. */
export function createAdmission(most: number): Admission {
  let waiting = 0;
  let running = 0;
  let closed = false;
  const { promise: empty, resolve } = Promise.withResolvers<void>();
  const settle = () => closed && waiting + running === 0 && resolve();
  return {
    get waiting() {
      return waiting;
    },
    get running() {
      return running;
    },
    enter(texts) {
      if (closed) throw unavailable("Cannot answer as the server must be running: it is shutting down");
      if (waiting > 0 && waiting + texts > most) {
        throw new ApiError(
          429,
          `Cannot answer as at most ${most} texts may wait: ${waiting} do, and ${texts} are asked for; try again later`,
          "queue_full",
          { "retry-after": "1" },
        );
      }
      let own = texts;
      let started = 0;
      let over = false;
      waiting += texts;
      return {
        start() {
          if (over) return;
          if (own > 0) own--, waiting--;
          started++;
          running++;
        },
        end() {
          if (over) return;
          started--;
          running--;
        },
        [Symbol.dispose]() {
          over = true;
          waiting -= own;
          running -= started;
          own = started = 0;
          settle();
        },
      };
    },
    close() {
      closed = true;
      settle();
      return empty;
    },
  };
}
