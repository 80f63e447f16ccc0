/**
 * Turns each block of text into token sequences: those of training documents, those of held-out ones, and a row for every document.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Maker, Making, Node, Work } from "../graph/node.ts";
import { ALL_TEST, ALL_TRAIN, SEQUENCES, TOKENIZER } from "../graph/places.ts";
import { jsonText, sha256, writeAtomic } from "../run/files.ts";
import { emptyBatch, type RecordBatch, toTable, writeArrowFile } from "../rows/arrow.ts";
import { checksums } from "../rows/random_access.ts";
import type { Configuration } from "../settings/configuration.ts";
import { textSeedOf } from "../settings/text.ts";
import type { Block } from "../text/blocks.ts";
import {
  noCounts,
  type TokenizedDocument,
  tokenizeDocuments,
  type TokenizeOptions,
  tokenLineage,
} from "../text/tokenize.ts";
import { type Tokenizer, tokenizerIn } from "../text/tokenizer.ts";
import { type BlockDocument, type Text } from "./text.ts";
import { readTaken, takenNeed } from "./take.ts";

/** Name of the stage. */
export const TOKENIZE = "tokenize";

/** Files of a node of the stage. */
export const [TRAIN, TEST, DOCUMENTS] = ["train.arrow", "test.arrow", "documents.arrow"];

/** Names the node of a block's tokens. */
export const tokensOf = ({ name }: Pick<Block, "name">): string => `tokens/${name}`;

/** Names the files of the training sequences of all blocks. */
export const trainFiles = (blocks: readonly Block[]): { need: string; file: string }[] =>
  blocks.map((block) => ({ need: tokensOf(block), file: TRAIN }));

/** What became of the text of a block, in counts by source. */
export interface SourceCounts {
  /** Documents for training, and held out. */
  documents: { train: number; test: number };
  /** Tokens for training, and held out. */
  tokens: { train: number; test: number };
}

/** Makes a node for every block. */
export function tokenizeNodes(
  configuration: Configuration,
  text: Text,
  blocks: readonly Block[],
  taken?: Node,
): Node[] {
  const { eos, sequenceLength, packing, holdout } = configuration;
  const seed = textSeedOf(configuration);
  const byName = new Map(blocks.map((block) => [tokensOf(block), block]));
  let opened: Tokenizer | undefined;
  const maker: Maker = {
    stage: TOKENIZE,
    async make([making], work) {
      opened ??= await tokenizerIn(making.path(TOKENIZER), { eos }, making.verified);
      const options: TokenizeOptions = {
        sequenceLength,
        packing,
        holdout,
        textSeed: seed,
        workers: work.workers,
      };
      const block = byName.get(making.node.name)!;
      const documents = readTaken(block, configuration, text, making, taken);
      return [await tokenizeBlock(making, work, documents, block, opened, options)];
    },
  };
  const settings = { ...text.reading, eos, sequenceLength, packing, holdout, ...holdout > 0 ? { seed } : {} };
  return blocks.map((block) => ({
    name: tokensOf(block),
    needs: [TOKENIZER, ...taken ? [takenNeed(taken, block)] : []],
    settings: { ...settings, block: block.name },
    revision: 1,
    maker,
  }));
}

export { ALL_TEST, ALL_TRAIN, SEQUENCES };

/** Makes the node that lists the sequences of all blocks, by the hashes of their files. */
export function sequencesNode(blocks: readonly Pick<Block, "name">[]): Node {
  const maker: Maker = {
    stage: TOKENIZE,
    async make([{ folder, manifest, wrote }]) {
      for (const [file, shard] of [["train.json", TRAIN], ["test.json", TEST]]) {
        const hashes = blocks.map((block) => [block.name, manifest(tokensOf(block)).files[shard].sha256]);
        wrote(file, await writeAtomic(`${folder}/${file}`, jsonText(Object.fromEntries(hashes))));
      }
      return [{ blocks: blocks.length }];
    },
  };
  const settings = { blocks: blocks.map(({ name }) => name) };
  return {
    name: SEQUENCES,
    needs: blocks.map((block) => `${tokensOf(block)}:t`),
    settings,
    revision: 1,
    maker,
  };
}

