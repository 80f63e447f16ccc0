/**
 * Opens the documents that settings name, and writes documents for a pipe.
 *
 * @module
 */

import { emptyBatch, type RecordBatch } from "../rows/arrow.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type CorpusName, embeddedCorpus } from "./corpora/corpus.ts";
import { type Document, expandInputs, readDocuments, type ReadOptions } from "./readers.ts";
import { OFF } from "./path_source.ts";
import { takeByHash } from "./take.ts";
import { tokenizeDocuments, type TokenizeOptions, tokenLineage } from "./tokenize.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Says how a configuration reads documents. */
export function readOptions(c: Configuration, paths: readonly string[]): ReadOptions {
  const table = ["parquet", "arrow"].includes(c.format) ||
    (c.format === "auto" && paths.some((path) => /\.(parquet|arrows?)$/i.test(path)));
  const { tokenizer, eos } = c;
  return {
    format: c.format === "auto" ? undefined : c.format,
    textField: table && c.textColumn || c.textField,
    tokenColumn: c.tokenColumn || undefined,
    tokenizer: tokenizer ? () => loadTokenizer(tokenizer, { eos: eos || undefined }) : undefined,
    sourceField: c.sourceField || undefined,
    sourceFromPath: c.sourceFromPath === OFF ? undefined : c.sourceFromPath,
    maxDocuments: c.maxDocuments || undefined,
  };
}

/**
 * Opens the documents of a configuration: the embedded corpus where no input is named. A limit takes documents by hash or the first
 * ones, as the configuration says; of standard input, which is read once, the first ones. `onLeftOut` is told the sources of which
 * none is taken.
 */
export function openDocuments(
  c: Configuration,
  onLeftOut?: (sources: string[], all: number) => void,
): ReadableStream<Document> {
  if (c.input.length === 0) return embeddedCorpus(c.corpus as CorpusName, c.corpusCharacters);
  const open = async function* (more: ReadOptions = {}) {
    const paths = await expandInputs(c.input);
    yield* readDocuments(paths, { ...readOptions(c, paths), ...more });
  };
  const { maxDocuments: most, seed } = c;
  if (most === 0 || c.take === "head" || c.input.includes("-")) return ReadableStream.from(open());
  return ReadableStream.from(takeByHash(() => open({ maxDocuments: undefined }), { seed, most, onLeftOut }));
}

/** Writes documents as JSON lines in UTF-8, with fields `text` and `source`. */
export async function* documentLines(documents: AsyncIterable<Document>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const { text, source } of documents) {
    yield encoder.encode(JSON.stringify({ text, source }) + "\n");
  }
}

/** Tokenizes documents, all of them for training: a stream of batches with token columns, at least one. */
export function tokenBatches(
  documents: ReadableStream<Document>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    yield emptyBatch(["document", "source", "tokens"], tokenLineage(tokenizer, options));
    for await (const { batch } of tokenizeDocuments(documents, tokenizer, { ...options, holdout: 0 })) {
      yield batch;
    }
  }());
}
