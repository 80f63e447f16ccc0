/**
 * The sums of an evaluation, a named column for every way of answering, and the figures that follow
 * from them. The sums of documents are kept: with them, runs that hold out the same text are
 * compared document by document.
 *
 * @module
 */

import { columnNames, needColumn, readArrow, toTable, writeArrowFile } from "../rows/arrow.ts";
import { readDoubles, readIntegers, readStrings } from "../rows/column_values.ts";
import { FORMAT } from "../rows/lineage.ts";
import { type FileRecord, unreadable } from "../graph/files.ts";
import { BASELINES } from "./baselines.ts";
import { type Documents, drawEstimates, type Drawing } from "./bootstrap.ts";
import {
  bitsPerByte,
  type Evaluation,
  type Gain,
  type Lower,
  type Score,
  SHOWN_WAYS,
  type Way,
  WAYS,
} from "./evaluation.ts";
import type { Routed, Routes } from "./passes.ts";

/** Sums over the sequences of each group: of a document, a source or a segment. */
interface Sums extends Documents {
  /** Sequences `[groups]`. */
  sequences: Float64Array;
  /** Bytes that the predicted tokens stand for `[groups]`; 0 where that is not known. */
  bytes: Float64Array;
}

/** Sums by column: by document, by source, and by segment, the expert that M tokens choose. */
export interface SumTable extends Record<"document" | "source" | "segment", Sums> {
  /** Adds the NLL of every sequence to a column, which begins at 0. */
  add(column: string, nll: (row: number) => number): void;
}

/** Names the column of the mixture where so many tokens route. */
export const prefixColumn = (prefix: number): string => `mixture by ${prefix} tokens`;

/** Makes a table for routed sequences. Sequences and tokens are counted; there is no column yet. */
export function createTable(
  { predicted, bytes, document, source, documents, sources, routes }: Routed,
  { prefix, experts }: { prefix: number; experts: number },
): SumTable {
  const groupings = [document, source, routes.get(prefix)!.expert];
  const sums = [documents.length, sources.length, experts].map((groups, i): Sums => {
    const sums = {
      sequences: new Float64Array(groups),
      tokens: new Float64Array(groups),
      bytes: new Float64Array(groups),
      nll: {},
    };
    groupings[i].forEach((group, row) => {
      sums.sequences[group]++;
      sums.tokens[group] += predicted[row];
      sums.bytes[group] += bytes[row];
    });
    return sums;
  });
  const add: SumTable["add"] = (column, nll) => {
    const columns = sums.map(({ nll, tokens }) => nll[column] ??= new Float64Array(tokens.length));
    for (let row = 0; row < predicted.length; row++) {
      const value = nll(row);
      columns.forEach((values, i) => values[groupings[i][row]] += value);
    }
  };
  return { document: sums[0], source: sums[1], segment: sums[2], add };
}

const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);

/** The figures of columns, all on the same draws of documents. */
export interface Figures {
  /** Gives the perplexity of a column, with its interval. */
  perplexity(column: string): Pick<Score, "perplexity" | "low" | "high">;
  /** Gives the same, the NLL per token, and the bits per byte where bytes are known. */
  score(column: string): Score;
  /** Tells how much lower the perplexity of one column is than that of another. */
  gain(column: string, than: string): Lower;
  /** Tells how much lower the perplexity of a column is than every baseline's. */
  gains(column: string): Gain[];
}

/** Computes the figures of columns by document; `bytes` are those of all predicted tokens. */
export async function computeFigures(
  documents: Documents,
  drawing: Drawing,
  bytes = 0,
): Promise<Figures> {
  const { estimate } = await drawEstimates(documents, drawing);
  const tokens = sum(documents.tokens);
  const perplexity = (column: string) => {
    const { value, ...ends } = estimate((mean) => Math.exp(mean(column)));
    return { perplexity: value, ...ends };
  };
  const gain = (column: string, than: string) => {
    const { value, ...ends } = estimate((mean) => 100 * (1 - Math.exp(mean(column) - mean(than))));
    return { percent: value, ...ends };
  };
  const baselines = BASELINES.filter((name) => name in documents.nll);
  return {
    perplexity,
    score: (column) => {
      const nllPerToken = estimate((mean) => mean(column)).value;
      const bits = bitsPerByte(Math.exp(nllPerToken), { tokens, bytes });
      return {
        nllPerToken,
        ...bits !== undefined && { bitsPerByte: bits },
        ...perplexity(column),
      };
    },
    gain,
    gains: (column) => baselines.map((baseline) => ({ baseline, ...gain(column, baseline) })),
  };
}