async function tokenizeBlock(
  { folder, wrote }: Making,
  { emit, signal }: Work,
  documents: AsyncIterable<BlockDocument>,
  block: Block,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): Promise<Record<string, unknown>> {
  const counts = noCounts();
  const firstId = BigInt(block.id) << 24n;
  const table = new DocumentTable();
  const sides = { train: new TransformStream<RecordBatch>(), test: new TransformStream<RecordBatch>() };
  const empty = emptyBatch(["document", "source", "tokens"], tokenLineage(tokenizer, options));
  const write = async (name: string, batches: ReadableStream<RecordBatch>) => {
    const { rows, ...record } = await writeArrowFile(`${folder}/${name}`, batches, empty);
    wrote(name, { ...record, batches: await checksums(`${folder}/${name}`) });
    return rows;
  };
  const written = Promise.all([write(TRAIN, sides.train.readable), write(TEST, sides.test.readable)]);
  written.catch(() => {}); // heard below
  const writers = { train: sides.train.writable.getWriter(), test: sides.test.writable.getWriter() };
  try {
    const all = { ...options, firstId, onDocument: (document: TokenizedDocument) => table.add(document) };
    for await (const { side, batch } of tokenizeDocuments(documents, tokenizer, all, counts)) {
      signal?.throwIfAborted();
      emit({ type: "progress", stage: TOKENIZE, done: counts.documents, unit: "documents" });
      await writers[side].write(batch);
    }
    await Promise.all([writers.train.close(), writers.test.close()]);
  } catch (error) {
    await Promise.all([writers.train.abort(error), writers.test.abort(error)]).catch(() => {});
    await written; // where writing failed, that is the error
    throw error;
  }
  const [trainSequences, testSequences] = await written;
  const rows = ReadableStream.from(table.batches());
  const { rows: _, ...record } = await writeArrowFile(`${folder}/${DOCUMENTS}`, rows, table.empty());
  wrote(DOCUMENTS, record);
  const { documents: texts, emptyDocuments, tokens, droppedTails, sequences } = counts;
  if (Math.max(texts, sequences) >= MOST_IDS) {
    throw new InputError(
      say`Cannot tokenize block ${block.name} as it must have fewer than ${MOST_IDS} sequences: it has ${sequences}`,
      { remedy: say`cut large files, or set a smaller ${setting("blockBytes")}` },
    );
  }
  return {
    ...{ documents: texts, emptyDocuments, tokens, trainSequences, testSequences, droppedTails },
    ...{ vocabulary: tokenizer.vocabulary, eos: tokenizer.eos, tokenizer: tokenizer.sha256 },
    sources: Object.fromEntries([...table.sources].sort(([a], [b]) => a < b ? -1 : 1)),
  };
}

const ROWS = 4096;
const MOST_IDS = 2 ** 24; // of a block

/** The rows of documents: their ids, pieces and places, hashes of their texts, sources, sides and tokens. */
class DocumentTable {
  readonly sources = new Map<string, SourceCounts>();
  #rows: (TokenizedDocument & { sha256: string })[] = [];

  add(tokenized: TokenizedDocument): void {
    const { document, side, tokens } = tokenized;
    const { source } = document;
    const counts = this.sources.get(source) ??
      { documents: { train: 0, test: 0 }, tokens: { train: 0, test: 0 } };
    counts.documents[side]++;
    counts.tokens[side] += tokens;
    this.sources.set(source, counts);
    this.#rows.push({
      ...tokenized,
      sha256: sha256(document.text),
      document: { ...document, text: "", tokens: undefined },
    });
  }

  *batches(): Generator<RecordBatch> {
    for (let at = 0; at < this.#rows.length; at += ROWS) yield batchOf(this.#rows.slice(at, at + ROWS));
  }

  empty(): RecordBatch {
    return batchOf([]);
  }
}

function batchOf(rows: readonly (TokenizedDocument & { sha256: string })[]): RecordBatch {
  return toTable({
    document: BigUint64Array.from(rows, ({ id }) => id),
    piece: Uint32Array.from(rows, ({ document }) => (document as BlockDocument).piece),
    place: Uint32Array.from(rows, ({ document: { place = 0 } }) => place),
    sha256: rows.map(({ sha256 }) => sha256),
    source: rows.map(({ document: { source } }) => source),
    side: rows.map(({ side }) => side),
    tokens: Uint32Array.from(rows, ({ tokens }) => tokens),
  }, { format: 1, stage: TOKENIZE });
}
