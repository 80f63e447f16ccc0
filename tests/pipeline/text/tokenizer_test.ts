import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import fc from "fast-check";
import { Tokenizer as Library } from "tokenizers";
import { inFolder, lastingFolder } from "../../tasks/support.ts";
import { byteSymbols } from "../../../pipeline/text/bpe.ts";
import {
  EOS_TOKEN,
  loadTokenizer,
  openTokenizer,
  type Tokenizer,
  trainTokenizer,
} from "../../../pipeline/text/tokenizer.ts";

const prose = Array.from(
  { length: 60 },
  (_, i) =>
    `The quick brown fox number ${i} jumps over the lazy dog, and naïve café owners 日本 look on at ${
      i * 7
    }.\n`,
).join("");

async function* documents(...texts: string[]) {
  await Promise.resolve();
  for (const text of texts) yield { text, source: "" };
}

async function train(vocabularySize: number, sample = 1e6, text = prose): Promise<Tokenizer> {
  return await trainTokenizer(documents(text), { vocabularySize, sample });
}

Deno.test("trainTokenizer() gives exactly the wanted ids, EOS first, and the same bytes again", async () => {
  const tokenizer = await train(300);
  assertEquals(tokenizer.vocabulary, 300);
  assertEquals(tokenizer.eos, 0);
  assertEquals((await train(300)).json, tokenizer.json);
  const larger = await train(320);
  assertEquals(
    Object.keys(JSON.parse(larger.json).model.vocab).slice(0, 300),
    Object.keys(JSON.parse(tokenizer.json).model.vocab),
  );
});

Deno.test("trainTokenizer() encodes every byte, seen in training or not, and decodes it again", async () => {
  const tokenizer = await train(300);
  const everyByte = Array.from({ length: 0x250 }, (_, i) => String.fromCodePoint(i)).join("") +
    "\u{1F600}\u{10FFFF}퟿";
  const [ids] = await tokenizer.encode([everyByte]);
  assertEquals(await tokenizer.decode(ids), everyByte);
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
    const valid = text.toWellFormed();
    const [own] = await tokenizer.encode([valid]);
    assertEquals(await tokenizer.decode(own), valid);
    assertEquals(own.every((id) => id > 0 && id < 300), true);
  }));
});

Deno.test("a tokenizer gives the library's ids of whole texts, whether or not it can cut them, on any number of cores", async () => {
  const { json } = await train(
    400,
    1e6,
    prose + "it's they've we'll don't I'm \n\n    return 'x';\n".repeat(50),
  );
  const format = JSON.parse(json);
  const prefixed = {
    ...format,
    pre_tokenizer: { ...format.pre_tokenizer, add_prefix_space: true },
  };
  const added = (id: number, content: string, normalized: boolean, special = false) => ({
    id,
    content,
    normalized,
    special,
    single_word: false,
    lstrip: false,
    rstrip: false,
  });
  const blanks = {
    ...format,
    normalizer: { type: "NFC" },
    added_tokens: [
      added(400, "    ", true),
      added(401, "\n\n", false),
      added(402, "<|part|>", true, true), // parts words in the texts that the library gets
      ...format.added_tokens,
    ],
  };
  const folder = await lastingFolder();
  const words = "the quick don't they've 'tis naïve 日本 42 return x e\u0301 <|".split(" ");
  /**
   * Gives the ids of texts while the library may not encode several at once, on threads of its own.
   */
  const onOne = async (encode: () => Promise<Uint32Array[]>) => {
    const { encodeBatch } = Library.prototype;
    Library.prototype.encodeBatch = () =>
      Promise.reject(new Error("the library encodes on all cores"));
    try {
      return (await encode()).map((ids) => [...ids]);
    } finally {
      Library.prototype.encodeBatch = encodeBatch;
    }
  };
  const between = ["", " ", "  ", "\n\n    ", "'", ".", ", ", "\u00a0", "\t"];
  for (const [i, settings] of [format, prefixed, blanks].entries()) {
    const path = `${folder}/${i}.json`;
    Deno.writeTextFileSync(path, JSON.stringify(settings));
    const [own, onOneCore, library] = [
      await loadTokenizer(path),
      await loadTokenizer(path),
      Library.fromFile(path),
    ];
    const part = fc.tuple(fc.constantFrom(...words), fc.constantFrom(...between));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(part), { minLength: 1, maxLength: 5 }), async (parts) => {
        const texts = parts.map((text) => text.flat().join(""));
        const expected = await library.encodeBatch(texts, { addSpecialTokens: false });
        const ids = expected.map((one) => one.getIds());
        assertEquals((await own.encode(texts)).map((ids) => [...ids]), ids);
        assertEquals(await onOne(() => onOneCore.encode(texts, true)), ids);
      }),
      { numRuns: 60 },
    );
  }
});

