/**
 * The text of a run: the files that its inputs name, cut into blocks. Text that is no file which
 * can be cut is first unpacked into a node of its own. Such are the embedded corpus, standard
 * input, documents of a script, and a large compressed file.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { InputError } from "../../kernels/errors.ts";
import { CORPUS, type Node, oneByOne } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { exists, sha256 } from "../graph/files.ts";
import { canonical } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Block, cutFiles, gatherBlocks, type Piece } from "../text/blocks.ts";
import { CORPORA, type CorpusName, embeddedCorpus } from "../text/corpora/corpus.ts";
import { documentLines, readOptions } from "../text/documents.ts";
import { type InputFile, listInputs, STANDARD_INPUT } from "../text/inputs.ts";
import { type Document, MAX_DOCUMENT, readDocuments, readPiece } from "../text/readers.ts";

/** The text of a run, as far as it is known before anything is made. */
export interface RunText {
  /** Its blocks; undefined where text must be unpacked first. */
  blocks?: Block[];
  /** Nodes that unpack text, where there are some. */
  unpacked: Node[];
  /** Settings that decide what is read of the files. */
  reading: Readonly<Record<string, unknown>>;
  /** How many files of folders cannot be read, by ending. */
  passed: ReadonlyMap<string, number>;
  /** Files that are read as one document of text each, as their names tell no other format. */
  asText: readonly string[];
}

/** Text that a command hands over, rather than names. */
export interface GivenText {
  /** Documents of a script. They stand in place of inputs. */
  documents?: AsyncIterable<Document>;
  /**
   * A token that is new each time text is handed over, because such text can be compared only after
   * it was read; undefined where none is handed over.
   */
  reading?: string;
}

/** Name of the node of documents of a script. */
export const GIVEN_TEXT = "text/given";
const FILES = "text/files.json"; // sizes, times and hashes of files that were seen

/** Settings that decide which documents a file holds. */
const READING = ["textField", "textColumn", "tokenColumn", "sourceField"] as const;
/** What decides that of text that is in the run. */
const OWN = { sourceField: "source" };

/** Gives the settings that decide what is read of the files. */
export const readingSettings = (configuration: Configuration): RunText["reading"] =>
  configuration.input.length === 0
    ? OWN
    : Object.fromEntries(READING.map((name) => [name, configuration[name]]));

/**
 * Looks at the text that settings name. With `keep`, hashes of files are kept in the run, so that a
 * second look is fast; with `check` what was kept is not believed. The blocks get other names than
 * `otherBlocks`.
 */
export async function lookAtText(
  run: string,
  configuration: Configuration,
  { documents, reading: handed }: GivenText = {},
  { keep = false, check = false, others: otherBlocks = [] as readonly Block[] } = {},
): Promise<RunText> {
  const { input, corpus, corpusCharacters: characters, blockBytes, format } = configuration;
  const reading = readingSettings(configuration);
  const isGiven = documents !== undefined ||
    input.length === 0 && await exists(`${run}/${GIVEN_TEXT}`);
  if (isGiven || input.length === 0) {
    const name = corpus as CorpusName;
    const embedded = { corpus: CORPORA[name].version, characters };
    const node = isGiven
      ? await readOnce(run, linesNode(GIVEN_TEXT, {}, blockBytes, () => documents ?? []), handed)
      : linesNode("text/corpus", embedded, blockBytes, () => embeddedCorpus(name, characters));
    return await textIn(run, node, blockBytes);
  }
  const { files, passed } = await listInputs(input, configuration);
  const pieces = await cutFiles(files, blockBytes, { place: `${run}/${FILES}`, keep, check });
  const parts: (Piece | Node)[] = [];
  for (const piece of pieces) {
    const { file } = piece;
    const isInput = file.path === STANDARD_INPUT;
    if (!isInput && !(file.compression && piece.bytes > blockBytes)) parts.push(piece);
    else {
      const node = unpackNode(file, configuration, piece.sha256);
      parts.push(isInput ? await readOnce(run, node, handed) : node);
    }
  }
  const asText = format === "auto"
    ? files.filter(({ path, format }) => format === "txt" && !/\.txt(\.\w+)?$/i.test(path))
    : [];
  const blocks = await gatherTextBlocks(run, parts, blockBytes, otherBlocks);
  if (blocks?.every(({ bytes }) => bytes === 0)) {
    const list = configuration.input.join(", ");
    throw new InputError(`Cannot read documents as there must be text: there is none in ${list}`);
  }
  // Two files may hold the same.
  const unpacked = new Map(parts.filter(isNode).map((node) => [node.name, node]));
  return {
    blocks,
    unpacked: [...unpacked.values()],
    reading,
    passed,
    asText: asText.map(({ path }) => path),
  };
}

/**
 * Makes the node of text that can be read only once: from what is handed over now, or as it lies in
 * the run.
 */
async function readOnce(run: string, node: Node, handed?: string): Promise<Node> {
  if (handed !== undefined) return { ...node, settings: { ...node.settings, reading: handed } };
  return { ...node, given: await exists(`${run}/${node.name}`) };
}

