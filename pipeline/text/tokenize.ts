/**
 * Turns documents into token sequences of one length: the stage between text and everything else.
 *
 * @module
 */

import { ensure, InputError } from "../../kernels/errors.ts";
import { type Columns, type RecordBatch, toBatch } from "../rows/arrow.ts";
import { FORMAT, type Lineage } from "../rows/lineage.ts";
import { joinTokens, sliceColumns, tokenArray } from "../rows/columns.ts";
import { indexOfText, uniform } from "../random.ts";
import { printable } from "../graph/printable.ts";
import { type Encoders, openEncoders } from "./encoders.ts";
import type { Document } from "./readers.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * How documents become sequences: each on its own, or one after another without regard to their
 * borders.
 */
export type Packing = Configuration["packing"];

/** Which side of the held-out split a document is on. */
export type Side = "train" | "test";

/**
 * Settings of {@linkcode tokenizeDocuments}, as a configuration has them; without `holdout` all
 * documents are for training.
 */
export interface TokenizeOptions
  extends Partial<Pick<Configuration, "packing" | "holdout" | "seed" | "textSeed" | "maxTokens">> {
  /** Tokens per sequence, S, at least 2. */
  sequenceLength: number;
  /**
   * Threads that encode; one for every core unless given. With 1, all work keeps to one core. Never
   * changes the rows.
   */
  workers?: number;
  /**
   * Characters that one thread encodes before several begin, which takes them about a second; 8 Mi
   * unless given.
   */
  workersAfter?: number;
  /**
   * Encoders that are open and stay open, in place of workers: a thread that ends leaves memory of
   * the library behind.
   */
  encoders?: Encoders;
  /** Whether documents begin with prompts, which rows tell. */
  prompts?: boolean;
  /** Number that ids of documents and sequences begin with; 0 unless given. */
  firstId?: bigint;
  /** Called with every document that has tokens. */
  onDocument?: (document: TokenizedDocument) => void;
}

/** A document that became sequences. */
export interface TokenizedDocument {
  /** Its id. */
  id: bigint;
  /** The document. */
  document: Document;
  /** The side of the split that it is on. */
  side: Side;
  /** Its tokens, EOS among them. */
  tokens: number;
}

const SHOWN = 50; // characters of a prompt that is named

/** What was read and written, filled in as the stream runs. */
export interface TokenizeCounts {
  /** Documents with text. */
  documents: number;
  /** Documents without a token, skipped. */
  emptyDocuments: number;
  /** Tokens in sequences, EOS among them, padding not. */
  tokens: number;
  /** Sequences. */
  sequences: number;
  /** Tails of one token, dropped: nothing can be predicted in them. */
  droppedTails: number;
}

/** Rows of one side, in document order. */
export interface TokenizedBatch {
  /** The side that all rows are on. */
  side: Side;
  /** Token columns. */
  batch: RecordBatch;
}

const GROUP_DOCUMENTS = 256;
const BATCH_ROWS = 1024;
const BATCH_TOKENS = 1 << 20;

/** Returns counts that are all zero. */
export function noCounts(): TokenizeCounts {
  return { documents: 0, emptyDocuments: 0, tokens: 0, sequences: 0, droppedTails: 0 };
}

/**
 * Returns the side of the split of a text, or of a text of this index: equal texts are always on
 * the same side.
 */
export function chooseSide(text: string | bigint, seed: number, holdout: number): Side {
  if (holdout <= 0) return "train";
  const index = typeof text === "string" ? indexOfText(text) : text;
  return uniform(seed, "holdout", index) < holdout ? "test" : "train";
}

/** Returns the lineage of token rows. */
export function tokenLineage(tokenizer: Tokenizer, options: TokenizeOptions): Lineage {
  const { vocabulary, eos, sha256 } = tokenizer;
  const { sequenceLength, seed } = options;
  return {
    format: FORMAT,
    stage: "tokenize",
    sequenceLength,
    vocabulary,
    eos,
    tokenizer: sha256,
    seed,
  };
}

/**
 * Yields the sequences of all documents, in document order, in batches that lie on one side of the
 * split each.
 *
 * EOS closes every document; tails are kept and padded with EOS. Sequence and document ids count up
 * over both sides. `counts` is updated as the stream runs; an input without documents yields one
 * empty batch per side in use. Throws `InputError` on a sequence length below 2 or a holdout
 * outside 0 to 1.
 */
