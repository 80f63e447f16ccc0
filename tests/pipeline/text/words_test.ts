import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { byteLevelPreTokenizer } from "tokenizers";
import {
  cutsAtWords,
  encodeJoined,
  partingToken,
  WordEncoder,
} from "../../../pipeline/text/words.ts";

const cutter = byteLevelPreTokenizer(false);
const known = new Map<string, number>();

/**
 * Gives the library's own pieces of a text, numbered: two of one number are the same. Any wrong cut
 * makes other pieces.
 */
function numberPieces(text: string): number[] {
  return cutter.preTokenizeString(text).map(([piece]) => {
    if (!known.has(piece)) known.set(piece, known.size);
    return known.get(piece)!;
  });
}

const encodeBatch = (texts: string[]) => Promise.resolve(texts.map(numberPieces));

async function assertSamePieces(texts: string[]): Promise<void> {
  const encoder = new WordEncoder(encodeBatch);
  const encoded = await encoder.encode(texts.map((text) => [text]));
  texts.forEach((text, i) =>
    assertEquals(Array.from(encoded[i]), numberPieces(text), JSON.stringify(text))
  );
}

const KINDS = [..."aZs7._' \n\u00a0\u0001é\u0301٣中😀"];

Deno.test("WordEncoder cuts only where the library cuts: all pairs of ASCII, all four in a row of every kind", async () => {
  const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));
  await assertSamePieces(ascii.flatMap((first) => ascii.map((second) => `x${first}${second}s y`)));
  const fours = KINDS.flatMap((a) =>
    KINDS.flatMap((b) => KINDS.flatMap((c) => KINDS.map((d) => a + b + c + d)))
  );
  await assertSamePieces(fours);
});

Deno.test("WordEncoder cuts only where the library cuts: next to every UTF-16 unit", async () => {
  // But for surrogates, ideographs and Hangul, 40,000 letters all alike, and private use.
  const units = Array.from({ length: 1 << 16 }, (_, code) => String.fromCharCode(code))
    .filter((unit) => !/[\p{Cs}\p{Co}\p{Script=Han}\p{Script=Hangul}]/u.test(unit));
  await assertSamePieces(
    units.map((unit) => ["a", " ", "  ", ".", "7"].map((side) => side + unit + side).join("")),
  );
});

Deno.test("WordEncoder gives the library's pieces of any text, also of text that NFC rewrites", async () => {
  const unit = fc.oneof(
    fc.constantFrom(...KINDS, "'re", "  ", "\r\n", "=\u0338"),
    fc.string({ unit: "binary", maxLength: 1 }),
  );
  const encoder = new WordEncoder(encodeBatch); // one for all: most words are looked up
  const composed = new WordEncoder((texts) =>
    encodeBatch(texts.map((text) => text.normalize("NFC")))
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(unit, { maxLength: 40 })), async (texts) => {
      const pieces = texts.map((units) => [units.join("").toWellFormed()]);
      const plain = await encoder.encode(pieces);
      const nfc = await composed.encode(pieces);
      pieces.forEach(([text], i) => {
        assertEquals(Array.from(plain[i]), numberPieces(text));
        assertEquals(Array.from(nfc[i]), numberPieces(text.normalize("NFC")));
      });
    }),
    { numRuns: 300 },
  );
});

Deno.test("WordEncoder keeps calls apart that run at once", async () => {
  const encoder = new WordEncoder(encodeBatch);
  const texts = ["a b c", "c b d", "a d", "b e"];
  const calls = await Promise.all(texts.map((text) => encoder.encode([[text]])));
  assertEquals(calls.map(([ids]) => Array.from(ids)), texts.map(numberPieces));
});

