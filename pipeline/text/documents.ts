/**
 * Opens the documents that settings name, and writes documents for a pipe.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { emptyBatch, type RecordBatch } from "../rows/arrow.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import { type CorpusName, embeddedCorpus } from "./corpora/corpus.ts";
import { expandInputs } from "./inputs.ts";
import { type Document, readDocuments, type ReadOptions } from "./readers.ts";
import { takeByHash } from "./take.ts";
import { tokenizeDocuments, type TokenizeOptions, tokenLineage } from "./tokenize.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Reports how a configuration reads documents. */
export function readOptions({ tokenizer, eos, ...settings }: Configuration): ReadOptions {
  const open = tokenizer ? () => loadTokenizer(tokenizer, { eos: eos || undefined }) : undefined;
  return { ...settings, tokenizer: open };
}

/**
 * Opens the documents of a configuration: the embedded corpus where no input is named. A limit takes
 * documents by their hashes or the first ones, as the settings say; of standard input, which is read only
 * once, it takes the first ones. `onLeftOut` is called with the sources of which no document is taken. Throws an
 * `InputError` for a limit of the embedded corpus.
 */
export function openDocuments(
  configuration: Configuration,
  onLeftOut?: (sources: string[], all: number) => void,
): ReadableStream<Document> {
  const { input, corpus, corpusCharacters, maxDocuments: most, take } = configuration;
  checkLimit(configuration);
  if (input.length === 0) return embeddedCorpus(corpus as CorpusName, corpusCharacters);
  const options = readOptions(configuration);
  if (most === 0 || take === "head" || input.includes("-")) return readDocuments(input, options);
  const open = async function* () {
    const paths = await expandInputs(input, { again: true });
    yield* readDocuments(paths, { ...options, maxDocuments: undefined });
  };
  return ReadableStream.from(takeByHash(open, { seed: findTextSeed(configuration), most, onLeftOut }));
}

/** Throws an `InputError` for a limit of the documents of an embedded corpus, each of which is all text of a kind. */
export function checkLimit({ input, maxDocuments: most }: Configuration): void {
  if (input.length > 0 || most === 0) return;
  const limit = setting("maxDocuments");
  throw new InputError(
    say`Cannot limit the documents of an embedded corpus as ${limit} must go with ${
      setting("input")
    }: ${limit} is ${most}`,
    { remedy: say`leave it out, or shorten the documents with ${setting("corpusCharacters")}` },
  );
}

/** Writes documents as JSON lines in UTF-8, with fields `text` and `source`. */
export async function* documentLines(documents: AsyncIterable<Document>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const { text, source, prompt } of documents) {
    yield encoder.encode(JSON.stringify({ text, source, prompt }) + "\n");
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
