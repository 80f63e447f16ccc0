/**
 * Wires the stages that turn text into tokens to a run folder: corpus, tokenizer, tokenize.
 *
 * @module
 */

import type { Configuration } from "../settings/configuration.ts";
import { stageConfiguration } from "./stage_settings.ts";
import { emptyBatch, type RecordBatch } from "../rows/arrow.ts";
import { CORPORA, type CorpusName, embeddedCorpus } from "../text/corpora/corpus.ts";
import { type Document, expandInputs, readDocuments, type ReadOptions } from "../text/readers.ts";
import { writeShards } from "../rows/shards.ts";
import { shuffle } from "../rows/shuffle.ts";
import {
  noCounts,
  type Packing,
  sideOf,
  tokenizeDocuments,
  type TokenizeOptions,
  tokenLineage,
} from "../text/tokenize.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../text/tokenizer.ts";
import { type FileRecord, hashFile, removeIfThere, sha256, writeAtomic } from "../run/files.ts";
import { canonical, type Manifest } from "../run/manifest.ts";
import { type Made, runStage, type Work } from "./work.ts";

const SPOOL = "corpus/documents.jsonl";
const TOKENIZER = "tokenizer.json";

/** What the stage `tokenize` tells those after it. */
export interface TokenizeResult {
  /** Documents with text. */
  documents: number;
  /** Real tokens, EOS among them. */
  tokens: number;
  /** Training sequences. */
  trainSequences: number;
  /** Held-out sequences. */
  testSequences: number;
  /** Tails of one token that were dropped. */
  droppedTails: number;
  /** V. */
  vocabulary: number;
  /** Id of the token that closes documents. */
  eos: number;
  /** SHA-256 of tokenizer.json. */
  tokenizer: string;
}

/** Says how a configuration reads documents. */
export function readOptions(c: Configuration, paths: readonly string[]): ReadOptions {
  const parquet = c.format === "parquet" ||
    (c.format === "auto" && paths.some((path) => path.endsWith(".parquet")));
  return {
    format: c.format === "auto" ? undefined : c.format,
    textField: parquet && c.textColumn || c.textField,
    sourceField: c.sourceField || undefined,
    maxDocuments: c.maxDocuments || undefined,
  };
}

/** Opens the documents of a configuration: the embedded corpus where no input is named. */
export function openDocuments(c: Configuration): ReadableStream<Document> {
  if (c.input.length === 0) return embeddedCorpus(c.corpus as CorpusName, c.corpusCharacters);
  return ReadableStream.from(async function* () {
    const paths = await expandInputs(c.input);
    yield* readDocuments(paths, readOptions(c, paths));
  }());
}

/** Writes documents as JSON lines in UTF-8, with fields `text` and `source`. */
export async function* documentLines(documents: ReadableStream<Document>): AsyncGenerator<Uint8Array> {
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

/**
 * Fixes the text of a run: hashes input files, which later stages read where they are; what can be read once only (standard
 * input) or is not a file (the embedded corpus) is written to `corpus/documents.jsonl`.
 */
export async function runCorpus(work: Work): Promise<Manifest> {
  const { run, configuration: c, emit } = work;
  const paths = c.input.length === 0 ? [] : await expandInputs(c.input);
  const settings = stageConfiguration(c, "corpus");
  const spooled = paths.length === 0 || paths.includes("-");
  const inputs: Record<string, string> = {};
  for (const [i, path] of paths.entries()) {
    if (path !== "-") inputs[`${String(i).padStart(6, "0")} ${path}`] = (await hashFile(path)).sha256;
  }
  if (paths.length === 0) inputs.corpus = CORPORA[c.corpus as CorpusName].version;
  const make = async (): Promise<Made> => {
    if (!spooled) {
      await removeIfThere(`${run}/corpus`);
      return { outputs: {}, result: { files: paths.length } };
    }
    let documents = 0;
    const lines = async function* () {
      for await (const line of documentLines(openDocuments(c))) {
        work.signal?.throwIfAborted();
        yield line;
        if (++documents % 100 === 0) {
          emit({ type: "progress", stage: "corpus", done: documents, unit: "documents" });
        }
      }
    };
    const outputs = { [SPOOL]: await writeAtomic(`${run}/${SPOOL}`, lines()) };
    return { outputs, result: { documents } };
  };
  // Standard input cannot be compared before it is read: where it is given anew it is read anew.
  const force = work.force || (work.readStandardInput && paths.includes("-"));
  const plan = { stage: "corpus", inputs, configuration: settings, folders: ["corpus"], make } as const;
  return await runStage({ ...work, force }, plan);
}

/** Opens the documents that the stage `corpus` fixed. */
function documentsOf({ run, configuration: c }: Work, corpus: Manifest): ReadableStream<Document> {
  if (corpus.outputs[SPOOL]) return readDocuments([`${run}/${SPOOL}`], { sourceField: "source" });
  return openDocuments(c);
}

/**
 * Hashes the text that the stage `corpus` fixed: the contents of its files in their order, their kinds and how they are read,
 * wherever they lie and whatever they are called.
 */
function textHash(corpus: Manifest): string {
  if (corpus.outputs[SPOOL]) return corpus.outputs[SPOOL].sha256;
  const { input: _, ...reading } = corpus.configuration;
  const files = Object.keys(corpus.inputs).sort().map((name) => [kindOf(name), corpus.inputs[name]]);
  return sha256(canonical({ files, reading }));
}

/** Gives what a path's name says about its content: all that follows the first dot. */
const kindOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1).split(".").slice(1).join(".");

