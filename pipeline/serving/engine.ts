/**
 * Lets sequences of one model decode together. Each has a slot of the decoder and may join and leave at any
 * token. The tokens that all of them read next go to the device in one call.
 */

import type { Decoder, SlotTokens } from "../model/decoder.ts";
import type { Queue } from "./queue.ts";

/** One sequence that a decoder reads. */
export interface Reader {
  /** Tokens that fit into its slot. */
  readonly capacity: number;
  /** Tokens read so far. */
  readonly length: number;
  /** Reads tokens after those read so far; returns the logits f32 `[vocabulary]` after the last one. */
  read(tokens: ArrayLike<number>): Promise<Float32Array>;
  /** Forgets what was read. */
  clear(): void;
}

/**
 * How long a step waits for a sequence of the step before, which may still be choosing its token, or whose
 * reader may be gone.
 */
export const PATIENCE_MS = 10;

const left = () => new Error("Cannot read tokens as the sequence must be open: it was closed");

type Request = SlotTokens & PromiseWithResolvers<Float32Array>;

/** The sequences of one decoder. */
export class Engine {
  readonly #decoder: Decoder;
  readonly #queue: Queue;
  readonly #free: number[];
  readonly #waiting = new Set<PromiseWithResolvers<number>>();
  readonly #expected = new Set<number>(); // slots of the step before
  #requests: Request[] = [];
  #isRunning = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  /** Device calls so far. */
  steps = 0;

  /** Runs a decoder for many sequences, and owns the decoder from then on. Its device calls wait in `queue`. */
  constructor(decoder: Decoder, queue: Queue) {
    this.#decoder = decoder;
    this.#queue = queue;
    this.#free = [...Array(decoder.slots).keys()].reverse();
  }

  /** Device memory held, in bytes. */
  get bytes(): number {
    return this.#decoder.bytes;
  }

  /** Takes a slot, or waits for one, in the order of asking; disposing of the reader gives it back. */
  async join(signal?: AbortSignal): Promise<Reader & Disposable> {
    const slot = await this.#takeSlot(signal);
    const decoder = this.#decoder;
    let isOpen = true;
    return {
      capacity: decoder.capacity,
      get length() {
        return decoder.length(slot);
      },
      read: (tokens) => {
        if (this.#isClosed || !isOpen) return Promise.reject(left());
        const request = { slot, tokens, ...Promise.withResolvers<Float32Array>() };
        this.#requests.push(request);
        this.#schedule();
        return request.promise;
      },
      clear: () => decoder.clear(slot),
      [Symbol.dispose]: () => {
        if (isOpen) this.#giveSlot(slot);
        isOpen = false;
      },
    };
  }

  /** Frees the decoder. */
  close(): void {
    clearTimeout(this.#timer);
    this.#isClosed = true;
    for (const { reject } of [...this.#requests.splice(0), ...this.#waiting]) reject(left());
    this.#waiting.clear();
    this.#decoder.close();
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
      const logits = await this.#queue(() => {
        [taken, this.#requests] = [this.#requests, []];
        if (taken.length === 0) return []; // they have left in the meantime
        this.#expected.clear();
        for (const { slot } of taken) this.#expected.add(slot);
        this.steps++;
        return this.#decoder.read(taken.map(({ slot, tokens }) => ({ slot, tokens })));
      });
      taken.forEach(({ resolve }, i) => resolve(logits[i]));
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
    this.#isRunning = false;
    this.#schedule();
  }

  async #takeSlot(signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw left();
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    const waiter = Promise.withResolvers<number>();
    const leave = () => this.#waiting.delete(waiter) && waiter.reject(signal!.reason);
    this.#waiting.add(waiter);
    signal?.addEventListener("abort", leave);
    return await waiter.promise.finally(() => signal?.removeEventListener("abort", leave));
  }

  #giveSlot(slot: number): void {
    if (this.#isClosed) return;
    const isOwn = (request: Request) => request.slot === slot;
    for (const { reject } of this.#requests.filter(isOwn)) reject(left());
    this.#requests = this.#requests.filter((request) => !isOwn(request));
    this.#expected.delete(slot);
    this.#schedule();
    this.#queue(() => { // a step that runs may still read it
      if (this.#isClosed) return;
      this.#decoder.clear(slot);
      const [next] = this.#waiting;
      this.#waiting.delete(next);
      if (next) next.resolve(slot);
      else this.#free.push(slot);
    });
  }
}