export function tokenizeDocuments(
  documents: ReadableStream<Document> | AsyncIterable<Document>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  counts: TokenizeCounts = noCounts(),
): AsyncGenerator<TokenizedBatch> {
  const { sequenceLength, holdout = 0 } = options;
  const rule = `the sequence length must be a whole number >= 2: it is ${sequenceLength}`;
  ensure(Number.isSafeInteger(sequenceLength) && sequenceLength >= 2, `Cannot tokenize as ${rule}`);
  ensure(
    holdout >= 0 && holdout <= 1,
    `Cannot tokenize as holdout must be from 0 to 1: it is ${holdout}`,
  );
  const { seed = 0, textSeed = -1, packing = "document", firstId = 0n, onDocument } = options;
  const split = findTextSeed({ textSeed, seed });
  const maxTokens = options.maxTokens || Infinity;
  const lineage = tokenLineage(tokenizer, options);
  const sides: Side[] = holdout > 0 ? ["train", "test"] : ["train"];
  const writers = new Map(
    sides.map((side) => [side, new Packer(tokenizer, { ...options, packing, firstId }, counts)]),
  );
  return async function* () {
    let seen = 0;
    for await (const group of encodedGroups(documents, tokenizer, options)) {
      for (const { document, ids, begin } of group) {
        const { text, source } = document;
        if (seen >= maxTokens) break;
        if (ids.length === 0) {
          counts.emptyDocuments++;
          continue;
        }
        if (begin !== undefined && begin >= options.sequenceLength) {
          const rule =
            `a prompt must be shorter than a sequence of ${options.sequenceLength} tokens`;
          const shown = printable(text.slice(0, SHOWN));
          throw new InputError(
            `Cannot take pairs as ${rule}: the one that begins "${shown}" has ${begin}`,
            {
              remedy: "shorten it, or leave the pair out",
            },
          );
        }
        const side = document.side ?? chooseSide(text, split, holdout);
        const packer = writers.get(side)!;
        seen += ids.length + 1;
        const id = firstId + BigInt(counts.documents++);
        onDocument?.({ id, document, side, tokens: ids.length + 1 });
        for (const columns of packer.add(ids, source ?? "", id, begin)) {
          yield { side, batch: toBatch(columns, lineage) };
        }
      }
      if (seen >= maxTokens) break;
    }
    for (const [side, packer] of writers) {
      for (const columns of packer.end()) yield { side, batch: toBatch(columns, lineage) };
    }
  }();
}

/** Counts the tokens of every document, its EOS among them; one without any has none. */
export async function* tokenCounts(
  documents: AsyncIterable<Document>,
  tokenizer: Tokenizer,
  workers?: number,
): AsyncGenerator<number> {
  for await (const group of encodedGroups(documents, tokenizer, { workers })) {
    for (const { ids } of group) yield ids.length === 0 ? 0 : ids.length + 1;
  }
}

/** Encodes documents in groups, as large and as many at a time as the encoders can use. */
async function* encodedGroups(
  documents: AsyncIterable<Document>,
  tokenizer: Tokenizer,
  { workers = navigator.hardwareConcurrency, workersAfter, encoders: open }: Pick<
    TokenizeOptions,
    "workers" | "workersAfter" | "encoders"
  >,
): AsyncGenerator<{ document: Document; ids: Uint32Array; begin?: number }[]> {
  const encoders = open ?? openEncoders(tokenizer, workers, workersAfter);
  const encode = async (group: Document[]) => {
    const texts = group.filter(({ tokens }) => tokens === undefined).flatMap((
      { text, prompt = 0 },
    ) => prompt > 0 ? [text.slice(0, prompt), text.slice(prompt)] : [text]);
    const encoded = texts.length > 0 ? await encoders.encode(texts) : [];
    let next = 0;
    return group.map((document) => {
      const ids = document.tokens ?? encoded[next++];
      if (!document.prompt) return { document, ids };
      return { document, ids: joinTokens([ids, encoded[next++]]), begin: ids.length };
    });
  };
  const ahead: ReturnType<typeof encode>[] = [];
  try {
    for await (const group of groups(documents, () => encoders.characters)) {
      const encoded = encode(group);
      encoded.catch(() => {}); // heard when its turn comes
      ahead.push(encoded);
      while (ahead.length > encoders.ahead) yield await ahead.shift()!;
    }
    for (const encoded of ahead) yield await encoded;
  } finally {
    if (!open) await encoders.close();
  }
}