Deno.test("trainTokenizer() never makes EOS of text that spells it", async () => {
  const tokenizer = await train(300);
  const text = `before ${EOS_TOKEN}${EOS_TOKEN} after`;
  const [ids, plain] = await tokenizer.encode([text, "plain"]);
  assertEquals(ids.includes(tokenizer.eos), false);
  assertEquals(await tokenizer.decode(ids), text);
  assertEquals(await tokenizer.decode(plain), "plain");
});

Deno.test("a tokenizer cuts texts where no token can cross, also next to special tokens that they spell", async () => {
  const tokenizer = await train(400);
  const units = [..."a\n7.é中\u{1F600}", "the ", "  ", "'s", EOS_TOKEN, "<|", "|>", "endoftext"];
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...units), { maxLength: 60 }).map((units) => units.join("")),
      fc.integer({ min: 1, max: 20 }),
      async (text, least) => {
        const [whole] = await tokenizer.encode([text]);
        const pieces = [...tokenizer.cut!(text, least)];
        assertEquals(pieces.join(""), text);
        const encoded = await tokenizer.encode(pieces);
        assertEquals(encoded.flatMap((ids) => [...ids]), [...whole]);
      },
    ),
    { numRuns: 200 },
  );
  assertEquals([...tokenizer.cut!("a".repeat(50) + " b c", 4)], ["a".repeat(50), " b c"]);
});

Deno.test("trainTokenizer() learns from the first 10,000 characters of a word, and warns of what it leaves out", async () => {
  const warnings: string[] = [];
  const trained = async (text: string) => {
    const options = {
      vocabularySize: 258,
      sample: 1e6,
      onWarning: (text: unknown) => warnings.push(String(text)),
    };
    return (await trainTokenizer(documents(text), options)).json;
  };
  // Behind 10,000 characters another pair is the most frequent one.
  assertEquals(
    await trained("ab".repeat(5000) + "cd".repeat(9000)),
    await trained("ab".repeat(5000)),
  );
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], "18000 characters of longer ones are left out");
});

Deno.test("trainTokenizer() reads no more than its sample and reports what a text supports", async () => {
  const error = await assertRejects(() => train(5000), InputError);
  const supported = Number(/it supports (\d+);/.exec(error.message)![1]);
  assertEquals((await train(supported)).vocabulary, supported);
  await assertRejects(() => train(supported + 1), InputError, `${supported}`);
  await assertRejects(() => train(256), InputError, "at least 257");
  await assertRejects(() => train(300, 1e6, ""), InputError, "some text");
  const few = await assertRejects(() => train(1000, 50), InputError);
  assertEquals(Number(/it supports (\d+);/.exec(few.message)![1]) < supported, true);
});

/** Smallest `tokenizer.json` of a model. */
const tokenizerJson = (model: object, rest: object = {}) =>
  JSON.stringify({ version: "1.0", added_tokens: [], model, ...rest });

const idsOf = async (tokenizer: Tokenizer, ...texts: string[]) =>
  (await tokenizer.encode(texts)).map((ids) => [...ids]);

