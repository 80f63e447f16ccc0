import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { byteLevelPreTokenizer } from "tokenizers";
import { cutsAtWords, encodeJoined, partingToken, WordEncoder } from "../../../pipeline/text/words.ts";

const cutter = byteLevelPreTokenizer(false);
const known = new Map<string, number>();

/** Gives the library's own pieces of a text, numbered: two of one number are the same. Any wrong cut makes other pieces. */
function piecesOf(text: string): number[] {
  return cutter.preTokenizeString(text).map(([piece]) => {
    if (!known.has(piece)) known.set(piece, known.size);
    return known.get(piece)!;
  });
}

const encodeBatch = (texts: string[]) => Promise.resolve(texts.map(piecesOf));

async function assertSamePieces(texts: string[]): Promise<void> {
  const encoder = new WordEncoder(encodeBatch);
  const encoded = await encoder.encode(texts.map((text) => [text]));
  texts.forEach((text, i) => assertEquals(Array.from(encoded[i]), piecesOf(text), JSON.stringify(text)));
}

const KINDS = [
  "a",
  "Z",
  "s",
  "7",
  ".",
  "_",
  "'",
  " ",
  "\n",
  "\u00a0",
  "\u0001",
  "é",
  "\u0301",
  "٣",
  "中",
  "😀",
];

Deno.test("WordEncoder cuts only where the library cuts: all pairs of ASCII, all four in a row of every kind", async () => {
  const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));
  await assertSamePieces(ascii.flatMap((first) => ascii.map((second) => `x${first}${second}s y`)));
  const fours = KINDS.flatMap((a) =>
    KINDS.flatMap((b) => KINDS.flatMap((c) => KINDS.map((d) => a + b + c + d)))
  );
  await assertSamePieces(fours);
});

Deno.test("WordEncoder cuts only where the library cuts: beside every UTF-16 unit", async () => {
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
  const composed = new WordEncoder((texts) => encodeBatch(texts.map((text) => text.normalize("NFC"))));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(unit, { maxLength: 40 })), async (texts) => {
      const pieces = texts.map((units) => [units.join("").toWellFormed()]);
      const plain = await encoder.encode(pieces);
      const nfc = await composed.encode(pieces);
      pieces.forEach(([text], i) => {
        assertEquals(Array.from(plain[i]), piecesOf(text));
        assertEquals(Array.from(nfc[i]), piecesOf(text.normalize("NFC")));
      });
    }),
    { numRuns: 300 },
  );
});

Deno.test("WordEncoder joins the pieces of a text, asks for a word once, and for one beyond 64 units every time", async () => {
  const asked: string[][] = [];
  const encoder = new WordEncoder((texts) => (asked.push(texts), encodeBatch(texts)));
  const long = "c".repeat(64);
  const longer = "c".repeat(65);
  const [ids, none] = await encoder.encode([["one two", "two one"], []]);
  assertEquals([Array.from(ids), none.length], [[...piecesOf("one two"), ...piecesOf("two one")], 0]);
  await encoder.encode([[`one ${longer}`], [longer, long, long], [" two"]]);
  assertEquals(asked, [["one", " two", "two", " one"], [` ${longer}`, longer, long]]);
  await encoder.encode([["one two"], [long, longer]]);
  assertEquals(asked.slice(2), [[longer]]);
});

Deno.test("WordEncoder tells words of one hash apart", async () => {
  const collisions = [["wobtawk", "xjuruto"], ["qayxwro", "golrsks"], ["xtoandq", "mddffhn"]];
  for (const words of collisions) {
    await assertSamePieces(words);
    await assertSamePieces([...words, ...words]);
  }
});

Deno.test("WordEncoder keeps calls apart that run at once, in whatever order the library answers", async () => {
  const waiting: (() => void)[] = [];
  const encoder = new WordEncoder(async (texts) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return texts.map(piecesOf);
  });
  const calls = ["a b c", "c b d", "a d", "b e"].map((text) => encoder.encode([[text]]));
  while (waiting.length > 0) {
    waiting.pop()!();
    await new Promise((resolve) => setTimeout(resolve));
  }
  const got = (await Promise.all(calls)).map(([ids]) => Array.from(ids));
  assertEquals(got, ["a b c", "c b d", "a d", "b e"].map(piecesOf));
});

Deno.test("WordEncoder keeps so many words, gives the ids of more in one call, and then begins anew", async () => {
  const asked: string[] = [];
  const encoder = new WordEncoder((texts) => {
    asked.push(...texts.slice(0, 1));
    return Promise.resolve(texts.map((text) => [text.length, text.charCodeAt(0)]));
  });
  const many = Array.from({ length: 140_000 }, (_, i) => [`${100_000 + i}`]); // more than a table holds
  const ids = async (word: string) => Array.from((await encoder.encode([[word]]))[0]);
  for (const word of ["often", "often"]) assertEquals(await ids(word), [5, 111]);
  assertEquals(asked, ["often"]);
  const got = await encoder.encode([...many, ...many]);
  for (const at of [0, 139_999, 140_000]) {
    assertEquals(Array.from(got[at]), [6, many[at % 140_000][0].charCodeAt(0)]);
  }
  assertEquals(await ids("often"), [5, 111]);
  assertEquals(asked, ["often", "100000", "often"]);
});

