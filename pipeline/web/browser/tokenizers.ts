/**
 * The calls of the native tokenizers library that the pipeline makes, answered by the same
 * authors' library in plain JavaScript, which runs in a browser.
 *
 * @module
 */

import { Tokenizer as Plain } from "@huggingface/tokenizers";

/** What an encoded text is asked for. */
interface Encoding {
  getIds(): Uint32Array;
}

/** A tokenizer, as the native library offers it. */
class BrowserTokenizer {
  readonly #plain: Plain;

  private constructor(json: string) {
    this.#plain = new Plain(JSON.parse(json), {});
  }

  static fromString(json: string): BrowserTokenizer {
    return new BrowserTokenizer(json);
  }

  disableTruncation(): void {}

  disablePadding(): void {}

  encode(text: string, _pair: null, options: { addSpecialTokens: boolean }): Promise<Encoding> {
    const { ids } = this.#plain.encode(text, { add_special_tokens: options.addSpecialTokens });
    return Promise.resolve({ getIds: () => Uint32Array.from(ids) });
  }

  encodeBatch(texts: string[], options: { addSpecialTokens: boolean }): Promise<Encoding[]> {
    return Promise.all(texts.map((text) => this.encode(text, null, options)));
  }

  decode(ids: number[], skipSpecialTokens: boolean): Promise<string> {
    const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: false };
    return Promise.resolve(ids.length === 0 ? "" : this.#plain.decode(ids, options));
  }

  idToToken(id: number): string | null {
    return this.#plain.id_to_token(id) ?? null;
  }

  getVocab(withAdded: boolean): Record<string, number> {
    return Object.fromEntries(this.#plain.get_vocab(withAdded));
  }

  tokenToId(token: string): number | null {
    return this.#plain.token_to_id(token) ?? null;
  }
}

// The native library has this name for it.
export { BrowserTokenizer as Tokenizer };
