/** Lets in what can wait, and counts what waits and what runs. */

import { ApiError, unavailable } from "./errors.ts";

/** A waiting room with so many places. */
export class Admission {
  /** Texts that wait for a model or a slot. */
  waiting = 0;
  /** Texts that are being written or scored. */
  running = 0;
  #isClosed = false;
  readonly #empty = Promise.withResolvers<void>();

  /** Opens a room with `most` places. */
  constructor(readonly most: number) {}

  /**
   * Takes places for so many texts. Throws a 429 where they do not fit; a request that exceeds the room alone is
   * let in when nothing waits. Throws a 503 once it was closed.
   */
  enter(texts: number): Places {
    if (this.#isClosed) throw unavailable("Cannot answer as the server must be running: it is shutting down");
    if (this.waiting > 0 && this.waiting + texts > this.most) {
      const fact = `${this.waiting} do, and ${texts} are asked for; try again later`;
      const what = `Cannot answer as at most ${this.most} texts may wait: ${fact}`;
      throw new ApiError(429, what, "queue_full", { "retry-after": "1" });
    }
    return new Places(this, texts);
  }

  /** Moves texts between waiting and running. */
  move(waiting: number, running: number): void {
    this.waiting += waiting;
    this.running += running;
    if (this.#isClosed && this.waiting + this.running === 0) this.#empty.resolve();
  }

  /** Lets nothing in any more; resolves when all are over. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.move(0, 0);
    return this.#empty.promise;
  }
}

/** Places of the texts of one request; disposing of it gives back what is left. */
export class Places implements Disposable {
  #running = 0;
  #isOver = false;

  /** Takes places of texts that wait. */
  constructor(private readonly room: Admission, private waiting: number) {
    room.move(waiting, 0);
  }

  /** Says that one of the texts is being written or scored; it may be both, one after the other. */
  start(): void {
    if (this.#isOver) return;
    const left = Math.min(1, this.waiting);
    this.waiting -= left;
    this.#running++;
    this.room.move(-left, 1);
  }

  /** Says that one that was started is over. */
  end(): void {
    if (this.#isOver) return;
    this.#running--;
    this.room.move(0, -1);
  }

  /** Gives back all places. */
  [Symbol.dispose](): void {
    if (!this.#isOver) this.room.move(-this.waiting, -this.#running);
    this.#isOver = true;
  }
}
