/**
 * The tokenizer in the header of a GGUF file. llama.cpp knows how each of some tokenizers cuts text
 * into words, by its name; of byte-level BPE it takes the tokens and the merges.
 */

import * as v from "valibot";
import { ensure, InputError } from "../../../../kernels/errors.ts";
import { oneLine } from "../../../graph/files.ts";
import { canonical, conform, isObject, tokenIds } from "../../../graph/schema.ts";
import type { GgufValue } from "./file.ts";

/** Codes of what a token is. */
const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5];

const byteLevel = (withPattern: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  use_regex: withPattern,
});

const split = (pattern: string) => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    byteLevel(false),
  ],
});

/** The pattern of Llama 3, with at most so many digits in a word. */
const modern = (digits: string) =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}` +
  String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/**
 * How text is cut into words, by the name that llama.cpp has for it. With `wholeWords`, a word that
 * is a token becomes that token, whatever the merges say.
 */
const CUTTERS: { name: string; cutter: object; wholeWords?: boolean }[] = [
  { name: "gpt-2", cutter: byteLevel(true) },
  {
    name: "smollm",
    cutter: {
      type: "Sequence",
      pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)],
    },
  },
  { name: "llama-bpe", cutter: split(modern("{1,3}")), wholeWords: true },
  { name: "qwen2", cutter: split(modern("")) },
];

const FORMAT = v.object({
  normalizer: v.optional(v.nullable(v.object({ type: v.string() }))),
  pre_tokenizer: v.nullable(v.looseObject({ type: v.string() })),
  added_tokens: v.optional(
    v.array(v.looseObject({ id: v.number(), content: v.string(), special: v.boolean() })),
    [],
  ),
  model: v.looseObject({
    type: v.optional(v.string()),
    vocab: tokenIds,
    merges: v.array(v.union([v.string(), v.tuple([v.string(), v.string()])])),
  }),
});

/** Settings of BPE that llama.cpp has none of; they are off where they are missing. */
const FOREIGN = [
  "dropout",
  "byte_fallback",
  "continuing_subword_prefix",
  "end_of_word_suffix",
] as const;

/** Flags of an added token by which text around it counts; llama.cpp knows none of them. */
const FLAGS = ["lstrip", "rstrip", "single_word"] as const;

/**
 * Gives the header's values of a `tokenizer.json` that `where` names, for a model of so many ids.
 * Ids that are no token are unused ones. No token is put before or behind a text. Throws an
 * `InputError` where llama.cpp would make other ids of a text.
 */
export function vocabularyMetadata(
  json: string,
  { vocabulary, eos, template, where }: {
    vocabulary: number;
    eos: number;
    template?: string;
    where: string;
  },
): Record<string, GgufValue> {
  const refuse = (must: string, fact: string) =>
    `Cannot write tokenizer "${where}" for llama.cpp as ${must}: ${fact}`;
  const { normalizer, pre_tokenizer: cutter, added_tokens: added, model } = parse(json, refuse);
  const normalized = normalizer?.type ?? "NFC";
  ensure(
    normalized === "NFC",
    refuse("it must leave text as it is, but for NFC", `its normalizer is ${normalized}`),
  );
  for (const token of added) {
    const flag = FLAGS.find((name) => token[name]);
    ensure(
      flag === undefined,
      refuse(
        "its added tokens must be cut out of text as they are",
        `${token.content} has ${flag}`,
      ),
    );
  }
  const foreign = FOREIGN.find((name) => model[name]);
  ensure(
    foreign === undefined,
    refuse("llama.cpp must know its settings", `${foreign} is ${model[foreign!]}`),
  );
  const meaning = canonical(withDefaults(cutter));
  const listedCutter = CUTTERS.find((candidate) => canonical(candidate.cutter) === meaning);
  const names = CUTTERS.map(({ name }) => name).join(", ");
  ensure(
    listedCutter,
    refuse(
      `it must cut text into words as one of ${names} does`,
      `its pre_tokenizer is ${meaning}`,
    ),
  );
  const { name: pre, wholeWords = false } = listedCutter;
  const isWhole = model.ignore_merges === true;
  ensure(
    isWhole === wholeWords,
    refuse(`ignore_merges must be ${wholeWords} where it cuts as ${pre} does`, `it is ${isWhole}`),
  );
  const tokens = Array.from({ length: vocabulary }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => UNUSED);
  const place = (token: string, id: number, type: number) => {
    ensure(
      id < vocabulary,
      refuse(`its ids must be below the model's vocabulary of ${vocabulary}`, `one is ${id}`),
    );
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(model.vocab)) place(token, id, NORMAL);
  for (const { content, id, special } of added) {
    place(content, id, special ? CONTROL : USER_DEFINED);
  }
  types[eos] = CONTROL;
  const merges = model.merges.map((merge) => typeof merge === "string" ? merge : merge.join(" "));
  return {
    "tokenizer.ggml.model": ["string", "gpt2"],
    "tokenizer.ggml.pre": ["string", pre],
    "tokenizer.ggml.tokens": ["strings", tokens],
    "tokenizer.ggml.token_type": ["i32s", types],
    "tokenizer.ggml.merges": ["strings", merges],
    "tokenizer.ggml.bos_token_id": ["u32", eos],
    "tokenizer.ggml.eos_token_id": ["u32", eos],
    "tokenizer.ggml.padding_token_id": ["u32", eos],
    "tokenizer.ggml.add_bos_token": ["bool", false],
    "tokenizer.ggml.add_eos_token": ["bool", false],
    ...template === undefined ? {} : { "tokenizer.chat_template": ["string", template] as const },
  };
}

/** Reads a `tokenizer.json` of BPE. */
function parse(json: string, refuse: (must: string, fact: string) => string) {
  const read: { model?: { type?: unknown } } = JSON.parse(json);
  const type = read.model?.type;
  ensure(type === "BPE", refuse("it must be byte-level BPE", `it is ${JSON.stringify(type)}`));
  try {
    return conform(FORMAT, read);
  } catch (error) {
    throw new InputError(refuse("it must be in the Hugging Face format", oneLine(error)));
  }
}

/**
 * Fills in the settings of byte-level cutters that older files leave out, and leaves out what says
 * nothing of ids: whether offsets hold the space before a word.
 */
function withDefaults(cutter: unknown): unknown {
  return JSON.parse(
    JSON.stringify(cutter, (name, value) => {
      if (name === "trim_offsets") return undefined;
      return isObject(value) && value.type === "ByteLevel"
        ? { add_prefix_space: true, use_regex: true, ...value }
        : value;
    }),
  );
}
