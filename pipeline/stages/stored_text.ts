/**
 * The text of a run as its tokens hold it: the sequences of a document, joined and decoded. No file
 * of the text is needed, so a derived run has it as well, and a run whose files changed or went.
 *
 * @module
 */

import { type Making, readManifest, TOKENIZER, TOKENIZER_FILE } from "../graph/node.ts";
import { readArrow, type RecordBatch } from "../rows/arrow.ts";
import type { Rows } from "../rows/random_access.ts";
import type { Configuration } from "../settings/configuration.ts";
import { parseBlockId } from "../text/blocks.ts";
import { type Decode, openDecoder } from "../text/decoder.ts";
import type { Side } from "../text/tokenize.ts";
import { indexedBlocks } from "./documents.ts";
import {
  documentColumn,
  DOCUMENTS,
  type NamedRows,
  openNeeded,
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
}

/** The tokens of a document, without what ends it. */
interface StoredTokens extends StoredDocument {
  tokens: Uint16Array | Uint32Array;
}

/** The text of a document. */
interface StoredText extends StoredDocument {
  text: string;
}

/** Rows that are read at once. */
const ROWS = 4096;

/** Names the file of the tokenizer of a run. */
export const tokenizerFile = (run: string): string => `${run}/${TOKENIZER}/${TOKENIZER_FILE}`;

/** Reads the texts of a run, block by block; with `only` those of documents with these ids. */
export async function* readRunText(
  run: string,
  configuration: Pick<Configuration, "packing" | "eos">,
  only?: ReadonlySet<bigint>,
): AsyncGenerator<StoredText> {
  const decode = await openDecoder(tokenizerFile(run), configuration.eos);
  yield* decodeAll(readRunTokens(run, configuration, only), decode);
}

/**
 * Reads the tokens of the documents of a run, block by block and some of them at once: all of them
 * must be read before more are asked for. With `only` those of documents with these ids.
 */
export async function* readRunTokens(
  run: string,
  configuration: Pick<Configuration, "packing">,
  only?: ReadonlySet<bigint>,
): AsyncGenerator<Iterable<StoredTokens>> {
  const wanted = only && new Set([...only].map((document) => Number(document >> 24n)));
  for (const block of await indexedBlocks(run) ?? []) {
    if (wanted && !wanted.has(parseBlockId(block.name))) continue;
    const manifest = (await readManifest(`${run}/${tokensNode(block)}`))!;
    const node = { path: (name: string) => `${run}/${name}`, manifest: () => manifest };
    yield* readStoredTokens(node, block, configuration, only);
  }
}

/** Reads the texts of a block, in the order of its table. */
export const readStoredText = (
  making: Pick<Making, "path" | "manifest">,
  block: NamedRows,
  configuration: Pick<Configuration, "packing">,
  decode: Decode,
): AsyncGenerator<StoredText> => decodeAll(readStoredTokens(making, block, configuration), decode);

async function* decodeAll(
  parts: AsyncIterable<Iterable<StoredTokens>>,
  decode: Decode,
): AsyncGenerator<StoredText> {
  for await (const documents of parts) {
    for (const { document, side, tokens } of documents) {
      yield { document, side, text: await decode(tokens) };
    }
  }
}

async function* readStoredTokens(
  making: Pick<Making, "path" | "manifest">,
  block: NamedRows,
  { packing }: Pick<Configuration, "packing">,
  only?: ReadonlySet<bigint>,
): AsyncGenerator<Iterable<StoredTokens>> {
  const need = tokensNode(block);
  using train = await openNeeded(making, [{ need, file: TRAIN }]);
  using test = await openNeeded(making, [{ need, file: TEST }]);
  const streams = { train: new TokenStream(train), test: new TokenStream(test) };
  const takeTokens = function* (batch: RecordBatch): Generator<StoredTokens> {
    const ids = documentColumn(batch, "document");
    const sides = documentColumn(batch, "side");
    const counts = documentColumn(batch, "tokens");
    for (let row = 0; row < batch.numRows; row++) {
      const side = sides[row];
      const tokens = streams[side].take(counts[row], packing);
      if (only && !only.has(ids[row])) continue;
      yield { document: ids[row], side, tokens };
    }
  };
  for await (const batch of readArrow(`${making.path(need)}/${DOCUMENTS}`)) {
    yield takeTokens(batch);
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

  /**
   * Takes the tokens of a document of so many, as far as sequences hold them, without the last one,
   * which ends it.
   */
  take(tokens: number, packing: Configuration["packing"]): Uint16Array | Uint32Array {
    const { sequenceLength = tokens } = this.rows.lineage ?? {};
    const isCut = this.#hasPrompts; // a pair is one sequence
    const lacksTail = packing === "document" && tokens % sequenceLength === 1; // one token alone
    const wanted = isCut ? Math.min(tokens, sequenceLength) : tokens - Number(lacksTail);
    while (this.#tokens.length - this.#at < wanted && this.#row < this.rows.count) this.#read();
    const start = this.#at;
    this.#at += wanted;
    return this.#tokens.subarray(start, start + Math.min(wanted, tokens - 1));
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
