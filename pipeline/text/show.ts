/**
 * Reads rows of a shard with their text, for people.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { fromBatch, readArrow } from "../rows/arrow.ts";
import { sliceColumns } from "../rows/columns.ts";
import { readLineage } from "../rows/lineage.ts";
import { shortHash } from "../graph/files.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One row of a shard. */
export interface ShownRow {
  /** Id of the sequence; a string, as it has 64 bits. */
  sequence: string;
  /** Id of the document. */
  document?: string;
  /** Source, "" if none. */
  source?: string;
  /** Real tokens. */
  length: number;
  /** Prefix NLL per router, nats, or what the sequence costs every expert. */
  nll?: number[];
  /** What a cost is, where it is no NLL. */
  costs?: string;
  /** Expert that it is assigned to. */
  expert?: number;
  /** Decoded tokens, padding left out. */
  text?: string;
}

/**
 * Yields the rows of an Arrow file or stream, with text where it has tokens and there is a
 * tokenizer. Where another tokenizer made the rows, they have no text and `onOther` is called once;
 * without it an `InputError` is thrown.
 */
export async function* showRows(
  input: string | ReadableStream<Uint8Array>,
  tokenizer?: Tokenizer,
  onOther?: () => void,
): AsyncGenerator<ShownRow> {
  for await (const batch of readArrow(input)) {
    const columns = fromBatch(batch);
    const { costs, tokenizer: rowTokenizer } = readLineage(batch) ?? {};
    if (
      tokenizer && columns.tokens && rowTokenizer !== undefined && rowTokenizer !== tokenizer.sha256
    ) {
      if (!onOther) {
        const rowsName = typeof input === "string" ? `"${input}"` : "these rows";
        const fact = `it is ${shortHash(tokenizer.sha256)}, that one is ${shortHash(rowTokenizer)}`;
        throw new InputError(
          `Cannot show the text of ${rowsName} as its tokenizer must be the one that made it: ` +
            fact,
          { remedy: say`name the tokenizer.json of its run with ${setting("tokenizer")}` },
        );
      }
      onOther();
      tokenizer = undefined;
    }
    for (let row = 0; row < columns.rows; row++) {
      const { sequence, document, source, length, nll, expert, tokens } = sliceColumns(
        columns,
        row,
        row + 1,
      );
      yield {
        sequence: String(sequence[0]),
        document: document && String(document[0]),
        source: source?.[0],
        length: length[0],
        nll: nll && [...nll],
        ...costs === undefined ? {} : { costs },
        expert: expert?.[0],
        text: tokens && await tokenizer?.decode(tokens.subarray(0, length[0])),
      };
    }
  }
}