/** Gives the share of sequences that go to the same expert by both routes. */
export function shareAgreed(a: Routes, b: Routes): number {
  return a.expert.filter((expert, row) => expert === b.expert[row]).length / a.expert.length;
}

/** Computes the figures of the ways and the prefixes from a full table. */
export function summarize(
  { source, sources, documents, routes }: Routed,
  { source: bySource, segment: bySegment }: Pick<SumTable, "source" | "segment">,
  { score, perplexity, gains }: Figures,
  prefix: number,
): Pick<Evaluation, "scores" | "gains" | "sources" | "segments" | "prefixes"> {
  const routed = routes.get(prefix)!;
  const each = <Value>(ways: readonly Way[], value: (way: Way) => Value) =>
    Object.fromEntries(ways.filter((way) => way in bySource.nll).map((way) => [way, value(way)]));
  const findPerplexity = ({ nll, tokens }: Sums, group: number) => (way: Way) =>
    Math.exp(nll[way][group] / tokens[group]);
  const shares = sources.map(() => Array.from(bySegment.tokens, () => 0)); // sequences at first
  source.forEach((number, row) => shares[number][routed.expert[row]]++);
  const documentsOf = sources.map(() => 0);
  for (const { source } of documents) documentsOf[source]++;
  return {
    scores: each(WAYS, score),
    gains: gains("mixture"),
    sources: [...sources.entries()].sort(([, a], [, b]) => a < b ? -1 : 1).map((
      [number, source],
    ) => ({
      source,
      documents: documentsOf[number],
      sequences: bySource.sequences[number],
      tokens: bySource.tokens[number],
      ...bySource.bytes[number] > 0 && { bytes: bySource.bytes[number] },
      perplexity: each(WAYS, findPerplexity(bySource, number)),
      shares: shares[number].map((sequences) => sequences / bySource.sequences[number]),
    })),
    segments: Array.from(bySegment.sequences, (sequences, expert) => {
      const value = (way: Way) => sequences === 0 ? null : findPerplexity(bySegment, expert)(way);
      return {
        expert,
        sequences,
        share: sequences / source.length,
        tokens: bySegment.tokens[expert],
        ...bySegment.bytes[expert] > 0 && { bytes: bySegment.bytes[expert] },
        perplexity: { mixture: value("mixture"), ...each(BASELINES, value) },
      };
    }),
    prefixes: Array.from(routes, ([tokens, by]) => ({
      prefix: tokens,
      ...perplexity(prefixColumn(tokens)),
      gains: gains(prefixColumn(tokens)),
      agreement: shareAgreed(by, routed),
    })),
  };
}

/**
 * What held-out documents came to, a row per document in the order of their first sequences
 * `[rows]`: ids, label of the first sequence, sequences, predicted tokens, and the NLL by way,
 * nats; the mixture's is always there.
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
  const batch = toTable({ ...scores, ...nll }, {
    format: FORMAT,
    stage: "evaluate",
    prefix,
    experts,
  });
  const { bytes, sha256 } = await writeArrowFile(path, ReadableStream.from([batch]));
  return { bytes, sha256 };
}

/**
 * Reads what documents came to. Throws an `InputError` where the file is missing, damaged, or of
 * another layout.
 */
export async function readDocumentScores(path: string): Promise<DocumentScores> {
  const [batch, ...further] = await Array.fromAsync(readArrow(path, path));
  if (!batch || further.length > 0) {
    throw unreadable(
      path,
      "it must hold one batch of documents",
      `it holds ${batch ? "more" : "none"}`,
    );
  }
  const column = (name: string) => needColumn(batch, name);
  const columns = columnNames(batch);
  const ways = SHOWN_WAYS.filter((way) => way === "mixture" || columns.includes(way));
  return {
    document: readIntegers(column("document"), BigUint64Array),
    source: readStrings(column("source")),
    sequences: readIntegers(column("sequences"), Uint32Array),
    tokens: readIntegers(column("tokens"), Uint32Array),
    nll: Object.fromEntries(
      ways.map((way) => [way, readDoubles(column(way))]),
    ) as DocumentScores["nll"],
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
  const kept = Object.fromEntries(
    Object.entries(nll).map(([way, values]) => [way, values.filter(isKept)]),
  );
  const documents = kept.mixture.length;
  if (documents === 0) return undefined;
  const all = { tokens: Float64Array.from(tokens.filter(isKept)), nll: kept };
  const { score, gains } = await computeFigures(all, drawing);
  const scores = Object.fromEntries(Object.keys(kept).map((way) => [way, score(way)]));
  return { documents, scores, gains: gains("mixture") };
}
