/**
 * What every held-out document came to: the sums from which the perplexities and the bootstrap of an evaluation follow. With them, runs
 * that hold out the same text are compared document by document.
 *
 * @module
 */

import { columnNames, columnOf, readArrow, toTable, writeArrowFile } from "../rows/arrow.ts";
import { doubles, integers, strings } from "../rows/column_values.ts";
import { FORMAT } from "../rows/lineage.ts";
import { type FileRecord, unreadable } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import { TOLD_WAYS, type Way } from "./evaluation.ts";
import type { Routed } from "./routes.ts";
import type { Tables } from "./tables.ts";

/** What held-out documents came to, a row per document in the order of their first sequences `[rows]`. */
export interface DocumentScores {
  /** Ids. */
  document: BigUint64Array;
  /** Label of the first sequence of each. */
  source: string[];
  /** Sequences of each. */
  sequences: Uint32Array;
  /** Predicted tokens of each. */
  tokens: Uint32Array;
  /** NLL of each by way, nats; the mixture's is always there. */
  nll: Partial<Record<Way, Float64Array>> & { mixture: Float64Array };
}

/** Takes the sums of documents from full tables. */
export function scoresOfDocuments(
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
    ) as DocumentScores["nll"],
  };
}

/** Writes what documents came to as an Arrow file, whole or not at all. */
export async function writeDocumentScores(
  path: string,
  { nll, ...scores }: DocumentScores,
  { prefix, experts }: { prefix: number; experts: number },
): Promise<FileRecord> {
  const batch = toTable({ ...scores, ...nll }, { format: FORMAT, stage: "evaluate", prefix, experts });
  const { bytes, sha256 } = await writeArrowFile(path, ReadableStream.from([batch]));
  return { bytes, sha256 };
}

/**
 * Reads what documents came to. Throws an `InputError` where the file is missing, damaged, of another layout, or holds values that
 * cannot be.
 */
export async function readDocumentScores(path: string, vouched?: Vouched): Promise<DocumentScores> {
  const parts: DocumentScores[] = [];
  for await (const batch of readArrow(path, path, vouched)) {
    const of = (name: string) => columnOf(batch, name);
    const ways = TOLD_WAYS.filter((way) => way === "mixture" || columnNames(batch).includes(way));
    parts.push({
      document: integers(of("document"), BigUint64Array),
      source: strings(of("source")),
      sequences: integers(of("sequences"), Uint32Array),
      tokens: integers(of("tokens"), Uint32Array),
      nll: Object.fromEntries(ways.map((way) => [way, doubles(of(way))])) as DocumentScores["nll"],
    });
  }
  const scores = parts[0];
  if (parts.length !== 1 || scores.document.length === 0) {
    const rows = parts.reduce((sum, { document }) => sum + document.length, 0);
    const fact = `it holds ${parts.length} of ${rows} documents`;
    throw unreadable(path, "it must hold one batch of documents", fact);
  }
  for (const [name, counts] of [["sequences", scores.sequences], ["tokens", scores.tokens]] as const) {
    const row = counts.indexOf(0);
    if (row >= 0) throw unreadable(`${path}, row ${row},`, `column "${name}" must be at least 1`, "it is 0");
  }
  for (const [way, nll] of Object.entries(scores.nll)) {
    const row = nll.findIndex((value) => !(value >= 0 && value < Infinity));
    if (row < 0) continue;
    throw unreadable(
      `${path}, row ${row},`,
      `column "${way}" must be finite and not negative`,
      `it is ${nll[row]}`,
    );
  }
  return scores;
}