Deno.test("WordEncoder gives the ids of more words than it keeps, and goes on after a failure", async () => {
  let fails = false;
  let asked = 0;
  const encoder = new WordEncoder((texts) => {
    asked += texts.length;
    if (fails) return Promise.reject(new Error("out of words"));
    return Promise.resolve(texts.map((text) => [text.length, text.charCodeAt(0)]));
  });
  const ids = async (word: string) => Array.from((await encoder.encode([[word]]))[0]);
  for (const word of ["often", "often"]) assertEquals(await ids(word), [5, 111]);
  assertEquals(asked, 1);
  const many = Array.from({ length: 140_000 }, (_, i) => [`${100_000 + i}`]); // more than a table holds
  const got = await encoder.encode([...many, ...many]);
  for (const at of [0, 139_999, 140_000]) {
    assertEquals(Array.from(got[at]), [6, many[at % 140_000][0].charCodeAt(0)]);
  }
  assertEquals(await ids("often"), [5, 111]); // which is asked for anew
  [fails, asked] = [true, 0];
  const calls = [["often"], ["x"], ["x y"]].map((text) => encoder.encode([text]));
  const states = (await Promise.allSettled(calls)).map(({ status }) => status);
  assertEquals(states, ["fulfilled", "rejected", "rejected"]);
  fails = false;
  assertEquals(await ids("x y"), [1, 120, 2, 32]);
});

Deno.test("cutsAtWords() takes byte-level BPE with GPT-2's cuts alone", () => {
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const end = {
    content: "<|end|>",
    special: true,
    lstrip: false,
    rstrip: false,
    single_word: false,
  };
  const gpt2 = {
    normalizer: null,
    pre_tokenizer: level,
    model: { type: "BPE", dropout: null },
    added_tokens: [end],
  };
  const cases: [cuts: boolean, ...changes: object[]][] = [
    [true, {}, { added_tokens: undefined }, { normalizer: { type: "NFC" } }],
    [true, { added_tokens: [end, { content: "   ", special: false }] }], // as GPT-NeoX has
    [true, { pre_tokenizer: { type: "ByteLevel", add_prefix_space: false } }],
    [false, { normalizer: { type: "NFKC" } }, { normalizer: { type: "Lowercase" } }, {
      pre_tokenizer: null,
    }],
    [false, { pre_tokenizer: { type: "ByteLevel" } }], // whose prefix space is not said to be off
    [false, { pre_tokenizer: { ...level, add_prefix_space: true } }],
    [false, { pre_tokenizer: { ...level, use_regex: false } }],
    [false, { pre_tokenizer: { type: "Sequence", pretokenizers: [level] } }],
    [false, { model: { type: "BPE", dropout: 0.1 } }, { model: { type: "Unigram" } }],
    [false, { added_tokens: [{ content: "one two", special: false }] }],
    [false, { added_tokens: [{ ...end, lstrip: true }] }],
  ];
  for (const [cuts, ...changes] of cases) {
    for (const change of changes) {
      assertEquals(cutsAtWords({ ...gpt2, ...change }), cuts, JSON.stringify(change));
    }
  }
});

Deno.test("partingToken() is a special token of several characters that does not begin within itself", () => {
  const of = (...tokens: [content: string, special?: boolean][]) =>
    partingToken({
      added_tokens: tokens.map(([content, special = true]) => ({ content, special })),
    });
  assertEquals(of(["   ", false], ["<|endoftext|>"]), "<|endoftext|>");
  assertEquals(of(), undefined);
  assertEquals(of(["<|endoftext|>", false]), undefined); // the library may leave it in text
  assertEquals(of(["0"], ["aba"], ["[SEP]"]), "[SEP]"); // "ab" and "aba" would hold "aba" at their beginning
});

Deno.test("encodeJoined() gives the ids of every word in few calls, and asks for each where a text has other parts", async () => {
  const asked: [texts: string[], onOneCore?: boolean][] = [];
  const codes = (word: string) => Array.from(word, (character) => character.codePointAt(0)!);
  const part = { token: "<s>", id: 7 };
  const joined = (idsOf: (text: string) => number[]) =>
    encodeJoined((...call) => (asked.push(call), Promise.resolve(call[0].map(idsOf))), part);
  const own = joined((text) =>
    text.split("<s>").flatMap((word, i) => [...i === 0 ? [] : [7], ...codes(word)])
  );
  const words = Array.from({ length: 3000 }, (_, i) => i % 10 === 0 ? "" : `w${i}`);
  assertEquals((await own(words)).map((ids) => Array.from(ids)), words.map(codes));
  assertEquals([asked.length, asked[0][0].length > 3 && asked[0][0].length < 30], [1, true]);
  assertEquals(await own([]), []);
  // A library that finds the token within a word, too.
  assertEquals(await joined((text) => [7, text.length])(["a", "b c"], true), [[7, 1], [7, 3]]);
  assertEquals(asked.at(-1), [["a", "b c"], true]);
});
