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
  const ways = SHOWN_WAYS.filter((way) => way in nll);
  return {
    document: BigUint64Array.from(documents, ({ id }) => id),
    source: documents.map(({ source }) => sources[source]),
    sequences: Uint32Array.from(sequences),
    tokens: Uint32Array.from(tokens),
    nll: Object.fromEntries(ways.map((way) => [way, nll[way]])) as DocumentScores["nll"],
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
export async function readDocumentScores(path: string): Promise<DocumentScores> {
  const [batch, ...others] = await Array.fromAsync(readArrow(path, path));
  if (!batch || others.length > 0) {
    throw unreadable(path, "it must hold one batch of documents", `it holds ${batch ? "more" : "none"}`);
  }
  const column = (name: string) => needColumn(batch, name);
  const there = columnNames(batch);
  const ways = SHOWN_WAYS.filter((way) => way === "mixture" || there.includes(way));
  const counts = {
    sequences: integers(column("sequences"), Uint32Array),
    tokens: integers(column("tokens"), Uint32Array),
  };
  const nll = Object.fromEntries(ways.map((way) => [way, doubles(column(way))])) as DocumentScores["nll"];
  for (const [name, values] of Object.entries({ ...counts, ...nll })) {
    const least = name in counts ? 1 : 0;
    const row = values.findIndex((value) => !(value >= least && value < Infinity));
    if (row < 0) continue;
    const rule = `column "${name}" must be finite and at least ${least}`;
    throw unreadable(`${path}, row ${row},`, rule, `it is ${values[row]}`);
  }
  const document = integers(column("document"), BigUint64Array);
  return { document, source: strings(column("source")), ...counts, nll };
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
  const { score, gains } = await computeFigures(
    { tokens: Float64Array.from(tokens.filter(isKept)), nll: kept },
    drawing,
  );
  const scores = Object.fromEntries(Object.keys(kept).map((way) => [way, score(way)]));
  return { documents, scores, gains: gains("mixture") };
}
