/**
 * The text of a run as its tokens hold it: the sequences of a document, joined and decoded. No file
 * of the text is needed, so a derived run has it as well, and a run whose files changed or went.
 *
 * @module
 */

import { type Making, readManifest, TOKENIZER, TOKENIZER_FILE } from "../graph/node.ts";
import type { Rows } from "../rows/random_access.ts";
import type { Configuration } from "../settings/configuration.ts";
import { parseBlockId } from "../text/blocks.ts";
import { type Decode, openDecoder } from "../text/decoder.ts";
import type { Side } from "../text/tokenize.ts";
import { indexedBlocks } from "./documents.ts";
import {
  DOCUMENTS,
  type NamedRows,
  openNeeded,
  readDocumentRows,
  TEST,
  tokensNode,
  TRAIN,
} from "./token_rows.ts";

/** A document as its tokens hold it. */
interface StoredDocument {
  /** Its id. */
  document: bigint;
  /** The side of the split that it is on. */
  side: Side;
  /** Its text, without what ends it. */
  text: string;
}

/** Rows that are read at once. */
const ROWS = 4096;

/** Reads the documents of a run, block by block; with `only` those with these ids. */
export async function* readRunText(
  run: string,
  configuration: Pick<Configuration, "packing" | "eos">,
  only?: ReadonlySet<bigint>,
): AsyncGenerator<StoredDocument> {
  const decode = await openDecoder(`${run}/${TOKENIZER}/${TOKENIZER_FILE}`, configuration.eos);
  const wanted = only && new Set([...only].map((document) => Number(document >> 24n)));
  for (const block of await indexedBlocks(run) ?? []) {
    if (wanted && !wanted.has(parseBlockId(block.name))) continue;
    const manifest = (await readManifest(`${run}/${tokensNode(block)}`))!;
    const node = { path: (name: string) => `${run}/${name}`, manifest: () => manifest };
    yield* readStoredText(node, block, configuration, decode, only);
  }
}

/** Reads the documents of a block, in the order of its table; with `only` those with these ids. */
export async function* readStoredText(
  making: Pick<Making, "path" | "manifest">,
  block: NamedRows,
  { packing }: Pick<Configuration, "packing">,
  decode: Decode,
  only?: ReadonlySet<bigint>,
): AsyncGenerator<StoredDocument> {
  const need = tokensNode(block);
  using train = await openNeeded(making, [{ need, file: TRAIN }]);
  using test = await openNeeded(making, [{ need, file: TEST }]);
  const streams = { train: new TokenStream(train), test: new TokenStream(test) };
  const table = `${making.path(need)}/${DOCUMENTS}`;
  for await (const row of readDocumentRows(table, ["document", "side", "tokens"])) {
    const { document, side, tokens } = row;
    const ids = streams[side].take(tokens, packing);
    if (only && !only.has(document)) continue;
    const text = ids.subarray(0, tokens - 1); // the last one ends it
    yield { document, side, text: await decode(text) };
  }
}

/** The tokens of one side of a block, one document after another. */
class TokenStream {
  readonly #hasPrompts: boolean;
  #row = 0; // the first one that is not read yet
  #tokens: Uint16Array | Uint32Array = new Uint16Array();
  #at = 0;

  constructor(private readonly rows: Rows) {
    this.#hasPrompts = rows.has("begin");
  }

  /** Takes the tokens of a document of so many, as far as sequences hold them. */
  take(tokens: number, packing: Configuration["packing"]): Uint16Array | Uint32Array {
    const { sequenceLength = tokens } = this.rows.lineage ?? {};
    const isCut = this.#hasPrompts; // a pair is one sequence
    const lacksTail = packing === "document" && tokens % sequenceLength === 1; // one token alone
    const wanted = isCut ? Math.min(tokens, sequenceLength) : tokens - Number(lacksTail);
    while (this.#tokens.length - this.#at < wanted && this.#row < this.rows.count) this.#read();
    return this.#tokens.subarray(this.#at, this.#at += wanted);
  }

  #read(): void {
    const numbers = this.rows.numbers(this.#row, this.#row + ROWS);
    const { tokens, length } = this.rows.read(numbers, ["tokens", "length"]);
    this.#row += numbers.length;
    const width = tokens.length / Math.max(1, numbers.length);
    const unread = this.#tokens.subarray(this.#at);
    const Type = tokens instanceof Uint16Array ? Uint16Array : Uint32Array;
    const joined = new Type(unread.length + length.reduce((sum, rowLength) => sum + rowLength, 0));
    joined.set(unread);
    let end = unread.length;
    for (let row = 0; row < length.length; row++) {
      const start = row * width;
      joined.set(tokens.subarray(start, start + length[row]), end);
      end += length[row];
    }
    this.#tokens = joined;
    this.#at = 0;
  }
}