Deno.test("WordEncoder begins a new table after a failure", async () => {
  let fails = false;
  const encoder = new WordEncoder((texts) =>
    fails ? Promise.reject(new Error("out of words")) : Promise.resolve(texts.map((text) => [text.length]))
  );
  await encoder.encode([["known"]]);
  fails = true;
  const [known, first, second] = await Promise.allSettled([
    encoder.encode([["known"]]),
    encoder.encode([["x"]]),
    encoder.encode([["x y"]]),
  ]);
  assertEquals([known.status, first.status, second.status], ["fulfilled", "rejected", "rejected"]);
  await assertRejects(() => encoder.encode([["z"]]), Error, "out of words");
  fails = false;
  assertEquals(Array.from((await encoder.encode([["x y"]]))[0]), [1, 2]);
});

Deno.test("cutsAtWords() takes byte-level BPE with GPT-2's cuts alone", () => {
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const end = { content: "<|end|>", special: true, lstrip: false, rstrip: false, single_word: false };
  const gpt2 = {
    normalizer: null,
    pre_tokenizer: level,
    model: { type: "BPE", dropout: null },
    added_tokens: [end],
  };
  const is = (change: object) => cutsAtWords({ ...gpt2, ...change });
  assertEquals(is({}), true);
  assertEquals(is({ added_tokens: undefined }), true);
  assertEquals(is({ normalizer: { type: "NFC" } }), true);
  assertEquals(is({ added_tokens: [end, { content: "   ", special: false }] }), true); // as GPT-NeoX has
  assertEquals(is({ pre_tokenizer: { type: "ByteLevel", add_prefix_space: false } }), true);
  assertEquals(is({ normalizer: { type: "NFKC" } }), false);
  assertEquals(is({ normalizer: { type: "Lowercase" } }), false);
  assertEquals(is({ pre_tokenizer: null }), false);
  assertEquals(is({ pre_tokenizer: { type: "ByteLevel" } }), false); // whose prefix space is not said to be off
  assertEquals(is({ pre_tokenizer: { ...level, add_prefix_space: true } }), false);
  assertEquals(is({ pre_tokenizer: { ...level, use_regex: false } }), false);
  assertEquals(is({ pre_tokenizer: { type: "Sequence", pretokenizers: [level] } }), false);
  assertEquals(is({ model: { type: "BPE", dropout: 0.1 } }), false);
  assertEquals(is({ model: { type: "Unigram" } }), false);
  assertEquals(is({ added_tokens: [{ content: "one two", special: false }] }), false);
  assertEquals(is({ added_tokens: [{ ...end, lstrip: true }] }), false);
});

Deno.test("partingToken() is a special token that no other one can hold a part of", () => {
  const of = (...contents: (string | { content: string; special?: boolean })[]) =>
    partingToken({
      added_tokens: contents.map((one) => typeof one === "string" ? { content: one, special: true } : one),
    });
  assertEquals(of("<|endoftext|>"), "<|endoftext|>");
  assertEquals(of({ content: "   " }, "<|endoftext|>"), "<|endoftext|>");
  assertEquals(of(), undefined);
  assertEquals(of({ content: "<|endoftext|>" }), undefined); // the library may leave it in text
  assertEquals(of("0"), undefined); // one character is not cut from texts
  assertEquals(of("aba"), undefined); // "ab" and "aba" would hold it at their beginning
  assertEquals(of("<s>", { content: "x<" }), undefined); // a word may end with "x"
  assertEquals(of("<s>", { content: ">x" }), undefined);
  assertEquals(of("<s>", { content: "s" }), undefined);
  assertEquals(of("<s>", "<s>a", "[SEP]"), "[SEP]");
});

Deno.test("encodeJoined() gives the ids of every word in few calls, and asks for each where a text has other parts", async () => {
  const asked: string[][] = [];
  const onOne: (boolean | undefined)[] = [];
  const codes = (word: string) => Array.from(word, (character) => character.codePointAt(0)!);
  const part = { token: "<s>", id: 7 };
  const encode = (texts: string[], onOneCore?: boolean) => {
    asked.push(texts);
    onOne.push(onOneCore);
    return Promise.resolve(
      texts.map((text) =>
        text.split(part.token).flatMap((word, i) => i === 0 ? codes(word) : [7, ...codes(word)])
      ),
    );
  };
  const words = Array.from({ length: 3000 }, (_, i) => i % 10 === 0 ? "" : `w${i}`);
  const encoded = await encodeJoined(encode, part)(words);
  assertEquals(encoded.map((ids) => Array.from(ids)), words.map(codes));
  assertEquals(asked.length, 1);
  assertEquals(asked[0].length > 3 && asked[0].length < 30, true, `${asked[0].length} texts`);
  assertEquals(await encodeJoined(encode, part)([]), []);
  // A library that finds the token within a word, too.
  const other = await encodeJoined((texts, onOneCore) => {
    asked.push(texts);
    onOne.push(onOneCore);
    return Promise.resolve(texts.map((text) => [7, text.length]));
  }, part)(["a", "b c"], true);
  assertEquals(other, [[7, 1], [7, 3]]);
  assertEquals(asked.at(-1), ["a", "b c"]);
  await new WordEncoder(encodeJoined(encode, part)).encode([["one core"]], true);
  assertEquals(onOne, [undefined, undefined, true, true, true]);
});
