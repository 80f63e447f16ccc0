/**
 * The tokenizer of a run, trained on a bounded sample of training documents or a copy of the one
 * that is named; and what it makes of each block: sequences of training documents, of held-out
 * ones, and a row for every document.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import {
  type Making,
  type Node,
  oneByOne,
  SEQUENCES,
  TOKENIZE,
  TOKENIZER,
  TOKENIZER_FILE,
  type Work,
} from "../graph/node.ts";
import { ArrowFile, emptyBatch } from "../rows/arrow.ts";
import { hashNamed, jsonText, sha256 } from "../graph/files.ts";
import { findTextSeed } from "../settings/text.ts";
import type { Block } from "../text/blocks.ts";
import { type Encoders, openEncoders } from "../text/encoders.ts";
import {
  chooseSide,
  noCounts,
  type TokenizedDocument,
  tokenizeDocuments,
  type TokenizeOptions,
  tokenLineage,
} from "../text/tokenize.ts";
import {
  findTokenizerFile,
  loadTokenizer,
  type Tokenizer,
  tokenizerIn,
  trainTokenizer,
} from "../text/tokenizer.ts";
import type { GraphOf } from "./stage.ts";
import { SIDES } from "./parts.ts";
import { readTaken, takenNeed } from "./take.ts";
import { type BlockDocument, hashText } from "./text.ts";
import {
  documentBatch,
  type DocumentRow,
  DOCUMENTS,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "./token_rows.ts";

/** Names the files of the training sequences of all blocks. */
export const trainFiles = (blocks: readonly Block[]): { need: string; file: string }[] =>
  blocks.map((block) => ({ need: tokensNode(block), file: TRAIN }));

/** What became of the text of a block, in counts by source. */
export interface SourceCounts {
  /** Documents for training, and held out. */
  documents: { train: number; test: number };
  /** Tokens for training, and held out. */
  tokens: { train: number; test: number };
}

const noSource = (): SourceCounts => ({
  documents: { train: 0, test: 0 },
  tokens: { train: 0, test: 0 },
});

/** Adds up what became of the text of blocks, by source. */
export function countSources(making: Making, blocks: readonly Block[]): Map<string, SourceCounts> {
  const totals = new Map<string, SourceCounts>();
  for (const block of blocks) {
    const sources = making.manifest(tokensNode(block)).result.sources as Record<
      string,
      SourceCounts
    >;
    for (const [name, counted] of Object.entries(sources)) {
      const { documents, tokens } = totals.getOrInsertComputed(name, noSource);
      for (const side of SIDES) {
        documents[side] += counted.documents[side];
        tokens[side] += counted.tokens[side];
      }
    }
  }
  return totals;
}

/** Sorts what is known by name. */
export const byName = <Value>(values: ReadonlyMap<string, Value>): Record<string, Value> =>
  Object.fromEntries([...values].sort(([a], [b]) => a < b ? -1 : 1));

/** Makes a node for every block. */
export function tokenizeNodes(
  { configuration, text, blocks, prompts, away }: GraphOf,
  taken?: Node,
): Node[] {
  const { eos, sequenceLength, packing, holdout } = configuration;
  const seed = findTextSeed(configuration);
  const blockByNode = new Map(blocks.map((block) => [tokensNode(block), block]));
  const gone = new Set(away);
  let opened: { tokenizer: Tokenizer; encoders: Encoders } | undefined;
  const open = async (making: Making, { workers }: Work) => {
    const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
    return { tokenizer, encoders: openEncoders(tokenizer, workers) };
  };
  const maker = oneByOne(TOKENIZE, async (making, work) => {
    const { tokenizer, encoders } = opened ??= await open(making, work);
    const options = { sequenceLength, packing, holdout, textSeed: seed, encoders, prompts };
    const block = blockByNode.get(making.node.name)!;
    const documents = readTaken(block, configuration, text, making, taken);
    return await tokenizeBlock(making, work, documents, block, tokenizer, { ...options, gone });
  }, () => {
    opened?.encoders.close();
    opened = undefined;
  });
  const settings = {
    ...text.reading,
    eos,
    sequenceLength,
    packing,
    holdout,
    ...holdout > 0 ? { seed } : {},
    ...prompts ? { prompts } : {},
  };
  return blocks.map((block) => ({
    name: tokensNode(block),
    needs: [TOKENIZER, ...taken ? [takenNeed(taken, block)] : []],
    settings: { ...settings, block: block.name },
    revision: 1,
    maker,
  }));
}

/** Makes the node that lists the sequences of all blocks, by the hashes of their files. */
export function sequencesNode({ blocks }: GraphOf): Node {
  return {
    name: SEQUENCES,
    needs: blocks.map((block) => `${tokensNode(block)}:t`),
    settings: { blocks: blocks.map(({ name }) => name) },
    revision: 1,
    maker: oneByOne(TOKENIZE, async ({ write, manifest }) => {
      for (const [file, shard] of [["train.json", TRAIN], ["test.json", TEST]]) {
        const hashes = blocks.map((
          block,
        ) => [block.name, manifest(tokensNode(block)).files[shard].sha256]);
        await write(file, jsonText(Object.fromEntries(hashes)));
      }
      return { blocks: blocks.length };
    }),
  };
}

/** Columns of the table of a block's documents. */
export const COLUMNS = [
  "document",
  "piece",
  "place",
  "sha256",
  "source",
  "side",
  "tokens",
] as const;
/** Rows of a batch of a table of documents. */
export const ROWS = 4096;
const MOST_IDS = 2 ** 24; // of a block

