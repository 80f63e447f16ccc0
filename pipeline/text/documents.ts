/**
 * Opens the documents that settings name, and writes documents for a pipe. Where there is a limit,
 * it takes those whose seeded hashes are the lowest, so that every file and every source gives its
 * share: some 50 bytes of memory for every document that is taken.
 *
 * @module
 */

import { ensure, say, setting } from "../../kernels/errors.ts";
import { indexOfText, randomBits } from "../random.ts";
import { emptyBatch, type RecordBatch } from "../rows/arrow.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import { type CorpusName, embeddedCorpus } from "./corpora/corpus.ts";
import { listInputs } from "./inputs.ts";
import { type Document, readDocuments, type ReadOptions } from "./readers.ts";
import { tokenizeDocuments, type TokenizeOptions, tokenLineage } from "./tokenize.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Returns the options with which a configuration reads documents. */
export function readOptions({ tokenizer, eos, ...settings }: Configuration): ReadOptions {
  const open = tokenizer ? () => loadTokenizer(tokenizer, { eos }) : undefined;
  return { ...settings, tokenizer: open };
}

/**
 * Opens the documents of a configuration: the embedded corpus where no input is named. A limit
 * takes documents by their hashes or the first ones, as the settings say; of standard input, which
 * is read only once, it takes the first ones. Throws an `InputError` for a limit of the embedded
 * corpus.
 */
export function openDocuments(configuration: Configuration): ReadableStream<Document> {
  const { input, corpus, corpusCharacters, maxDocuments: most, take } = configuration;
  checkLimit(configuration);
  if (input.length === 0) return embeddedCorpus(corpus as CorpusName, corpusCharacters);
  const options = readOptions(configuration);
  if (most === 0 || take === "head" || input.includes("-")) return readDocuments(input, options);
  const open = async function* () {
    const { files } = await listInputs(input, options);
    yield* readDocuments(files.map(({ path }) => path), { ...options, maxDocuments: undefined });
  };
  return ReadableStream.from(takeByHash(open, { seed: findTextSeed(configuration), most }));
}

/**
 * Throws an `InputError` for a limit of the documents of an embedded corpus, each of which is all
 * text of a kind.
 */
export function checkLimit({ input, maxDocuments: most }: Configuration): void {
  const limit = setting("maxDocuments");
  const rule = say`${limit} must go with ${setting("input")}`;
  const refusal =
    say`Cannot limit the documents of an embedded corpus as ${rule}: ${limit} is ${most}`;
  const remedy = say`leave it out, or shorten the documents with ${setting("corpusCharacters")}`;
  ensure(input.length > 0 || most === 0, refusal, { remedy });
}

/** Writes documents as JSON lines in UTF-8, with fields `text` and `source`. */
export async function* documentLines(
  documents: AsyncIterable<Document>,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const { text, source, prompt } of documents) {
    yield encoder.encode(JSON.stringify({ text, source, prompt }) + "\n");
  }
}

/**
 * Tokenizes documents, all of them for training: a stream of batches with token columns, at least
 * one.
 */
export function tokenBatches(
  documents: ReadableStream<Document>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    yield emptyBatch(["document", "source", "tokens"], tokenLineage(tokenizer, options));
    for await (
      const { batch } of tokenizeDocuments(documents, tokenizer, { ...options, holdout: 0 })
    ) {
      yield batch;
    }
  }());
}

/** How many documents are taken. */
interface Limit {
  seed: number; // seed of the hashes
  most: number; // the limit. The document with which it is reached is the last one
  /** Returns the size of each document. Default: each counts as one. */
  sizes?: (documents: AsyncIterable<Document>) => AsyncIterable<number>;
  /**
   * A size that a text of so many characters is unlikely to exceed. It is needed with `sizes`, so
   * that few documents must be measured.
   */
  least?: (characters: number) => number;
  /** Called with the sources of which no document is taken, and the number of sources. */
  onLeftOut?: (sources: string[], all: number) => void;
}

/**
 * Where a document stands in the order of hashes; of two with equal hashes the earlier comes first.
 */
interface Place {
  key: bigint;
  at: number;
}
type Candidate = Place & { size: number };

/**
 * Yields the documents that are taken, in their order; `open` opens all of them, as often as it is
 * called.
 */
export async function* takeByHash<Taken extends Document>(
  open: () => AsyncIterable<Taken>,
  { seed, most, sizes, least = () => 1, onLeftOut }: Limit,
): AsyncGenerator<Taken> {
  const placed = async function* () {
    let at = 0;
    for await (const document of open()) {
      yield { document, key: randomBits(seed, "take", indexOfText(document.text)), at: at++ };
    }
  };
  let last: Place | undefined;
  for (let factor = 1;; factor *= 4) {
    const rough = new Lowest(factor * most);
    let all = 0;
    for await (const { document, key, at } of placed()) {
      rough.add({ key, at, size: least(document.text.length) });
      all = at + 1;
    }
    const end = last = rough.last();
    if (sizes === undefined || end === undefined) break;
    const exact = new Lowest(most);
    const candidates: Place[] = [];
    const some = async function* () {
      for await (const { document, ...place } of placed()) {
        if (compare(place, end) > 0) continue;
        candidates.push(place);
        yield document;
      }
    };
    let next = 0;
    for await (const size of sizes(some())) exact.add({ ...candidates[next++], size });
    // Texts that have more characters for their size than was expected.
    if (exact.total < most && next < all) continue;
    last = exact.last();
    break;
  }
  const [taken, left] = [new Set<string>(), new Set<string>()];
  for await (const { document, ...place } of placed()) {
    const isIn = last !== undefined && compare(place, last) <= 0;
    (isIn ? taken : left).add(document.source);
    if (isIn) yield document;
  }
  const without = [...left].filter((source) => !taken.has(source));
  if (without.length > 0) onLeftOut?.(without, taken.size + without.length);
}

const compare = (a: Place, b: Place): number =>
  a.key < b.key ? -1 : a.key > b.key ? 1 : a.at - b.at;

/** Holds the first candidates that reach the limit together. */
class Lowest {
  #candidates: Candidate[] = [];
  total = 0;

  constructor(readonly most: number) {}

  add(candidate: Candidate): void {
    this.#candidates.push(candidate);
    this.total += candidate.size;
    if (this.total > 2 * this.most && this.#candidates.length > 1024) this.#cut();
  }

  /** Returns the last candidate that is taken, or undefined where there are none. */
  last(): Candidate | undefined {
    this.#cut();
    return this.#candidates.at(-1);
  }

  #cut(): void {
    this.#candidates.sort(compare);
    let total = 0;
    let kept = 0;
    while (kept < this.#candidates.length && total < this.most) {
      total += this.#candidates[kept++].size;
    }
    this.#candidates.length = kept;
    this.total = total;
  }
}
