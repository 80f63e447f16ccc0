/**
 * Turns tokens into text as they come: gives out only whole characters, and nothing of a stop text.
 */

import { InputError } from "../../kernels/errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

// The character that decoders write for bytes that are no character, or not yet one.
const BROKEN = "\uFFFD";

/** The texts of tokens; each is read once. */
export class TokenTexts {
  readonly #texts = new Map<number, Promise<string>>();
  // Some decoders treat a first token in a way of their own.
  #anchor: Promise<{ ids: Uint32Array; length: number }> | undefined;

  constructor(private readonly tokenizer: Pick<Tokenizer, "encode" | "decode">) {}

  /** Gives the text of a token; U+FFFD stands for bytes that are no character by themselves. */
  text(id: number): Promise<string> {
    return this.#texts.getOrInsertComputed(id, () => this.#read([id]));
  }

  /**
   * Spells tokens as they come. A token may hold only part of a character, so a text that ends in
   * U+FFFD waits for the next token.
   */
  speller() {
    let held: number[] = [];
    return {
      /**
       * Takes a token and returns the text since the last text: "" while its last character is
       * incomplete.
       */
      push: async (token: number): Promise<string> => {
        held.push(token);
        const text = held.length === 1 ? await this.text(token) : await this.#read(held);
        if (text.endsWith(BROKEN)) return "";
        held = [];
        return text;
      },
      /** Returns what is left, with U+FFFD for bytes that never became a character. */
      flush: async (): Promise<string> => held.length === 0 ? "" : await this.#read(held),
    };
  }

  /**
   * Gives the place of every token in the text that they spell, in code units; tokens of one
   * character share its place.
   */
  async offsets(ids: Iterable<number>): Promise<number[]> {
    const speller = this.speller();
    const offsets: number[] = [];
    let end = 0;
    for (const id of ids) {
      offsets.push(end);
      end += (await speller.push(id)).length;
    }
    return offsets;
  }

  async #read(ids: readonly number[]): Promise<string> {
    this.#anchor ??= this.tokenizer.encode(["a"]).then(async ([ids]) => ({
      ids,
      length: (await this.tokenizer.decode(ids)).length,
    }));
    const { ids: anchor, length } = await this.#anchor;
    return (await this.tokenizer.decode([...anchor, ...ids])).slice(length);
  }
}

/**
 * Cuts text before the first of `stops`: the one that is complete first, the longest of those that
 * end together. How the text is cut into pieces makes no difference. Throws an `InputError` for an
 * empty stop text.
 */
export function createStopFilter(stops: readonly string[]) {
  if (stops.includes("")) {
    throw new InputError("Cannot stop at a text as it must not be empty: one is");
  }
  let held = "";
  return {
    /**
     * Takes a piece of text. Returns what may be shown, and whether a stop text is complete, which
     * ends the text.
     */
    push(text: string): { text: string; stopped: boolean } {
      held += text;
      const matches = stops.map((stop) => ({ start: held.indexOf(stop), length: stop.length }))
        .filter(({ start }) => start >= 0)
        .sort((a, b) => a.start + a.length - b.start - b.length || a.start - b.start);
      const stopped = matches.length > 0;
      const end = stopped ? matches[0].start : held.length - longestBeginning(held, stops);
      const shown = held.slice(0, end);
      held = stopped ? "" : held.slice(end);
      return { text: shown, stopped };
    },
    flush: (): string => held, // returns the text that was held back: no stop text came of it
  };
}

/** Returns how much of the end of `text` is the beginning of a stop text. */
function longestBeginning(text: string, stops: readonly string[]): number {
  const most = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(most, text.length); length > 0; length--) {
    const end = text.slice(-length);
    if (stops.some((stop) => stop.length > length && stop.startsWith(end))) return length;
  }
  return 0;
}
