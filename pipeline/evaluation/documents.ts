/**
 * What every held-out document came to: the sums from which the perplexities and the bootstrap of an evaluation follow. With them, runs
 * that hold out the same text are compared document by document.
 *
 * @module
 */

import { columnNames, needColumn, readArrow, toTable, writeArrowFile } from "../rows/arrow.ts";
import { doubles, integers, strings } from "../rows/column_values.ts";
import { FORMAT } from "../rows/lineage.ts";
import { type FileRecord, unreadable } from "../run/files.ts";
import type { Drawing } from "./bootstrap.ts";
import { type Evaluation, SHOWN_WAYS, type Way } from "./evaluation.ts";
import type { Routed } from "./routes.ts";
import { computeFigures, type Sums } from "./tables.ts";

/**
 * What held-out documents came to, a row per document in the order of their first sequences `[rows]`: ids, label of the first sequence,
 * sequences, predicted tokens, and the NLL by way, nats; the mixture's is always there.
 */
export type DocumentScores = {
  document: BigUint64Array;
  source: string[];
  sequences: Uint32Array;
  tokens: Uint32Array;
  nll: Partial<Record<Way, Float64Array>> & { mixture: Float64Array };
};

/** Takes the sums of documents by way of answering. */
export function scoresOfDocuments(
  { documents, sources }: Routed,
  { sequences, tokens, nll }: Sums,
): DocumentScores {
  const ways = SHOWN_WAYS.filter((way) => way in nll).map((way) => [way, nll[way]]);
  return {
    document: BigUint64Array.from(documents, ({ id }) => id),
    source: documents.map(({ source }) => sources[source]),
    sequences: Uint32Array.from(sequences),
    tokens: Uint32Array.from(tokens),
    nll: Object.fromEntries(ways),
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

/** Reads what documents came to. Throws an `InputError` where the file is missing, damaged, or of another layout. */
export async function readDocumentScores(path: string): Promise<DocumentScores> {
  const [batch, ...others] = await Array.fromAsync(readArrow(path, path));
  if (!batch || others.length > 0) {
    throw unreadable(path, "it must hold one batch of documents", `it holds ${batch ? "more" : "none"}`);
  }
  const column = (name: string) => needColumn(batch, name);
  const there = columnNames(batch),
    ways = SHOWN_WAYS.filter((way) => way === "mixture" || there.includes(way));
  return {
    document: integers(column("document"), BigUint64Array),
    source: strings(column("source")),
    sequences: integers(column("sequences"), Uint32Array),
    tokens: integers(column("tokens"), Uint32Array),
    nll: Object.fromEntries(ways.map((way) => [way, doubles(column(way))])) as DocumentScores["nll"],
  };
}

/** What some held-out documents come to, and their number. */
export type SomeFigures = Pick<Evaluation, "scores" | "gains"> & { documents: number };

/** Computes the figures of those documents whose ids are wanted; undefined where there is none. */
export async function figuresOn(
  { document, tokens, nll }: DocumentScores,
  isWanted: (id: bigint) => boolean,
  drawing: Drawing,
): Promise<SomeFigures | undefined> {
  const isKept = (_: unknown, row: number) => isWanted(document[row]);
  const kept = Object.fromEntries(Object.entries(nll).map(([way, values]) => [way, values.filter(isKept)]));
  const documents = kept.mixture.length;
  if (documents === 0) return undefined;
  const all = { tokens: Float64Array.from(tokens.filter(isKept)), nll: kept };
  const { score, gains } = await computeFigures(all, drawing);
  const scores = Object.fromEntries(Object.keys(kept).map((way) => [way, score(way)]));
  return { documents, scores, gains: gains("mixture") };
}
