/**
 * What every held-out document came to: the sums from which the perplexities and the bootstrap of an evaluation follow. With them, runs
 * that hold out the same text are compared document by document.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import {
  type DocumentColumns,
  fromDocumentBatch,
  readArrow,
  toDocumentBatch,
  writeArrowFile,
  type Written,
} from "../rows/arrow.ts";
import { FORMAT } from "../rows/lineage.ts";
import type { Vouched } from "../run/vouched.ts";
import { TOLD_WAYS, type Way } from "./evaluation.ts";
import type { Routed } from "./routes.ts";
import type { Tables } from "./tables.ts";

/** Held-out documents in the order of their first sequences: id, source, sequences, predicted tokens, and NLL by way, nats. */
export interface DocumentScores extends DocumentColumns {
  nll: Partial<Record<Way, Float64Array>> & Record<string, Float64Array>;
}

/** Takes the sums of documents from full tables. */
export function documentScores(
  { ids, blocks, sources }: Routed,
  { width, columns, byDocument: { sequences, tokens, nll } }: Tables,
): DocumentScores {
  const source: string[] = [];
  for (const block of blocks) {
    block.document.forEach((document, row) => source[document] ??= sources[block.source[row]]);
  }
  const ways = TOLD_WAYS.filter((way) => way in columns);
  return {
    document: BigUint64Array.from(ids),
    source,
    sequences: Uint32Array.from(sequences),
    tokens: Uint32Array.from(tokens),
    nll: Object.fromEntries(
      ways.map((way) => [way, Float64Array.from(ids, (_, i) => nll[i * width + columns[way]!])]),
    ),
  };
}

/** Writes what documents came to as an Arrow file, whole or not at all. */
export async function writeDocumentScores(
  path: string,
  scores: DocumentScores,
  { prefix, experts }: { prefix: number; experts: number },
): Promise<Written> {
  const batch = toDocumentBatch(scores, { format: FORMAT, stage: "evaluate", prefix, experts });
  return await writeArrowFile(path, ReadableStream.from([batch]));
}

/** Reads what documents came to. Throws an `InputError` where the file is missing, damaged, or of another layout. */
export async function readDocumentScores(path: string, vouched?: Vouched): Promise<DocumentScores> {
  const parts: DocumentScores[] = [];
  for await (const batch of readArrow(path, path, vouched)) {
    parts.push(fromDocumentBatch(batch, "mixture", TOLD_WAYS));
  }
  if (parts.length === 1) return parts[0];
  throw new InputError(
    `Cannot read "${path}" as it must hold one batch of documents: it holds ${parts.length}`,
    {
      where: path,
    },
  );
}
