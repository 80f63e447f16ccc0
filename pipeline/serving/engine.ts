/**
 * Lets sequences of one model decode together. Each has a slot of the decoder and may join and leave at any
 * token. The tokens that all of them read next go to the device in one call.
 */

import type { Decoder } from "../model/decoder.ts";
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

/** The sequences of one decoder. */
export interface Engine {
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /** Device calls so far. */
  readonly steps: number;
  /** Takes a slot, or waits for one, in the order of asking; disposing of the reader gives it back. */
  join(signal?: AbortSignal): Promise<Reader & Disposable>;
  /** Frees the decoder. */
  close(): void;
}

/**
 * How long a step waits for a sequence of the step before, which may still be choosing its token, or whose
 * reader may be gone.
 */
export const PATIENCE_MS = 10;

const left = () => new Error("Cannot read tokens as the sequence must be open: it was closed");

interface Request {
  slot: number;
  tokens: ArrayLike<number>;
  resolve(logits: Float32Array): void;
  reject(error: unknown): void;
}

/** Runs a decoder for many sequences, and owns the decoder from then on. Its device calls wait in `queue`. */
export function createEngine(decoder: Decoder, queue: Queue): Engine {
  const free = Array.from({ length: decoder.slots }, (_, slot) => slot).reverse();
  const waiting = new Map<(slot: number) => void, (error: unknown) => void>();
  const expected = new Set<number>(); // slots of the step before
  let requests: Request[] = [];
  let running = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let steps = 0;
  let closed = false;

  function schedule(): void {
    if (running || requests.length === 0) return;
    const asked = new Set(requests.map(({ slot }) => slot));
    if (expected.isSubsetOf(asked)) step();
    else timer ??= setTimeout(step, PATIENCE_MS);
  }

  async function step(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    running = true;
    let taken: Request[] = [];
    try {
      const logits = await queue(() => {
        [taken, requests] = [requests, []];
        if (taken.length === 0) return []; // they have left in the meantime
        expected.clear();
        for (const { slot } of taken) expected.add(slot);
        steps++;
        return decoder.read(taken.map(({ slot, tokens }) => ({ slot, tokens })));
      });
      taken.forEach(({ resolve }, i) => resolve(logits[i]));
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
    running = false;
    schedule();
  }

  async function takeSlot(signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    if (closed) throw left();
    const slot = free.pop();
    if (slot !== undefined) return slot;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const leave = () => {
      if (waiting.delete(resolve)) reject(signal!.reason);
    };
    waiting.set(resolve, reject);
    signal?.addEventListener("abort", leave);
    return await promise.finally(() => signal?.removeEventListener("abort", leave));
  }

  function giveSlot(slot: number): void {
    if (closed) return;
    for (const { reject } of requests.filter((request) => request.slot === slot)) reject(left());
    requests = requests.filter((request) => request.slot !== slot);
    expected.delete(slot);
    schedule();
    queue(() => { // a step that runs may still read it
      if (closed) return;
      decoder.clear(slot);
      const [next] = waiting.keys();
      waiting.delete(next);
      if (next) next(slot);
      else free.push(slot);
    });
  }

  return {
    bytes: decoder.bytes,
    get steps() {
      return steps;
    },
    async join(signal) {
      const slot = await takeSlot(signal);
      let open = true;
      return {
        capacity: decoder.capacity,
        get length() {
          return decoder.length(slot);
        },
        read(tokens) {
          if (closed || !open) return Promise.reject(left());
          const { promise, resolve, reject } = Promise.withResolvers<Float32Array>();
          requests.push({ slot, tokens, resolve, reject });
          schedule();
          return promise;
        },
        clear: () => decoder.clear(slot),
        [Symbol.dispose]() {
          if (open) giveSlot(slot);
          open = false;
        },
      };
    },
    close() {
      clearTimeout(timer);
      closed = true;
      for (const { reject } of requests.splice(0)) reject(left());
      for (const reject of waiting.values()) reject(left());
      waiting.clear();
      decoder.close();
    },
  };
}
