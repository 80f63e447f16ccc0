/**
 * Reads rows of a shard with their text, for people.
 *
 * @module
 */

import { fromBatch, readArrow } from "../rows/arrow.ts";
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
  /** Prefix NLL per router, nats. */
  nll?: number[];
  /** Expert that it is assigned to. */
  expert?: number;
  /** Decoded tokens, padding left out. */
  text?: string;
}

/** Yields the rows of an Arrow file or stream, with text where it has tokens and there is a tokenizer. */
export async function* showRows(
  input: string | ReadableStream<Uint8Array>,
  tokenizer?: Tokenizer,
): AsyncGenerator<ShownRow> {
  for await (const batch of readArrow(input)) {
    const { rows, sequence, document, source, length, nll, expert, tokens } = fromBatch(batch);
    for (let row = 0; row < rows; row++) {
      const part = <Values extends { length: number; subarray(a: number, b: number): Values }>(
        values: Values,
      ): Values => values.subarray(row * values.length / rows, (row + 1) * values.length / rows);
      yield {
        sequence: String(sequence[row]),
        document: document && String(document[row]),
        source: source?.[row],
        length: length[row],
        nll: nll && [...part(nll)],
        expert: expert?.[row],
        text: tokens && await tokenizer?.decode(part(tokens as Uint32Array).subarray(0, length[row])),
      };
    }
  }
}