/** Writes the table of a block's documents, and counts them. */
export async function writeDocumentTable(
  making: Making,
  table: readonly Pick<DocumentRow, typeof COLUMNS[number]>[],
): Promise<{ documents: number; tokens: number; sources: Record<string, SourceCounts> }> {
  const batches = function* () {
    for (let at = 0; at < table.length; at += ROWS) {
      yield documentBatch(TOKENIZE, COLUMNS, table.slice(at, at + ROWS));
    }
  };
  await writeRows(making, DOCUMENTS, batches(), documentBatch(TOKENIZE, COLUMNS, []));
  const sources = new Map<string, SourceCounts>();
  for (const { source, side, tokens } of table) {
    const tally = sources.getOrInsertComputed(source, noSource);
    tally.documents[side]++;
    tally.tokens[side] += tokens;
  }
  const tokens = table.reduce((sum, { tokens }) => sum + tokens, 0);
  return { documents: table.length, tokens, sources: byName(sources) };
}

async function tokenizeBlock(
  making: Making,
  { emit, signal }: Work,
  texts: AsyncIterable<BlockDocument>,
  block: Block,
  tokenizer: Tokenizer,
  { gone, ...options }: TokenizeOptions & { gone: ReadonlySet<string> },
): Promise<Record<string, unknown>> {
  const counts = noCounts();
  const table: Pick<DocumentRow, typeof COLUMNS[number]>[] = [];
  const onDocument = ({ id, document, side, tokens }: TokenizedDocument) => {
    const { text, source, place = 0, piece } = document as BlockDocument;
    const hash = sha256(text);
    if (gone.has(hash)) {
      const { file: { path }, rowsBefore = 0 } = block.pieces[piece];
      const rule = `what is forgotten must stay away: number ${place + rowsBefore} has its text`;
      const remedy = "leave that out, and derive into another folder";
      throw new InputError(`Cannot take "${path}" as ${rule}`, { where: path, remedy });
    }
    table.push({ document: id, piece, place, sha256: hash, source, side, tokens });
  };
  const all = { ...options, firstId: BigInt(block.id) << 24n, onDocument };
  const columns = [
    "document",
    "source",
    "tokens",
    ...options.prompts ? ["begin" as const] : [],
  ] as const;
  const empty = emptyBatch([...columns], tokenLineage(tokenizer, options));
  await using train = new ArrowFile(`${making.folder}/${TRAIN}`, empty);
  await using test = new ArrowFile(`${making.folder}/${TEST}`, empty);
  for await (const { side, batch } of tokenizeDocuments(texts, tokenizer, all, counts)) {
    signal?.throwIfAborted();
    emit({ type: "progress", stage: TOKENIZE, done: counts.documents, unit: "documents" });
    await (side === "train" ? train : test).write(batch);
  }
  const { rows: trainSequences, ...trainNote } = await train.close();
  const { rows: testSequences, ...testNote } = await test.close();
  making.wrote({ [TRAIN]: trainNote, [TEST]: testNote });
  const { sources } = await writeDocumentTable(making, table);
  const { documents, emptyDocuments, tokens, droppedTails, sequences } = counts;
  if (Math.max(documents, sequences) >= MOST_IDS) {
    const rule = say`it must have fewer than ${MOST_IDS} sequences: it has ${sequences}`;
    throw new InputError(
      say`Cannot tokenize block ${block.name} as ${rule}`,
      { remedy: say`cut large files, or set a smaller ${setting("blockBytes")}` },
    );
  }
  return {
    documents,
    emptyDocuments,
    tokens,
    trainSequences,
    testSequences,
    droppedTails,
    vocabulary: tokenizer.vocabulary,
    eos: tokenizer.eos,
    tokenizer: tokenizer.sha256,
    sources,
  };
}

/**
 * Makes the node of the tokenizer. Throws an `InputError` where the one that is named is no file,
 * or where none of the size can be trained.
 */
export async function tokenizerNodes(graph: GraphOf, taken?: Node): Promise<Node[]> {
  const { configuration, text } = graph;
  const { tokenizer, vocabularySize, tokenizerSample, holdout, eos } = configuration;
  const isNamed = tokenizer !== "";
  const open = (making: Making, work: Work) =>
    isNamed ? loadTokenizer(tokenizer, { eos }) : train(graph, making, work, taken);
  return [{
    name: TOKENIZER,
    needs: taken && !isNamed ? [taken.name] : [],
    settings: isNamed ? { tokenizer: await hashNamed(await findTokenizerFile(tokenizer)), eos } : {
      text: hashText(text),
      vocabularySize,
      tokenizerSample,
      holdout,
      seed: findTextSeed(configuration),
    },
    links: { [TOKENIZER_FILE]: TOKENIZER_FILE },
    revision: 1,
    maker: oneByOne(TOKENIZER, async (making, work) => {
      const { json, vocabulary, eos, sha256 } = await open(making, work);
      await making.write(TOKENIZER_FILE, json);
      return { entries: vocabulary, eos, tokenizer: sha256 };
    }),
  }];
}

async function train(
  { configuration, text, blocks }: GraphOf,
  making: Making,
  { emit, signal }: Work,
  taken?: Node,
): Promise<Tokenizer> {
  const { holdout, vocabularySize, tokenizerSample } = configuration;
  const seed = findTextSeed(configuration);
  const documents = async function* () {
    for (const block of blocks) {
      for await (const document of readTaken(block, configuration, text, making, taken)) {
        signal?.throwIfAborted();
        const side = document.side ?? chooseSide(document.text, seed, holdout);
        if (side === "train") yield document;
      }
    }
  };
  return await trainTokenizer(documents(), {
    vocabularySize,
    sample: tokenizerSample,
    signal,
    onWarning: (message) => emit({ type: "warning", message }),
  });
}
