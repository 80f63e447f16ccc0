/**
 * The settings of the text: which text a run is of, and how it is read.
 *
 * @module
 */

import { say, setting } from "../../kernels/errors.ts";
import { choice, flag, integer, paths, section, text } from "./field.ts";

const FORMATS = [
  ...["auto", "txt", "txt.gz", "txt.zst", "jsonl", "jsonl.gz", "jsonl.zst"] as const,
  ...["ndjson", "ndjson.gz", "ndjson.zst", "parquet", "arrow"] as const,
];

/** Settings of the text. */
export const TEXT = section("Text", {
  input: paths({ default: [], help: "file, glob or - (standard input), repeatable; none: embedded corpus" }),
  format: choice(FORMATS, {
    default: "auto",
    value: "FORMAT",
    help: "txt, jsonl, ndjson (also with .gz or .zst), parquet or arrow; auto goes by the file name",
  }),
  textField: text({ default: "text", value: "NAME", help: "JSON field with a document's text" }),
  sourceField: text({
    default: "",
    value: "NAME",
    help: "JSON field, or column of Parquet or Arrow, with a document's source, a label that no model sees",
  }),
  textColumn: text({
    default: "",
    value: "NAME",
    help: say`column of Parquet or Arrow with a document's text; without it that of ${setting("textField")}`,
  }),
  tokenColumn: text({
    default: "",
    value: "NAME",
    help: say`column of Parquet or Arrow with a document's ids instead of its text, of the ${
      setting("tokenizer")
    } that is named`,
  }),
  sourceFromPath: text({
    default: "off",
    value: "PATTERN",
    help:
      "take the source from the file's path: its folder's name, or with a value what stands at {source}, as in " +
      "'{source}/*.txt'; off for none",
  }),
  maxDocuments: integer({ default: 0, min: 0, help: "most documents to read; 0 for all" }),
  take: choice(["hash", "head"], {
    default: "hash",
    help:
      "under a limit, take documents by a seeded hash, from everywhere, or the first ones; of a pipe always the first",
  }),
  dedup: choice(["off", "exact", "near"], {
    default: "off",
    help:
      "leave out documents that are equal to another one, or nearly so: of each group the first in a seeded order stays",
  }),
  decontaminate: paths({
    default: [],
    help:
      "file of texts, such as a benchmark: leave out training documents that share 13 words in a row with it",
  }),
  splitGroups: flag({
    help: say`keep documents that are nearly equal together, all held out or none, as ${
      setting("dedup")
    } does`,
  }),
  corpus: choice(["default", "wide"], {
    default: "default",
    help: say`embedded corpus to read without ${
      setting("input")
    }: default has six kinds of text, wide eleven`,
  }),
  corpusCharacters: integer({ default: 800_000, min: 1000, help: "characters per embedded source" }),
  blockBytes: integer({
    default: 2 ** 25,
    min: 1000,
    max: 2 ** 36,
    help: "bytes of text in a block, which is what processes and machines share",
  }),
  textSeed: integer({
    default: -1,
    min: -1,
    help: say`seed that takes and holds out documents, so that runs of another ${
      setting("seed")
    } have the same text; -1 takes that of the run`,
  }),
});

/** Gives the seed by which documents are taken and held out. */
export function findTextSeed({ textSeed, seed }: { textSeed: number; seed: number }): number {
  return textSeed < 0 ? seed : textSeed;
}