/** Trains the tokenizer on a bounded sample of training documents, or copies the one that is named. */
export async function runTokenizer(work: Work, corpus: Manifest): Promise<Manifest> {
  const { run, configuration: c } = work;
  const given = c.tokenizer !== "";
  const make = async (): Promise<Made> => {
    let tokenizer: Tokenizer;
    if (given) tokenizer = await loadTokenizer(c.tokenizer, { eos: c.eos || undefined });
    else {
      tokenizer = await trainTokenizer(trainingDocuments(work, corpus), {
        vocabularySize: c.vocabularySize,
        sample: c.tokenizerSample,
        scratch: `${run}/tokenizer.partial`,
      });
    }
    const { vocabulary, eos } = tokenizer;
    const outputs = { [TOKENIZER]: await writeAtomic(`${run}/${TOKENIZER}`, tokenizer.json) };
    return { outputs, result: { entries: vocabulary, eos } };
  };
  return await runStage(work, {
    stage: "tokenizer",
    inputs: given ? { tokenizer: await hashTokenizer(c.tokenizer) } : { corpus: textHash(corpus) },
    configuration: given ? { eos: c.eos } : stageConfiguration(c, "tokenizer"),
    make,
  });
}

async function hashTokenizer(path: string): Promise<string> {
  const info = await Deno.stat(path).catch(() => null);
  if (info?.isFile) return (await hashFile(path)).sha256;
  throw new RangeError(
    `Cannot load tokenizer "${path}" as it must be a file: ${info ? "it is a folder" : "there is none"}`,
  );
}

async function* trainingDocuments(work: Work, corpus: Manifest): AsyncGenerator<Document> {
  const { seed, holdout } = work.configuration;
  for await (const document of documentsOf(work, corpus)) {
    work.signal?.throwIfAborted();
    if (sideOf(document.text, seed, holdout) === "train") yield document;
  }
}

/** Turns documents into shuffled shards of training sequences, and shards of held-out ones in their order. */
export async function runTokenize(work: Work, corpus: Manifest, trained: Manifest): Promise<Manifest> {
  const { run, configuration: c } = work;
  const make = async (key: string): Promise<Made> => {
    const tokenizer = await loadTokenizer(`${run}/${TOKENIZER}`, { eos: c.eos || undefined });
    const options: TokenizeOptions = {
      sequenceLength: c.sequenceLength,
      packing: c.packing as Packing,
      holdout: c.holdout,
      seed: c.seed,
      maxTokens: c.maxTokens || undefined,
      config: key,
    };
    const counts = noCounts();
    const sides = sidesOf(work, corpus, tokenizer, options, counts);
    const shuffled = shuffle(sides.train, { seed: c.seed, spill: `${run}/tokens/spill.partial` });
    const outputs: Record<string, FileRecord> = {};
    const rows = { train: 0, test: 0 };
    const write = async (kind: "train" | "test", batches: ReadableStream<RecordBatch>) => {
      for await (const shard of writeShards(`${run}/tokens`, kind, batches, c.shardSequences)) {
        outputs[`tokens/${shard.name}`] = { bytes: shard.bytes, sha256: shard.sha256 };
        rows[kind] += shard.rows;
      }
    };
    await Deno.mkdir(`${run}/tokens`, { recursive: true });
    await Promise.all([write("train", shuffled), ...(sides.test ? [write("test", sides.test)] : [])]);
    const { vocabulary, eos, sha256 } = tokenizer;
    const { documents, tokens, droppedTails } = counts;
    const result: TokenizeResult = {
      documents,
      tokens,
      trainSequences: rows.train,
      testSequences: rows.test,
      droppedTails,
      vocabulary,
      eos,
      tokenizer: sha256,
    };
    return { outputs, result: { ...result } };
  };
  return await runStage(work, {
    stage: "tokenize",
    inputs: { corpus: textHash(corpus), tokenizer: trained.outputs[TOKENIZER].sha256 },
    folders: ["tokens"],
    make,
  });
}

/** Separates the two sides of the held-out split: reading the training side drives the other one. */
function sidesOf(
  work: Work,
  corpus: Manifest,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  counts: ReturnType<typeof noCounts>,
): { train: ReadableStream<RecordBatch>; test?: ReadableStream<RecordBatch> } {
  const empty = emptyBatch(["document", "source", "tokens"], tokenLineage(tokenizer, options));
  const held = new TransformStream<RecordBatch, RecordBatch>();
  const writer = held.writable.getWriter();
  const train = async function* () {
    let reason: unknown = new Error("tokenizing ended early");
    try {
      yield empty;
      if (options.holdout) await writer.write(empty);
      for await (
        const { side, batch } of tokenizeDocuments(documentsOf(work, corpus), tokenizer, options, counts)
      ) {
        work.signal?.throwIfAborted();
        work.emit({ type: "progress", stage: "tokenize", done: counts.documents, unit: "documents" });
        if (side === "train") yield batch;
        else await writer.write(batch);
      }
      reason = undefined;
    } catch (error) {
      reason = error;
      throw error;
    } finally {
      await (reason === undefined ? writer.close() : writer.abort(reason)).catch(() => {});
    }
  };
  return { train: ReadableStream.from(train()), test: options.holdout ? held.readable : undefined };
}
