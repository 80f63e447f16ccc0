import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { abortOfText, hasPatterns } from "../../../pipeline/text/tokenizer_format.ts";
import { execute, inFolder } from "../../tasks/support.ts";

type Json = Record<string, unknown>;
const MODEL = {
  type: "BPE",
  vocab: { "<|endoftext|>": 0, a: 1, b: 2, ab: 3 },
  merges: [["a", "b"]],
};
const SPECIAL = {
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
};
const BASE = {
  version: "1.0",
  added_tokens: [{ id: 0, content: "<|endoftext|>", ...SPECIAL }],
  model: MODEL,
};

/** A charsmap that turns "a" into "bc": a trie of one byte, then its texts. */
function charsmap(change: (units: Uint32Array) => void = () => {}): Json {
  const units = new Uint32Array(512);
  units[0] = 256 << 10; // the root: where its children lie
  units[256 ^ 97] = 97 | (1 << 8) | (128 << 10); // "a", with a leaf
  units[256 ^ 97 ^ 128] = 1 << 31; // the leaf: the text at 0
  change(units);
  const bytes = new Uint8Array(4 + units.byteLength + 3);
  new DataView(bytes.buffer).setUint32(0, units.byteLength, true);
  bytes.set(new Uint8Array(units.buffer), 4);
  bytes.set([98, 99, 0], 4 + units.byteLength);
  return mapped(bytes.toBase64());
}
const mapped = (map: string) => ({
  normalizer: { type: "Precompiled", precompiled_charsmap: map },
});
const withModel = (more: Json) => ({ model: { ...MODEL, ...more } });
const cut = (pattern: Json) => ({
  pre_tokenizer: { type: "Split", pattern, behavior: "Isolated", invert: false },
});

const ABORTS: Record<string, Json> = {
  "a prefix that no merge has": withModel({ continuing_subword_prefix: "##" }),
  "a charsmap of no bytes": mapped(""),
  "a charsmap that is cut short": mapped("AAAA"),
  "a charsmap out of its trie": charsmap((units) => units[0] = 2 ** 20 << 10),
  "a charsmap out of its texts": charsmap((units) => units[256 ^ 97 ^ 128] = 900),
  "a replacement of nothing": {
    normalizer: { type: "Replace", pattern: { String: "" }, content: "x" },
  },
  "a pattern of nothing": {
    normalizer: { type: "Replace", pattern: { Regex: "x*" }, content: "y" },
  },
  "nothing prepended": {
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "" }] },
  },
  "pieces without length": { pre_tokenizer: { type: "FixedLength", length: 0 } },
  "a pattern without end": cut({ Regex: "(a+)+$" }),
  "a pattern that repeats a repetition twice": cut({ Regex: "([a-z]+){2,}!" }),
  "a pattern that repeats up to nine": cut({ Regex: "([a-z]{1,9})+!" }),
  "a decoder that strips more than there is": {
    decoder: { type: "Strip", content: "a", start: 5, stop: 5 },
  },
};
/** What the library survives on most texts. */
const ON_SOME_TEXTS = /nothing/;
const FINE: Record<string, Json> = {
  "the base": {},
  "a charsmap": charsmap(),
  "a prefix that merges have": withModel({
    continuing_subword_prefix: "##",
    vocab: { ...MODEL.vocab, "##b": 4 },
    merges: [["a", "##b"]],
  }),
  "a pattern of GPT-2's": cut({
    Regex: "'s|'t| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  }),
  "Llama's decoder": {
    decoder: {
      type: "Sequence",
      decoders: [{ type: "ByteFallback" }, { type: "Fuse" }, {
        type: "Strip",
        content: " ",
        start: 1,
        stop: 0,
      }],
    },
  },
};

Deno.test("a text of one kind of character throughout is refused in one line by a tokenizer with patterns", () =>
  inFolder(async (folder) => {
    const path = `${folder}/tokenizer.json`;
    const pattern = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    await Deno.writeTextFile(path, JSON.stringify({ ...BASE, ...cut({ Regex: pattern }) }));
    const tokenizer = await loadTokenizer(path);
    for (const [character, kind] of [[" ", "white space"], ["A", "letters"], ["7", "digits"]]) {
      const text = `a${character.repeat(5_000_001)}x`;
      const error = await assertRejects(() => tokenizer.encode(["a", text]), InputError);
      assertEquals(
        error.what,
        `Cannot encode text as the tokenizer's patterns must get through it: it has more than 5000000 ${kind} in a row`,
      );
      assertEquals(error.where, path);
    }
    for (const text of ["a ".repeat(3_000_000), " ".repeat(5_000_000)]) {
      assertEquals(abortOfText(text), undefined);
    }
    assert(abortOfText("😀".repeat(2_500_001)));
    assertEquals([hasPatterns(BASE), hasPatterns({ ...BASE, ...cut({ String: " " }) })], [
      false,
      false,
    ]);
  }));

Deno.test("loadTokenizer() refuses each in one line, where the library alone ends the process", () =>
  inFolder(async (folder) => {
    const script = `import { Tokenizer as Library } from "tokenizers";
      import { loadTokenizer } from "./pipeline/text/tokenizer.ts";
      const [path, alone] = Deno.args;
      const texts = ["hello ab aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "hello ##world", "日本 a b é aaaaaab", ""];
      if (alone === "alone") {
        const library = Library.fromString(Deno.readTextFileSync(path));
        await library.encodeBatch(texts, { addSpecialTokens: false });
        await library.decode([1, 2], false);
      } else {
        const tokenizer = await loadTokenizer(path);
        await tokenizer.encode(texts);
        console.log(JSON.stringify([await tokenizer.decode([1, 2]), await tokenizer.decode([])]));
      }`;
    const flags = "run --no-prompt --allow-read --allow-ffi --allow-env --allow-sys --ext=ts -"
      .split(" ");
    const run = (path: string, alone: string) =>
      execute(Deno.execPath(), [...flags, path, alone], { input: script });
    for (const [name, more] of [...Object.entries(ABORTS), ...Object.entries(FINE)]) {
      const path = `${folder}/tokenizer.json`;
      await Deno.writeTextFile(path, JSON.stringify({ ...BASE, ...more }));
      const [own, alone] = [await run(path, ""), await run(path, "alone")];
      if (name in FINE) {
        assertEquals([own.code, alone.code], [0, 0], `${name}: ${own.err}${alone.err}`);
      } else {
        assertEquals(own.code, 1, `${name}: ${own.err}`);
        if (!ON_SOME_TEXTS.test(name)) assertEquals(alone.code, 134, name);
        assert(own.err.includes("as it must be one that the library can use: "), own.err);
      }
    }
  }));
