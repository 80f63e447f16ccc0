import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../../kernels/errors.ts";
import { ggufModel } from "../../../../../pipeline/model/checkpoints/gguf/model.ts";
import { vocabularyMetadata } from "../../../../../pipeline/model/checkpoints/gguf/vocabulary.ts";
import { writeAtomic } from "../../../../../pipeline/graph/files.ts";
import { initialWeights } from "../../../../../pipeline/model/parameters.ts";
import { openTokenizer, trainTokenizer } from "../../../../../pipeline/text/tokenizer.ts";
import { inFolder, ROOT } from "../../../../tasks/support.ts";
import { askLlamaCpp, hasLlamaCpp } from "./llama_cpp.ts";

const VOCABULARY = 700;
const CONFIG = { vocabulary: VOCABULARY + 4, hidden: 8, layers: 1, heads: 1, context: 16 };

const SAMPLED = { temperature: 1, topK: 0, topP: 1 };

const pages = ["README.md", "CHANGELOG.md", "pipeline/USING.md", "pipeline/SCIENCE.md"]
  .map((name) => Deno.readTextFileSync(`${ROOT}${name}`)).join("\n");
const lines = pages.split("\n").filter((line) => line !== "").slice(0, 1000);

/** Texts whose words are hard to find. */
const ODD = [
  "",
  " ",
  "   x",
  "x   ",
  "a\n\n\n b\r\n\r\nc\t\td",
  "it's we'll IT'S I'M they'Ve ''s 's",
  "1234567 12 3½ ²³ ٣٤ Ⅷ x1y22z333",
  "Füße naïve Ελλάδα Привет 你好，世界 かな한국어 क्षि",
  "e\u0301 \u0301 a\u0300b",
  "👩‍👩‍👧 🇩🇪 ☃ € — … “quoted”",
  "\u00a0x\u2003y\u3000z\u0085w\u2028v\u200bu",
  "!!!??? ... --- ===\n\n  !x",
  "\u0000\u0001\u007f\ufeff",
];

// deno-lint-ignore no-explicit-any -- a file that others write
type Format = any;

/** The tokenizer of a run, trained on those pages. */
const trained = async () =>
  await trainTokenizer(ReadableStream.from([{ text: pages, source: "" }]), {
    vocabularySize: VOCABULARY,
    sample: 200_000,
  });

/** The pattern of Llama 3 and Qwen 2, as their `tokenizer.json` have it. */
const patternOf = (digits: string) =>
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" + digits +
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const split = (digits: string) => ({
  type: "Sequence",
  pretokenizers: [
    {
      type: "Split",
      pattern: { Regex: patternOf(digits) },
      behavior: "Isolated",
      invert: false,
    },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
});
/** What tokenizers change in that of a run, by llama.cpp's name for how they cut text. */
const CHANGES: Record<string, { pre_tokenizer?: object; ignore_merges?: boolean }> = {
  "gpt-2": {},
  smollm: {
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Digits", individual_digits: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
  },
  "llama-bpe": { pre_tokenizer: split("{1,3}"), ignore_merges: true },
  qwen2: { pre_tokenizer: split("") },
};

Deno.test({
  name:
    "vocabularyMetadata() has llama.cpp make the ids of 1,000 lines and of odd text, however words are cut",
  ignore: !hasLlamaCpp,
  fn: () =>
    inFolder(async (folder) => {
      const { json } = await trained();
      for (const [name, { pre_tokenizer, ignore_merges }] of Object.entries(CHANGES)) {
        const format = JSON.parse(json);
        if (pre_tokenizer) Object.assign(format, { pre_tokenizer });
        if (ignore_merges) Object.assign(format.model, { ignore_merges });
        const own = JSON.stringify(format);
        const tokenizer = await openTokenizer(own);
        const model = {
          config: CONFIG,
          weights: initialWeights(CONFIG, 0),
          notes: { eos: 0 },
          sha256: "",
        };
        const file = `${folder}/${name}.gguf`;
        const where = "tokenizer.json";
        const options = { name, tokenizer: own, where, sampling: SAMPLED, type: "f32" } as const;
        await writeAtomic(file, ggufModel(model, options));
        const texts = [...lines, ...ODD];
        const { ids, adds, eos } = await askLlamaCpp({ file, texts });
        assertEquals([adds, eos], [{ bos: false, eos: false }, 0]);
        const expected = await tokenizer.encode(texts);
        for (const [i, text] of texts.entries()) {
          assertEquals(ids[i], [...expected[i]], `${name}: ${JSON.stringify(text)}`);
        }
      }
    }),
});

Deno.test("vocabularyMetadata() marks EOS, added tokens and ids without a token", async () => {
  const format = JSON.parse((await trained()).json);
  format.added_tokens.push({ id: VOCABULARY, content: "<|user|>", special: true });
  format.added_tokens.push({ id: VOCABULARY + 1, content: "<b>", special: false });
  // Words that objects have anyway are tokens like others.
  format.model.vocab.constructor = VOCABULARY + 2;
  const options = {
    vocabulary: VOCABULARY + 4,
    eos: 0,
    template: "{{ x }}",
    where: "tokenizer.json",
  };
  const metadata = vocabularyMetadata(JSON.stringify(format), options);
  const tokens = metadata["tokenizer.ggml.tokens"][1] as string[];
  const types = metadata["tokenizer.ggml.token_type"][1] as number[];
  assertEquals(tokens.slice(VOCABULARY), [
    "<|user|>",
    "<b>",
    "constructor",
    `[PAD${VOCABULARY + 3}]`,
  ]);
  assertEquals(types.slice(VOCABULARY), [3, 4, 1, 5]); // control, user defined, normal, unused
  assertEquals([tokens[0], ...types.slice(0, 3)], ["<|endoftext|>", 3, 1, 1]);
  assertEquals(metadata["tokenizer.chat_template"], ["string", "{{ x }}"]);
});

Deno.test("vocabularyMetadata() refuses tokenizers of which llama.cpp would make other ids", async () => {
  const { json } = await trained();
  const refusals: [change: (format: Format) => void, text: string][] = [
    [({ model }) => model.type = "Unigram", 'it must be byte-level BPE: it is "Unigram"'],
    [(format) => format.normalizer = { type: "Lowercase" }, "its normalizer is Lowercase"],
    [({ model }) => model.byte_fallback = true, "byte_fallback is true"],
    [
      (format) =>
        format.added_tokens.push({ id: 1, content: "<mask>", special: true, lstrip: true }),
      "<mask> has lstrip",
    ],
    [
      ({ model }) => model.ignore_merges = true,
      "ignore_merges must be false where it cuts as gpt-2 does",
    ],
    [(format) => format.pre_tokenizer.add_prefix_space = true, '"add_prefix_space":true'],
    [
      (format) => format.pre_tokenizer = { type: "Whitespace" },
      'its pre_tokenizer is {"type":"Whitespace"}',
    ],
    [
      ({ model }) => model.vocab.beyond = VOCABULARY,
      `vocabulary of ${VOCABULARY}: one is ${VOCABULARY}`,
    ],
    [({ model }) => model.merges = 3, "in the Hugging Face format: model.merges"],
  ];
  for (const [change, text] of refusals) {
    const format = JSON.parse(json);
    change(format);
    const options = { vocabulary: VOCABULARY, eos: 0, where: "a/tokenizer.json" };
    const { message } = assertThrows(
      () => vocabularyMetadata(JSON.stringify(format), options),
      InputError,
      text,
    );
    assert(
      message.startsWith('Cannot write tokenizer "a/tokenizer.json" for llama.cpp as '),
      message,
    );
  }
});
