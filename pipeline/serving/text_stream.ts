/** Turns tokens into text as they come: gives out only whole characters, and nothing of a stop text. */

import { InputError } from "../../kernels/errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** The character that decoders write for bytes that are no character, or not yet one. */
const BROKEN = "\uFFFD";

/**
 * Decodes what follows `before`: all pieces together are what decoding everything at once adds to decoding
 * `before`.
 *
 * A token may hold only part of a character, and some decoders treat the first token of a text differently.
 * So a token is decoded together with those since the last but one place where a character ended, and a text
 * that ends in U+FFFD waits (as in Hugging Face's text-generation-inference).
 */
export async function createDetokenizer(tokenizer: Pick<Tokenizer, "decode">, before: ArrayLike<number>) {
  let window = Array.from(before);
  let clean = window.length; // tokens of the window up to the last place where a character ended
  let shown = (await tokenizer.decode(window)).length; // code units of the window's text that were given out
  return {
    /** Takes a token and returns the text since the last text: "" while its last character is incomplete. */
    async push(token: number): Promise<string> {
      window.push(token);
      const text = await tokenizer.decode(window);
      if (text.endsWith(BROKEN)) return "";
      const piece = text.slice(shown);
      window = window.slice(clean);
      clean = window.length;
      shown = (await tokenizer.decode(window)).length;
      return piece;
    },
    /** Returns what is left, with U+FFFD for bytes that never became a character. */
    flush: async (): Promise<string> => (await tokenizer.decode(window)).slice(shown),
  };
}

/**
 * Cuts text before the first of `stops`: the one that is complete first, the longest of those that end together. How the
 * text is cut into pieces makes no difference. Throws an `InputError` for an empty stop text.
 */
export function createStopFilter(stops: readonly string[]) {
  if (stops.includes("")) throw new InputError("Cannot stop at a text as it must not be empty: one is");
  let held = "";
  return {
    /** Takes a piece of text. Returns what may be shown, and whether a stop text is complete, which ends the text. */
    push(text: string): { text: string; stopped: boolean } {
      held += text;
      const found = stops.map((stop) => ({ start: held.indexOf(stop), length: stop.length }))
        .filter(({ start }) => start >= 0)
        .sort((a, b) => a.start + a.length - b.start - b.length || a.start - b.start);
      const stopped = found.length > 0;
      const end = stopped ? found[0].start : held.length - longestBeginning(held, stops);
      const shown = held.slice(0, end);
      held = stopped ? "" : held.slice(end);
      return { text: shown, stopped };
    },
    /** Returns the text that was held back: no stop text came of it. */
    flush: (): string => held,
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
