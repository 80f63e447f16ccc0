/**
 * Turns what requests say into ids, and ids into text. Long texts come in pieces, of which one is
 * encoded at a time, in turn for all who ask: so they take little memory, all clients are answered
 * meanwhile, and one who hangs up ends its own. Conversations become texts by the tokenizer's
 * template or as they are.
 */

import { Template } from "@huggingface/jinja";
import { joinTokens } from "../../rows/columns.ts";
import { oneLine, unreadable } from "../../graph/files.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { createQueue } from "../engine.ts";
import { badRequest, ensureAsked } from "./errors.ts";

const LONG = 1 << 13; // UTF-16 units of texts, or ids, beyond which they are long
const PIECE = 1 << 15; // UTF-16 units that are encoded in one go
/**
 * Most of them where the tokenizer finds no place to cut: the library takes some 300 bytes for
 * each, and all others wait while these are freed.
 */
const LONGEST_PIECE = 1 << 16;

/** Reads the texts of requests. Their `signal` ends the work: the client hung up. */
export class TextReader {
  readonly #inTurn = createQueue();

  constructor(private readonly tokenizer: Tokenizer) {}

  /** Encodes texts. Throws a 400 for a word that is too long by itself. */
  async encode(
    texts: readonly string[],
    { signal }: { signal: AbortSignal },
  ): Promise<Uint32Array[]> {
    const isShort = texts.reduce((sum, { length }) => sum + length, 0) <= LONG;
    if (isShort) return await this.tokenizer.encode([...texts]);
    return await Promise.all(texts.map((text) => this.#encode(text, signal)));
  }

  /** Decodes the ids of texts. Throws a 400 for one that the tokenizer lacks. */
  async decode(texts: readonly number[][], { signal }: { signal: AbortSignal }): Promise<string[]> {
    const { vocabulary } = this.tokenizer;
    const [foreign] = texts.flatMap((ids) => ids.find((id) => id >= vocabulary) ?? []);
    const rule = `they must be below the tokenizer's ${vocabulary}: one is ${foreign}`;
    ensureAsked(foreign === undefined, `Cannot read ids as ${rule}`);
    return await Promise.all(texts.map((ids) => {
      const decode = () => this.tokenizer.decode(ids);
      return ids.length <= LONG ? decode() : this.#take(decode, signal);
    }));
  }

  async #encode(text: string, signal: AbortSignal): Promise<Uint32Array> {
    if (text.length <= LONG) return (await this.tokenizer.encode([text]))[0];
    const ids: Uint32Array[] = [];
    for (const piece of this.tokenizer.cut?.(text, PIECE) ?? [text]) {
      const rule = `at most ${LONGEST_PIECE} characters of it may come without a place to cut it`;
      ensureAsked(
        piece.length <= LONGEST_PIECE,
        `Cannot encode a text as ${rule}: ${piece.length} do`,
      );
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

/** Encodes texts in which special tokens are nothing but text. */
type Encode = (texts: string[]) => Promise<Uint32Array[]>;

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

  /**
   * Encodes a text whose special tokens are meant as such; `encode` encodes what stands between
   * them.
   */
  async encode(
    text: string,
    encode: Encode,
    shown = (between: string) => between,
  ): Promise<Uint32Array> {
    const pieces = text.split(this.#pattern); // texts, with a special token between two
    const between = await encode(pieces.filter((_, i) => i % 2 === 0).map(shown));
    return joinTokens(
      pieces.map((piece, i) =>
        i % 2 === 0 ? between[i / 2] : Uint32Array.of(this.#ids.get(piece)!)
      ),
    );
  }
}

/** How conversations become prompts. */
export interface ChatTemplate {
  name: string; // what answers say of it
  /** Gives the ids of a conversation's prompt; `encode` encodes the texts that it consists of. */
  encode(
    messages: readonly Record<"role" | "content", string>[],
    encode: Encode,
  ): Promise<Uint32Array>;
}

/** Joins the contents of messages by line breaks: what a tokenizer without a template gets. */
export const PLAIN: ChatTemplate = {
  name: "none: contents joined by line breaks",
  encode: async (messages, encode) =>
    (await encode([messages.map(({ content }) => content).join("\n")]))[0],
};

/**
 * Renders a Jinja template, as Hugging Face's `chat_template` is; what messages spell never becomes
 * a special token. Throws an `InputError` about the file `where` it stands if it is none; a
 * conversation that it refuses is a 400.
 */
export function jinjaTemplate(source: string, special: SpecialTokens, where: string): ChatTemplate {
  const template = parse(source, where);
  return {
    name: "the tokenizer's",
    async encode(messages, encode) {
      // Special tokens that stand in messages, which the template shall not see.
      const spelled: string[] = [];
      const hide = (text: string) =>
        special.replace(text, (token) => `\uE000${spelled.push(token) - 1}\uE001`);
      const show = (text: string) =>
        text.replace(/\uE000(\d+)\uE001/g, (whole, i) => spelled[Number(i)] ?? whole);
      const context = {
        messages: messages.map(({ role, content }) => ({
          role: hide(role),
          content: hide(content),
        })),
        add_generation_prompt: true,
        eos_token: special.eos,
        bos_token: special.eos,
      };
      let text: string;
      try {
        text = template.render(context);
      } catch (error) {
        const fact = `it reports "${oneLine(error)}"`;
        throw badRequest(`Cannot answer as the chat template must take the messages: ${fact}`);
      }
      return await special.encode(text, encode, show);
    },
  };
}

function parse(source: string, where: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw unreadable(`"${where}"`, "its chat_template must be a Jinja template", oneLine(cause), {
      where,
      remedy: "mend it, or leave it out to join messages as text",
      cause,
    });
  }
}
