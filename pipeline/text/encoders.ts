/**
 * Encodes texts on several threads: each has a tokenizer of its own, so that ids do not depend on
 * how many there are.
 *
 * @module
 */

import type { Answer, EncoderRequest } from "./encoder_worker.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What encodes texts. */
export interface Encoders {
  /** Calls that are worth having in hand apart from the one whose results are in use. */
  readonly ahead: number;
  /** Characters that are worth a call. */
  readonly characters: number;
  /** Encodes texts, as {@linkcode Tokenizer.encode} does; calls go to threads that are free. */
  encode(texts: string[]): Promise<Uint32Array[]>;
  /** Ends the threads, once they have nothing in hand. */
  close(): Promise<void>;
}

// Of a call that goes to all cores.
const SHARED_CHARACTERS = 16_384 * navigator.hardwareConcurrency;
/**
 * Of a call that one core or thread encodes; larger, as what a tokenizer does not know yet is
 * encoded in every call that is in hand.
 */
const OWN_CHARACTERS = 262_144;

/**
 * Characters that are encoded before threads are started: about as much as one encodes in the time
 * in which these begin.
 */
const CHARACTERS_ALONE = 1 << 23;

/**
 * Opens encoders that encode on `workers` threads in parallel with this one. With one worker no
 * thread is started, and the tokenizer keeps to one core, with one call in hand. With more the
 * first `alone` characters are encoded before the threads begin: while the caller uses the results
 * of one call or has no other text yet, another keeps the cores busy. Threads then have two calls
 * each.
 */
export function openEncoders(
  tokenizer: Tokenizer,
  workers: number,
  alone = CHARACTERS_ALONE,
): Encoders {
  returnLargeBlocks();
  let total = 0; // characters so far
  let started: EncoderWorker[] = [];
  return {
    get ahead() {
      return workers === 1 ? 0 : Math.max(1, 2 * started.length);
    },
    get characters() {
      return workers === 1 || started.length > 0 ? OWN_CHARACTERS : SHARED_CHARACTERS;
    },
    async encode(texts) {
      if (workers > 1 && total >= alone && started.length === 0) {
        started = Array.from({ length: workers }, () => new EncoderWorker(tokenizer));
      }
      total += texts.reduce((sum, text) => sum + text.length, 0);
      if (started.length === 0) return await tokenizer.encode(texts, workers === 1);
      const free = started.reduce((least, worker) =>
        worker.waiting < least.waiting ? worker : least
      );
      // What an encoder cannot encode this thread cannot either: it says why.
      return await free.encode(texts) ?? await tokenizer.encode(texts);
    },
    async close() {
      await Promise.all(started.map((worker) => worker.close()));
      started = [];
    },
  };
}

/** A thread that encodes. */
class EncoderWorker {
  readonly #worker = new Worker(new URL("./encoder_worker.ts", import.meta.url), {
    type: "module",
  });
  #waiting: PromiseWithResolvers<Answer>[] = [];
  #failure?: Error; // why the thread is at its end

  constructor({ json, eos }: Tokenizer) {
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) =>
      this.#waiting.shift()!.resolve(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = new Error(event.message);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    };
    this.#send({ json, eos });
  }

  /** Calls that are not yet answered. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Encodes texts; null where that fails. Throws where the thread has ended, also before the call.
   */
  async encode(texts: string[]): Promise<Answer> {
    if (this.#failure) throw this.#failure;
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.push(answer);
    this.#send(texts);
    return await answer.promise;
  }

  /** Ends the thread after its last answer: the library's own threads must not outlive it. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#waiting.map(({ promise }) => promise));
    this.#worker.terminate();
  }

  #send(order: EncoderRequest): void {
    this.#worker.postMessage(order);
  }
}

const M_MMAP_THRESHOLD = -3; // of glibc's malloc.h
const LARGE = 128 * 1024; // bytes: where glibc begins

/**
 * Makes the C library give large blocks back to the system as they are freed. glibc raises the size
 * of what it calls large whenever a large block is freed, and keeps all smaller ones. The variable
 * `MALLOC_MMAP_THRESHOLD_` does the same, from the start of the process on, which takes a sixth
 * longer then. Does nothing on other systems.
 */
export function returnLargeBlocks(): void {
  if (Deno.build.os !== "linux") return;
  let glibc;
  try {
    glibc = Deno.dlopen("libc.so.6", { mallopt: { parameters: ["i32", "i32"], result: "i32" } });
  } catch {
    return; // another C library
  }
  glibc.symbols.mallopt(M_MMAP_THRESHOLD, LARGE);
  glibc.close();
}