Deno.test("loadTokenizer() opens other tokenizers and names what is wrong with a file", async () => {
  const wordLevel = (vocab: object) =>
    tokenizerJson({ type: "WordLevel", vocab, unk_token: "[UNK]" }, {
      pre_tokenizer: { type: "Whitespace" },
    });
  const json = wordLevel({ "[UNK]": 0, "</s>": 1, hello: 2, world: 70_000 });
  const words = await openTokenizer(json);
  // An unknown word of any length is one token, so there is no place to cut.
  assertEquals([words.eos, words.vocabulary, words.cut], [1, 70_001, undefined]);
  assertEquals(await idsOf(words, "hello world there", ""), [[2, 70_000, 0], []]);
  assertEquals((await openTokenizer(json, "hello")).eos, 2);
  const none = wordLevel({ "[UNK]": 0, hello: 1 });
  await assertRejects(() => openTokenizer(none), InputError, "name it with eos");
  await assertRejects(() => openTokenizer(none, "<x>"), InputError, "<x>");
  await assertRejects(() => openTokenizer(`{"version": `), InputError, "Hugging Face format");
  await inFolder(async (folder) => {
    const path = `${folder}/tokenizer.json`;
    await Deno.writeTextFile(path, json);
    for (const named of [path, folder]) { // the file, or the folder of a model
      assertEquals((await loadTokenizer(named, { eos: "hello" })).sha256, words.sha256);
    }
    await Deno.writeFile(path, Uint8Array.of(0xff, 0xfe));
    await assertRejects(() => loadTokenizer(path), InputError, "UTF-8");
    await assertRejects(() => loadTokenizer(`${folder}/missing.json`), InputError, "there is none");
    await Deno.remove(path);
    await assertRejects(() => loadTokenizer(folder), InputError, "it is a folder");
  });
});

Deno.test("loadTokenizer() opens WordPiece and Unigram", async () => {
  const pieces = {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: { "[UNK]": 0, "[SEP]": 1, hug: 2, "##ging": 3, "##s": 4 },
  };
  // Must not be applied.
  const template = { type: "BertProcessing", sep: ["[SEP]", 1], cls: ["[UNK]", 0] };
  const rest = { pre_tokenizer: { type: "Whitespace" }, post_processor: template };
  const a = await openTokenizer(tokenizerJson(pieces, rest));
  assertEquals([a.eos, a.vocabulary], [1, 5]);
  assertEquals(await idsOf(a, "hugging hugs"), [[2, 3, 2, 4]]);
  const unigram = {
    type: "Unigram",
    unk_id: 0,
    vocab: [["<unk>", 0], ["</s>", 0], ["▁a", -1], ["b", -1.5], ["▁ab", -2]],
  };
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
  const b = await openTokenizer(
    tokenizerJson(unigram, { pre_tokenizer: metaspace, decoder: metaspace }),
  );
  assertEquals([b.eos, b.vocabulary], [1, 5]);
  assertEquals([await idsOf(b, "ab a"), await b.decode([4, 2])], [[[4, 2]], "ab a"]);
});

const ADDED = { single_word: false, lstrip: false, rstrip: false };

Deno.test("loadTokenizer() makes no special token of text that spells it, as it is or once it is normalised", async () => {
  const llama = { type: "WordLevel", vocab: { "[UNK]": 0, "🦙end": 1 }, unk_token: "[UNK]" };
  const eos = { id: 1, content: "🦙end", ...ADDED, normalized: false, special: false };
  const plain = await openTokenizer(tokenizerJson(llama, { added_tokens: [eos] }), "🦙end");
  assertEquals((await idsOf(plain, "x 🦙end y"))[0].includes(1), false);

  const words = { type: "WordLevel", vocab: { "[UNK]": 0, "</s>": 1 }, unk_token: "[UNK]" };
  const vocab = Object.fromEntries([...byteSymbols(), "</s>"].map((symbol, id) => [symbol, id]));
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const lower = { pre_tokenizer: { type: "WhitespaceSplit" }, normalizer: { type: "Lowercase" } };
  const composed = { pre_tokenizer: level, normalizer: { type: "NFC" } };
  const formats: [model: object, rest: object, id: number, content: string, text: string][] = [
    [words, lower, 2, "[mask]", "x [MASK] y"],
    // The sign for angstrom.
    [{ type: "BPE", vocab, merges: [] }, composed, 257, "[mas\u00c5]", "x [mas\u212b] y"],
  ];
  for (const [model, rest, id, content, text] of formats) {
    const token = { id, content, ...ADDED, special: true, normalized: true };
    const json = tokenizerJson(model, { ...rest, added_tokens: [token] });
    const tokenizer = await openTokenizer(json);
    assertFalse((await idsOf(tokenizer, text, `x ${content} y`)).flat().includes(id));
    const alone = await Library.fromString(json).encode(text, null, { addSpecialTokens: false });
    assert(alone.getIds().includes(id)); // the library would make one of it
    assertEquals(tokenizer.json, json);
  }
});
