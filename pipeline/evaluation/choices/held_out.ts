/** Reads the text of held-out token rows, on which no model of the run was trained. */

import { checkLineage } from "../../rows/lineage.ts";

import { fromBatch, originOf, type RecordBatch } from "../../rows/arrow.ts";
import type { Document } from "../../text/readers.ts";
import type { Packing } from "../../text/tokenize.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";

/** A held-out document. */
export interface HeldOutDocument extends Omit<Document, "tokens"> {
  /** Number of its tokens. */
  tokens: number;
}

/** Characters that are read, at most: enough for many times the questions that are made of them. */
const MOST_CHARACTERS = 4e6;

/**
 * Yields the documents of token rows, in their order, up to some four million characters. A document ends
 * with EOS; where sequences never cross documents, it ends with its last row. Throws an `InputError` where
 * rows are of another tokenizer.
 */
export async function* heldOutDocuments(
  batches: AsyncIterable<RecordBatch>,
  tokenizer: Tokenizer,
  packing: Packing,
): AsyncGenerator<HeldOutDocument> {
  const { eos, sha256, vocabulary } = tokenizer;
  let ids: number[] = [];
  let open: { document: bigint; source: string } | undefined;
  let given = 0;
  const close = async function* (): AsyncGenerator<HeldOutDocument> {
    const tokens = ids.length;
    const text = tokens > 0 ? await tokenizer.decode(ids) : "";
    ids = [];
    given += text.length;
    if (text !== "") yield { text, source: open!.source, tokens };
  };
  for await (const batch of batches) {
    const where = originOf(batch);
    checkLineage(batch, { tokenizer: sha256, vocabulary }, "the tokenizer");
    const { rows, sequence, document = sequence, source, tokens, length } = fromBatch(batch, where);
    if (rows === 0) continue;
    const stride = tokens!.length / rows;
    for (let row = 0; row < rows; row++) {
      if (packing === "document" && open && open.document !== document[row]) yield* close();
      open = { document: document[row], source: source?.[row] ?? "" };
      for (const id of tokens!.subarray(row * stride, row * stride + length[row])) {
        if (id === eos) yield* close();
        else ids.push(id);
      }
      if (given >= MOST_CHARACTERS) return;
    }
  }
  yield* close();
}
