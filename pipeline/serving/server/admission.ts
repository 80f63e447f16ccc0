/** Lets in what can wait, and counts what waits and what runs. */

import { ApiError, unavailable } from "./errors.ts";

/** Places of the texts of one request. Disposing of it gives back what is left. */
export interface Places extends Disposable {
  /**
   * Reports that a text is being written or scored, until that is disposed of; it may be both, one
   * after the other.
   */
  start(): Disposable;
}

/** A waiting room with so many places. */
export class Admission {
  waiting = 0; // texts that wait for a model or a slot
  running = 0; // texts that are being written or scored
  #isClosed = false;
  #requests = 0; // that have their places
  readonly #empty = Promise.withResolvers<void>();

  /** Opens a room with `most` places. */
  constructor(readonly most: number) {}

  /**
   * Takes places for so many texts. Throws a 429 where they do not fit; a request that exceeds the
   * room alone is let in when nothing waits. Throws a 503 once it was closed.
   */
  enter(texts: number): Places {
    if (this.#isClosed) {
      throw unavailable("Cannot answer as the server must be running: it is shutting down");
    }
    if (this.waiting > 0 && this.waiting + texts > this.most) {
      const fact = `${this.waiting} do, and ${texts} are asked for; try again later`;
      const refusal = `Cannot answer as at most ${this.most} texts may wait: ${fact}`;
      throw new ApiError(429, refusal, "queue_full", { "retry-after": "1" });
    }
    const request = { waiting: 0, running: 0, isOver: false };
    this.#requests++;
    const move = (waiting: number, running: number) => {
      if (request.isOver) return;
      request.waiting += waiting;
      request.running += running;
      this.waiting += waiting;
      this.running += running;
      this.#checkEmpty();
    };
    move(texts, 0);
    return {
      start() {
        move(-Math.min(1, request.waiting), 1);
        return { [Symbol.dispose]: () => move(0, -1) };
      },
      [Symbol.dispose]: () => {
        if (!request.isOver) this.#requests--;
        move(-request.waiting, -request.running);
        request.isOver = true;
      },
    };
  }

  /** Lets nothing in any more; resolves when all are over. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.#checkEmpty();
    return this.#empty.promise;
  }

  #checkEmpty(): void {
    // Between scoring and writing a request neither waits nor runs.
    if (this.#isClosed && this.#requests === 0) this.#empty.resolve();
  }
}
