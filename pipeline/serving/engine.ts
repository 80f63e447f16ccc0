/**
 * Lets sequences of one model decode together. Each has a slot of the decoder and may join and
 * leave at any token. The tokens that all of them read next go to the device in one call; such
 * calls wait in a queue.
 */

import type { Ahead, Decoder, ReadStep, SlotTokens } from "../model/decoder.ts";

/**
 * Runs `work` when all that was asked for before is over; a failure concerns the one who asked
 * alone.
 */
export type Queue = <Result>(work: () => Result | Promise<Result>) => Promise<Result>;

/** Makes an empty queue. */
export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
}

/** One sequence that a decoder reads. */
export interface Reader {
  readonly capacity: number; // tokens that fit into its slot
  readonly length: number; // tokens read so far
  /**
   * Reads tokens after those read so far; returns the logits f32 `[vocabulary]` after the last one.
   * It may also read tokens `ahead`, and so know the logits after them before they are asked for;
   * the bits are the same.
   */
  read(tokens: ArrayLike<number>, ahead?: Ahead): Promise<Float32Array>;
  clear(): void; // forgets what was read
}

/**
 * How long a step waits for a sequence of the step before, which may still be choosing its token,
 * or whose reader may be gone.
 */
export const PATIENCE_MS = 10;

type Request = SlotTokens & { ahead?: Ahead } & PromiseWithResolvers<ReadStep[]>;

/** The sequences of one decoder. */
export class Engine {
  readonly #free: number[];
  readonly #expected = new Set<number>(); // slots of the step before
  #requests: Request[] = [];
  #isRunning = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed: Error | undefined;
  steps = 0; // device calls so far

  /**
   * Runs a decoder for many sequences, and owns the decoder from then on. Its device calls wait in
   * `queue`.
   */
  constructor(private readonly decoder: Decoder, private readonly queue: Queue) {
    this.#free = [...Array(decoder.slots).keys()].reverse();
  }

  /** Device memory held, in bytes. */
  get bytes(): number {
    return this.decoder.bytes;
  }

  /** Takes a slot; disposing of the reader gives it back. Whoever leases the model has one. */
  join(): Reader & Disposable {
    const decoder = this.decoder;
    const slot = this.#free.pop();
    if (slot === undefined) {
      throw new RangeError("Cannot join as a slot must be free: all are taken");
    }
    decoder.clear(slot);
    let isOpen = true;
    let steps: ReadStep[] = []; // the one that was asked for last, and those that were read ahead
    const length = () => decoder.length(slot) - Math.max(0, steps.length - 1);
    return {
      capacity: decoder.capacity,
      get length() {
        return length();
      },
      read: async (tokens, ahead) => {
        if (this.#closed) throw this.#closed;
        if (!isOpen) throw left();
        const [last, ...foreseen] = steps;
        if (foreseen.length > 0 && tokens.length === 1 && tokens[0] === last.next) {
          steps = foreseen;
          return foreseen[0].logits;
        }
        decoder.rewind(slot, length());
        steps = [];
        const request = { slot, tokens, ahead, ...Promise.withResolvers<ReadStep[]>() };
        this.#requests.push(request);
        this.#schedule();
        steps = await request.promise;
        return steps[0].logits;
      },
      clear: () => {
        steps = [];
        decoder.clear(slot);
      },
      [Symbol.dispose]: () => {
        if (isOpen && !this.#closed) this.#leave(slot);
        isOpen = false;
      },
    };
  }

  /** Frees the decoder; who reads gets the reason. */
  close(reason: Error): void {
    clearTimeout(this.#timer);
    this.#closed = reason;
    for (const { reject } of this.#requests.splice(0)) reject(reason);
    this.decoder.close();
  }

  #leave(slot: number): void {
    const [leaving, staying] = [true, false].map((isOwn) =>
      this.#requests.filter((request) => (request.slot === slot) === isOwn)
    );
    this.#requests = staying;
    for (const { reject } of leaving) reject(left());
    this.#expected.delete(slot);
    this.#free.push(slot);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isRunning || this.#requests.length === 0) return;
    const asked = new Set(this.#requests.map(({ slot }) => slot));
    if (this.#expected.isSubsetOf(asked)) this.#step();
    else this.#timer ??= setTimeout(() => this.#step(), PATIENCE_MS);
  }

  async #step(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isRunning = true;
    let taken: Request[] = [];
    try {
      const steps = await this.queue(() => {
        [taken, this.#requests] = [this.#requests, []];
        if (taken.length === 0) return []; // they have left in the meantime
        this.#expected.clear();
        for (const { slot } of taken) this.#expected.add(slot);
        this.steps++;
        return this.decoder.readAhead(
          taken.map(({ slot, tokens, ahead }) => ({ slot, tokens, ahead })),
        );
      });
      taken.forEach(({ resolve }, i) => resolve(steps[i]));
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
    this.#isRunning = false;
    this.#schedule();
  }
}

const left = () => new Error("Cannot read tokens as the sequence must be open: it was closed");