/** Collects documents into groups that are worth a call of the tokenizer. */
async function* groups(
  documents: AsyncIterable<Document>,
  worth: () => number, // characters of the next one
): AsyncGenerator<Document[]> {
  let group: Document[] = [];
  let characters = 0;
  for await (const document of documents) {
    group.push(document);
    characters += document.text.length;
    if (group.length < GROUP_DOCUMENTS && characters < worth()) continue;
    yield group;
    [group, characters] = [[], 0];
  }
  if (group.length > 0) yield group;
}

/** Cuts token ids into rows, and gives these in batches. */
class Packer {
  readonly #capacity: number; // rows in a batch
  #batch: ReturnType<Packer["allocate"]>;
  #row = 0; // the row of it that is being filled
  #filled = 0; // tokens of that
  #yielded = false;

  constructor(
    readonly tokenizer: Tokenizer,
    readonly options:
      & Required<Pick<TokenizeOptions, "sequenceLength" | "packing" | "firstId">>
      & TokenizeOptions,
    readonly counts: TokenizeCounts,
  ) {
    this.#capacity = Math.max(
      1,
      Math.min(BATCH_ROWS, Math.floor(BATCH_TOKENS / options.sequenceLength)),
    );
    this.#batch = this.allocate();
  }

  /**
   * Adds a document, and yields batches as they are full. One that begins with a prompt is one row,
   * which is cut where it is too long.
   */
  *add(ids: Uint32Array, source: string, document: bigint, begin?: number): Generator<Columns> {
    const { sequenceLength, packing } = this.options;
    // EOS closes it.
    const total = Math.min(ids.length + 1, begin === undefined ? Infinity : sequenceLength);
    for (let at = 0; at < total;) {
      const batch = this.#batch;
      const row = this.#row;
      if (this.#filled === 0) {
        batch.source[row] = source;
        batch.document[row] = document;
        if (batch.begin) batch.begin[row] = begin ?? 0;
      }
      const count = Math.min(sequenceLength - this.#filled, total - at);
      // EOS is there.
      batch.tokens.set(ids.subarray(at, at + count), row * sequenceLength + this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === sequenceLength) yield* this.#closeRow();
    }
    if (packing === "document" || begin !== undefined) yield* this.#closeRow();
  }

  /** Yields the rows that are left; an empty batch where there never was a row. */
  *end(): Generator<Columns> {
    yield* this.#closeRow();
    if (this.#row > 0 || !this.#yielded) yield this.#take();
  }

  *#closeRow(): Generator<Columns> {
    const { counts, options: { sequenceLength, firstId } } = this;
    const batch = this.#batch;
    const length = this.#filled;
    this.#filled = 0;
    if (length < 2) {
      counts.droppedTails += length;
      batch.tokens[this.#row * sequenceLength] = this.tokenizer.eos;
      return;
    }
    batch.sequence[this.#row] = firstId + BigInt(counts.sequences++);
    batch.length[this.#row] = length;
    counts.tokens += length;
    if (++this.#row === this.#capacity) yield this.#take();
  }

  #take(): Columns {
    const batch = sliceColumns(this.#batch, 0, this.#row);
    this.#batch = this.allocate();
    this.#row = 0;
    this.#yielded = true;
    return batch;
  }

  private allocate() {
    const rows = this.#capacity;
    const { vocabulary, eos } = this.tokenizer;
    const { sequenceLength, prompts } = this.options;
    return {
      rows,
      sequence: new BigUint64Array(rows),
      document: new BigUint64Array(rows),
      source: new Array<string>(rows).fill(""),
      tokens: new (tokenArray(vocabulary))(rows * sequenceLength).fill(eos),
      length: new Uint32Array(rows),
      begin: prompts ? new Uint32Array(rows) : undefined,
    };
  }
}
