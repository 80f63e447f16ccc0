/**
 * The settings of tokenizer and sequences: how text becomes sequences of tokens.
 *
 * @module
 */

import { choice, integer, number, path, section, text } from "./field.ts";

/** Settings of the tokenizer and of the sequences. Symbols in brackets are those of the paper. */
export const TOKENS = section("Tokens", {
  tokenizer: path({ default: "", value: "FILE", help: "a tokenizer.json to use; without it one is trained" }),
  vocabularySize: integer({
    flag: "vocab-size",
    default: 1024,
    min: 258,
    max: 1_048_576,
    help: "entries of the BPE tokenizer that is trained [V]",
  }),
  tokenizerSample: integer({ default: 16_000_000, min: 1000, help: "characters to train the tokenizer on" }),
  eos: text({
    default: "",
    value: "TOKEN",
    help: "token that ends a document, if the tokenizer's own is not obvious",
  }),
  sequenceLength: integer({ default: 128, min: 2, max: 65_536, help: "tokens in a sequence [S]" }),
  packing: choice(["document", "concat"], {
    default: "document",
    help: "document: a sequence never crosses documents; concat: it may",
  }),
  maxTokens: integer({ default: 0, min: 0, help: "most tokens to take; 0 for all" }),
  holdout: number({ default: 0.1, min: 0, max: 0.9, help: "share of the documents held out for testing" }),
  shardSequences: integer({ default: 4096, min: 1, max: 16_777_216, help: "most sequences in a shard" }),
});
