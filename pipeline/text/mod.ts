/**
 * From text to sequences of tokens: readers, the embedded corpora, tokenizers, packing.
 *
 * @module
 */

export { type CorpusName, embeddedCorpus } from "./corpora/corpus.ts";

export { documentLines, openDocuments, readOptions, tokenBatches } from "./documents.ts";
export type { Block, Piece } from "./blocks.ts";
export { expandInputs, type InputFile } from "./inputs.ts";
export { type Document, readDocuments, type ReadOptions } from "./readers.ts";
export { type ShownRow, showRows } from "./show.ts";
export {
  noCounts,
  type Packing,
  type Side,
  type TokenizeCounts,
  type TokenizedBatch,
  type TokenizedDocument,
  tokenizeDocuments,
  type TokenizeOptions,
} from "./tokenize.ts";
export {
  EOS_TOKEN,
  loadTokenizer,
  type Tokenizer,
  trainTokenizer,
  type TrainTokenizerOptions,
} from "./tokenizer.ts";
export type { Encoders } from "./encoders.ts";
export { COPY_RULE, type CopyRule } from "./near_copies.ts";
