/**
 * The settings of the text: which text a run is of, how it is read, and how it becomes sequences of
 * tokens.
 *
 * @module
 */

import { say, setting } from "../../kernels/errors.ts";
import { choice, flag, integer, number, path, paths, section, text } from "./field.ts";

const FORMATS = [
  ...["auto", "txt", "txt.gz", "txt.zst", "jsonl", "jsonl.gz", "jsonl.zst"] as const,
  ...["ndjson", "ndjson.gz", "ndjson.zst", "parquet", "arrow"] as const,
];

/** Settings of the text. */
export const TEXT = section("Text", {
  input: paths(
    { default: [] },
    "file, glob or - (standard input), repeatable; none: embedded corpus",
  ),
  format: choice(
    FORMATS,
    { default: "auto", value: "FORMAT" },
    "txt, jsonl, ndjson (also with .gz or .zst), parquet or arrow; auto goes by the file name",
  ),
  textField: text({ default: "text", value: "NAME" }, "JSON field with a document's text"),
  sourceField: text(
    { default: "", value: "NAME" },
    "JSON field, or column of Parquet or Arrow, with a document's source, a label " +
      "that no model sees",
  ),
  textColumn: text(
    { default: "", value: "NAME" },
    say`column of Parquet or Arrow with a document's text; without it that of ${
      setting("textField")
    }`,
  ),
  tokenColumn: text(
    { default: "", value: "NAME" },
    say`column of Parquet or Arrow with a document's ids instead of its text, of the ${
      setting("tokenizer")
    } that is named`,
  ),
  sourceFromPath: text(
    { default: "off", value: "PATTERN" },
    "take the source from the file's path: its folder's name, or with a value what " +
      "stands at {source}, as in " +
      "'{source}/*.txt'; off for none",
  ),
  maxDocuments: integer({ default: 0, min: 0 }, "most documents to read; 0 for all"),
  take: choice(
    ["hash", "head"],
    { default: "hash" },
    "under a limit, take documents by a seeded hash, from everywhere, or the first " +
      "ones; of a pipe always the first",
  ),
  dedup: choice(
    ["off", "exact", "near"],
    { default: "off" },
    "leave out documents that are equal to another one, or nearly so: of each group " +
      "the first in a seeded order stays",
  ),
  decontaminate: paths(
    { default: [] },
    "file of texts, such as a benchmark: leave out training documents that share 13 " +
      "words in a row with it",
  ),
  splitGroups: flag(
    say`keep documents that are nearly equal together, all held out or none, as ${
      setting("dedup")
    } does`,
  ),
  corpus: choice(
    ["default", "wide"],
    { default: "default" },
    say`embedded corpus to read without ${
      setting("input")
    }: default has six kinds of text, wide eleven`,
  ),
  corpusCharacters: integer({ default: 800_000, min: 1000 }, "characters per embedded source"),
  blockBytes: integer(
    { default: 2 ** 25, min: 1000, max: 2 ** 36 },
    "bytes of text in a block, which is what processes and machines share",
  ),
  textSeed: integer(
    { default: -1, min: -1 },
    say`seed that takes and holds out documents, so that runs of another ${
      setting("seed")
    } have the same text; -1 takes that of the run`,
  ),
});

/** Settings of the tokenizer and of the sequences. Symbols in brackets are those of the paper. */
export const TOKENS = section("Tokens", {
  tokenizer: path(
    { default: "", value: "FILE" },
    "a tokenizer.json to use, or the folder of a model with one; without it one is trained",
  ),
  vocabularySize: integer(
    { flag: "vocab-size", default: 1024, min: 258, max: 1_048_576 },
    "entries of the BPE tokenizer that is trained [V]",
  ),
  tokenizerSample: integer(
    { default: 16_000_000, min: 1000 },
    "characters to train the tokenizer on",
  ),
  eos: text(
    { default: "", value: "TOKEN" },
    "token that ends a document, if the tokenizer's is not obvious",
  ),
  sequenceLength: integer({ default: 128, min: 2, max: 65_536 }, "tokens in a sequence [S]"),
  packing: choice(
    ["document", "concat"],
    { default: "document" },
    "document: a sequence never crosses documents; concat: it may",
  ),
  maxTokens: integer({ default: 0, min: 0 }, "most tokens to take; 0 for all"),
  holdout: number(
    { default: 0.1, min: 0, max: 0.9 },
    "share of the documents held out for testing",
  ),
  shardSequences: integer({ default: 4096, min: 1, max: 16_777_216 }, "most sequences in a shard"),
});

/** Returns the seed that takes and holds out documents. */
export function findTextSeed({ textSeed, seed }: { textSeed: number; seed: number }): number {
  return textSeed < 0 ? seed : textSeed;
}
