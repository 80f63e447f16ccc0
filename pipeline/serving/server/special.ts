/** The special tokens of a tokenizer, and texts in which they are meant as such. */

import { joinTokens } from "../../rows/columns.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";

/** Encodes texts in which special tokens are nothing but text. */
export type Encode = (texts: string[]) => Promise<Uint32Array[]>;

/** The special tokens of a tokenizer, EOS among them. */
export class SpecialTokens {
  readonly #ids = new Map<string, number>();
  readonly #pattern: RegExp;

  /** Takes the tokens from a `tokenizer.json`; `eos` is the text of its EOS. */
  constructor(tokenizer: Tokenizer, readonly eos: string) {
    const { added_tokens: added = [] }: {
      added_tokens?: { id: number; content: string; special: boolean }[];
    } = JSON.parse(tokenizer.json);
    for (const { id, content, special } of added) if (special) this.#ids.set(content, id);
    this.#ids.set(eos, tokenizer.eos);
    this.#pattern = new RegExp(`(${[...this.#ids.keys()].map(RegExp.escape).join("|")})`);
  }

  /** Returns whether a text is nothing but one special token. */
  isOne(text: string): boolean {
    return this.#ids.has(text);
  }

  /** Replaces the special tokens of a text. */
  replace(text: string, replacement: (token: string) => string): string {
    return text.replace(new RegExp(this.#pattern, "g"), replacement);
  }

  /** Encodes a text whose special tokens are meant as such; `encode` encodes what stands between them. */
  async encode(text: string, encode: Encode, shown = (between: string) => between): Promise<Uint32Array> {
    const pieces = text.split(this.#pattern); // texts, with a special token between two
    const between = await encode(pieces.filter((_, i) => i % 2 === 0).map(shown));
    return joinTokens(
      pieces.map((piece, i) => i % 2 === 0 ? between[i / 2] : Uint32Array.of(this.#ids.get(piece)!)),
    );
  }
}
