import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { loadTokenizer, type Tokenizer } from "../../../pipeline/text/tokenizer.ts";
import { InputError } from "../../../kernels/errors.ts";
import { createStopFilter, TokenTexts } from "../../../pipeline/serving/text_stream.ts";
import { byteTokenizer, QUOTES } from "./support.ts";

const bytes = await byteTokenizer();
/** Letters, spaces, characters of two to four bytes, and one joined of several. */
const texts = fc.string({
  unit: fc.constantFrom("a", "be", " ", "\n", "é", "日", "€", "😀", "👩‍🚀", "\u{10FFFF}"),
  maxLength: 20,
});

/** Pushes tokens one by one; every piece must be whole characters. */
async function spell(tokenizer: Tokenizer, ids: ArrayLike<number>): Promise<string[]> {
  const speller = new TokenTexts(tokenizer).speller();
  const pieces: string[] = [];
  for (const id of Array.from(ids)) pieces.push(await speller.push(id));
  pieces.push(await speller.flush());
  for (const piece of pieces) assert(piece.isWellFormed(), JSON.stringify(piece));
  return pieces;
}

Deno.test("a speller streams any text, whole characters at a time, and tells where each token stands", async () => {
  await fc.assert(fc.asyncProperty(texts, async (text) => {
    const [ids] = await bytes.encode([text]);
    const pieces = await spell(bytes, ids);
    assertEquals(pieces.join(""), text);
    assertEquals(pieces.at(-1), ""); // nothing was held back at the end
    const offsets = await new TokenTexts(bytes).offsets(ids);
    assertEquals(offsets, pieces.slice(0, -1).map((_, i) => pieces.slice(0, i).join("").length));
  }));
  // A token of a space and a part of a character.
  assertEquals(await spell(QUOTES, [1, 2, 3]), ["", " “", "a", ""]);
  assertEquals(await new TokenTexts(QUOTES).offsets([3, 1, 2, 3, 3]), [0, 1, 1, 3, 4]);
});

Deno.test("a speller gives what decoding all at once gives, for tokens that are no text at all", async () => {
  const ids = fc.array(fc.integer({ min: 0, max: bytes.vocabulary - 1 }), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(ids, async (ids) => {
      assertEquals((await spell(bytes, ids)).join(""), await bytes.decode(ids));
    }),
    { numRuns: 200 },
  );
});

Deno.test("a speller keeps spaces and bytes of a SentencePiece tokenizer, whose first space is no text", async () => {
  const byteToken = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
  const unsaid = ["<unk>", "<s>", "</s>"];
  const names = [...unsaid, ...Array.from({ length: 256 }, (_, i) => byteToken(i)), "▁", "▁a", "b"];
  const vocab = Object.fromEntries(names.map((name, id) => [name, id]));
  const special = unsaid.map((content) => ({
    id: vocab[content],
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }));
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(
    path,
    JSON.stringify({
      version: "1.0",
      added_tokens: special,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "BPE",
        unk_token: "<unk>",
        byte_fallback: true,
        fuse_unk: true,
        vocab,
        merges: [],
      },
    }),
  );
  const tokenizer = await loadTokenizer(path);
  await Deno.remove(path);
  const known: Record<string, string[]> = { " ": ["▁"], " a": ["▁a"], b: ["b"] };
  const units = fc.array(fc.constantFrom(" ", " a", "b", "é", "日", "😀"), { maxLength: 12 });
  const idsOf = (units: string[]) =>
    units.flatMap((unit) =>
      (known[unit] ?? [...new TextEncoder().encode(unit)].map(byteToken)).map((name) => vocab[name])
    );
  await fc.assert(fc.asyncProperty(units, async (units) => {
    assertEquals((await spell(tokenizer, idsOf(units))).join(""), units.join(""));
  }));
});

/** The text before the first stop in the plainest words: character by character. */
function cut(text: string, stops: string[]): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const ended = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const longest = Math.max(0, ...ended.map((stop) => stop.length));
    if (ended.length > 0) return { text: text.slice(0, end - longest), stopped: true };
  }
  return { text, stopped: false };
}

Deno.test("createStopFilter() cuts before the first stop text, however the text is cut into pieces", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 4 });
  const stops = fc.array(word.filter((stop) => stop !== ""), { maxLength: 3 });
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), stops, (pieces, stops) => {
      const filter = createStopFilter(stops);
      const expected = cut(pieces.join(""), stops);
      let text = "";
      let stopped = false;
      for (const piece of pieces) {
        const shown = filter.push(piece);
        text += shown.text;
        stopped = shown.stopped;
        assert(expected.text.startsWith(text), `${text} of ${pieces} with ${stops}`);
        if (stopped) break;
      }
      assertEquals({ text: text + filter.flush(), stopped }, expected);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("createStopFilter() holds back no more than may become a stop text", () => {
  const filter = createStopFilter(["\n\nQ:"]);
  assertEquals(filter.push("one\n"), { text: "one", stopped: false });
  assertEquals(filter.push("two\n\n"), { text: "\ntwo", stopped: false });
  assertEquals(filter.push("Q"), { text: "", stopped: false });
  assertEquals(filter.push("A"), { text: "\n\nQA", stopped: false });
  assertEquals(filter.push("\n\nQ: three"), { text: "", stopped: true });
  assertEquals(filter.flush(), "");
  assertThrows(() => createStopFilter(["a", ""]), InputError, "must not be empty");
});
