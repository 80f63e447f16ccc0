/**
 * Turns the texts of requests into ids, and ids into text. Long ones come in pieces, of which one is encoded at a
 * time, in turn for all who ask: so they take little memory, all clients are answered meanwhile, and one who hangs
 * up ends its own.
 */

import { joinTokens } from "../../rows/columns.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { createQueue } from "../queue.ts";
import { badRequest } from "./errors.ts";

/** UTF-16 units of texts, or ids, beyond which they are long. */
const LONG = 1 << 13;
/** UTF-16 units that are encoded in one go. */
const PIECE = 1 << 16;
/** Most of them where the tokenizer finds no place to cut: the library takes some 300 bytes for each. */
const LONGEST_PIECE = 1 << 20;

/** Reads the texts of requests. Their `signal` ends the work: the client hung up. */
export class TextReader {
  readonly #inTurn = createQueue();

  /** Reads with a tokenizer. */
  constructor(private readonly tokenizer: Tokenizer) {}

  /** Encodes texts. Throws a 400 for a word that is too long by itself. */
  async encode(texts: readonly string[], { signal }: { signal: AbortSignal }): Promise<Uint32Array[]> {
    const isShort = texts.reduce((sum, { length }) => sum + length, 0) <= LONG;
    if (isShort) return await this.tokenizer.encode([...texts]);
    return await Promise.all(texts.map((text) => this.#encode(text, signal)));
  }

  /** Decodes the ids of texts. */
  async decode(texts: readonly number[][], { signal }: { signal: AbortSignal }): Promise<string[]> {
    return await Promise.all(texts.map((ids) => {
      const decode = () => this.tokenizer.decode(ids);
      return ids.length <= LONG ? decode() : this.#take(decode, signal);
    }));
  }

  async #encode(text: string, signal: AbortSignal): Promise<Uint32Array> {
    if (text.length <= LONG) return (await this.tokenizer.encode([text]))[0];
    const ids: Uint32Array[] = [];
    for (const piece of this.tokenizer.cut?.(text, PIECE) ?? [text]) {
      if (piece.length > LONGEST_PIECE) {
        const rule = `at most ${LONGEST_PIECE} characters of it may come without a place to cut it`;
        throw badRequest(`Cannot encode a text as ${rule}: ${piece.length} do`);
      }
      ids.push(...await this.#take(() => this.tokenizer.encode([piece]), signal));
    }
    return joinTokens(ids);
  }

  #take<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    return this.#inTurn(async () => {
      await new Promise((resolve) => setTimeout(resolve)); // others have their turn
      signal.throwIfAborted();
      return await work();
    });
  }
}
