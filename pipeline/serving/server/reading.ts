/**
 * Turns the texts of requests into ids, and ids into text. Long ones come in pieces, of which one is encoded at a
 * time, in turn for all who ask: so they take little memory, all clients are answered meanwhile, and one who hangs
 * up ends its own.
 */

import { joinTokens } from "../../rows/columns.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { createQueue } from "../queue.ts";
import { badRequest } from "./errors.ts";

/** UTF-16 units of the texts of a request, or ids, beyond which they are long. */
const LONG = 1 << 13;
/** UTF-16 units that are encoded in one go. */
const PIECE = 1 << 16;
/** Most of them where the tokenizer finds no place to cut: the library takes some 300 bytes for each. */
const LONGEST_PIECE = 1 << 20;

/** How texts are read. */
export interface ReadingOptions {
  /** Ends it: the client hung up. */
  signal: AbortSignal;
  /** Gives the most ids that a text may have; asked for where texts are long. Any number unless said. */
  room?: () => Promise<number>;
  /** Whether the texts are parts of one. */
  together?: boolean;
}

/** Reads the texts of requests. */
export interface Reader {
  /**
   * Encodes texts. Throws a 400 for long ones as soon as they surely exceed `room`, and for a word that is too
   * long by itself. Shorter ones are for the caller to check.
   */
  encode(texts: readonly string[], options: ReadingOptions): Promise<Uint32Array[]>;
  /** Decodes the ids of texts. Throws a 400 for long ones that exceed `room`. */
  decode(texts: readonly number[][], options: ReadingOptions): Promise<string[]>;
}

/** Makes a reader with a queue of its own. */
export function createReader(tokenizer: Tokenizer): Reader {
  const inTurn = createQueue();
  return {
    async encode(texts, { signal, room, together = false }) {
      if (sizeOf(texts) <= LONG) return await tokenizer.encode([...texts]);
      const most = await room?.() ?? Infinity;
      const counts = (lengths: number[]) =>
        together ? [lengths.reduce((sum, length) => sum + length)] : lengths;
      const check = (lengths: number[]) => {
        const count = counts(lengths).find((count) => count > most);
        if (count !== undefined) throw tooLong(most, `at least ${count}`);
      };
      const { longest = Infinity } = tokenizer;
      check(texts.map(({ length }) => Math.ceil(length / longest)));
      const found: Uint32Array[][] = texts.map(() => []);
      const lengths = texts.map(() => 0);
      for (const batch of batchesOf(texts, tokenizer)) {
        const encoded = await inTurn(async () => {
          await new Promise((resolve) => setTimeout(resolve)); // others have their turn
          signal.throwIfAborted();
          return await tokenizer.encode(batch.map(({ piece }) => piece));
        });
        batch.forEach(({ text }, i) => {
          found[text].push(encoded[i]);
          lengths[text] += encoded[i].length;
        });
        check(lengths);
      }
      return found.map((parts) => parts.length > 0 ? joinTokens(parts) : new Uint32Array());
    },
    async decode(texts, { signal, room }) {
      if (sizeOf(texts) <= LONG) return await Promise.all(texts.map((ids) => tokenizer.decode(ids)));
      const most = await room?.() ?? Infinity;
      const long = texts.find((ids) => ids.length > most);
      if (long) throw tooLong(most, long.length);
      return await inTurn(async () => {
        const decoded: string[] = [];
        for (const ids of texts) {
          signal.throwIfAborted();
          decoded.push(await tokenizer.decode(ids));
        }
        return decoded;
      });
    },
  };
}

const sizeOf = (texts: readonly { length: number }[]) => texts.reduce((sum, { length }) => sum + length, 0);

/** Says that a prompt does not fit a context. */
export const tooLong = (context: number, count: number | string) =>
  badRequest(
    `Cannot continue a prompt as it must fit the model's context of ${context} tokens: it has ${count}`,
    "context_length_exceeded",
  );

/** Cuts texts into pieces, and gives as many at once as are encoded in one go. */
function* batchesOf(
  texts: readonly string[],
  tokenizer: Tokenizer,
): Generator<{ text: number; piece: string }[]> {
  let [batch, units]: [{ text: number; piece: string }[], number] = [[], 0];
  for (const [text, whole] of texts.entries()) {
    for (const piece of tokenizer.cut?.(whole, PIECE) ?? [whole]) {
      if (piece.length > LONGEST_PIECE) {
        const rule = `at most ${LONGEST_PIECE} characters of it may come without a place to cut it`;
        throw badRequest(`Cannot encode a text as ${rule}: ${piece.length} do`);
      }
      batch.push({ text, piece });
      units += piece.length;
      if (units < PIECE) continue;
      yield batch;
      [batch, units] = [[], 0];
    }
  }
  if (batch.length > 0) yield batch;
}