const isNode = (part: Piece | Node): part is Node => "maker" in part;

/** Gives the text of one node, once that is made. */
export async function textIn(run: string, node: Node, blockBytes: number): Promise<RunText> {
  const blocks = await gatherTextBlocks(run, [node], blockBytes);
  return { blocks, unpacked: [node], reading: OWN, passed: new Map(), asText: [] };
}

/**
 * Gathers blocks of pieces, and of the files that nodes hold; undefined where one of these is not
 * made.
 */
async function gatherTextBlocks(
  run: string,
  parts: readonly (Piece | Node)[],
  blockBytes: number,
  otherBlocks: readonly Block[] = [],
): Promise<Block[] | undefined> {
  const pieces: Piece[] = [];
  for (const part of parts) {
    if (!isNode(part)) {
      pieces.push(part);
      continue;
    }
    const { state, manifest } = await new Walk(run, [part]).of(part);
    if (state !== "made" || !manifest) return undefined;
    for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
      const file: InputFile = { path: `${run}/${part.name}/${name}`, format: "jsonl" };
      pieces.push({ file, bytes, sha256, unpacked: true });
    }
  }
  return gatherBlocks(pieces, blockBytes, otherBlocks);
}

/** Makes the node of text that is written as JSON lines, in files that are blocks. */
export function linesNode(
  name: string,
  settings: Record<string, unknown>,
  blockBytes: number,
  open: () => AsyncIterable<Document> | Iterable<Document>,
): Node {
  const maker = oneByOne(CORPUS, async ({ write }, { emit, signal }) => {
    let documents = 0;
    const lines = documentLines(textsAlone(open()));
    for (let file = 0, next = await lines.next(); !next.done; file++) {
      const some = async function* () {
        for (
          let bytes = 0;
          !next.done && (bytes === 0 || bytes + next.value.length <= blockBytes);
          next = await lines.next()
        ) {
          signal?.throwIfAborted();
          if (next.value.length > MAX_DOCUMENT + 1) { // with the end of the line
            const rule = `it must have at most ${MAX_DOCUMENT} bytes as a line of JSON`;
            throw new InputError(`Cannot keep document ${documents + 1} as ${rule}: it has more`);
          }
          yield next.value;
          bytes += next.value.length;
          if (++documents % 100 > 0) continue;
          emit({ type: "progress", stage: CORPUS, done: documents, unit: "documents" });
        }
      };
      await write(`${String(file).padStart(5, "0")}.jsonl`, some());
    }
    if (documents === 0) {
      throw new InputError("Cannot read documents as there must be text: there is none");
    }
    return { documents };
  });
  return { name, needs: [], settings: { ...settings, blockBytes }, revision: 1, maker };
}

/** Passes on documents. Throws an `InputError` for one that comes as ids, as only text is kept. */
async function* textsAlone(
  documents: AsyncIterable<Document> | Iterable<Document>,
): AsyncGenerator<Document> {
  for await (const document of documents) {
    if (document.tokens === undefined) yield document;
    else {throw new InputError(
        "Cannot keep a document that is read once as it must be text: it is token ids",
      );}
  }
}

function unpackNode(file: InputFile, configuration: Configuration, hash: string): Node {
  const { blockBytes, maxDocuments, take } = configuration;
  const isInput = file.path === STANDARD_INPUT;
  const options = {
    ...readOptions(configuration),
    maxDocuments: isInput && take === "head" && maxDocuments || undefined,
  };
  const { format, compression, source } = file;
  const settings = { ...readingSettings(configuration), format, compression, source, text: hash };
  const name = `text/${isInput ? "input" : sha256(canonical(settings)).slice(0, 16)}`;
  return linesNode(name, settings, blockBytes, () => readDocuments([file.path], options));
}

/** A document of a block, and the piece that it is of. */
export interface BlockDocument extends Document {
  /** Number of its piece in the block. */
  piece: number;
}

/** Reads the documents of a block. */
export async function* readBlock(
  block: Block,
  configuration: Configuration,
  { reading }: RunText,
): AsyncGenerator<BlockDocument> {
  const options = {
    ...readOptions({ ...configuration, ...reading }),
    maxDocuments: undefined,
    mayBeEmpty: true,
  };
  const ownOptions = { ...OWN, prompts: true, mayBeEmpty: true };
  for (const [i, piece] of block.pieces.entries()) {
    for await (const document of readPiece(piece, piece.unpacked ? ownOptions : options)) {
      // From the beginning of the piece, so that a change before it in the file leaves the block as
      // it is.
      const { place } = document;
      const { rowsBefore = 0 } = piece;
      yield { ...document, ...place === undefined ? {} : { place: place - rowsBefore }, piece: i };
    }
  }
}

/** Hashes what decides the documents of a text, but for limits. */
export function hashText({ reading, blocks }: RunText): string {
  const hash = createHash("sha256").update(JSON.stringify(reading));
  for (const { name } of blocks ?? []) hash.update(name);
  return hash.digest("hex");
}
