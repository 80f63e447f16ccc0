import { assert, assertEquals } from "@std/assert";
import { countTokenBytes } from "../../../pipeline/text/token_bytes.ts";
import { trainTokenizer } from "../../../pipeline/text/tokenizer.ts";

const TEXT = "na\u00efve caf\u00e9 owners \u65e5\u672c look on; \ud83d\ude00 \n\t end";

async function* documents(text: string) {
  await Promise.resolve();
  yield { text, source: "" };
}

Deno.test("countTokenBytes() adds up to the bytes of any text, and counts none for the end", async () => {
  const tokenizer = await trainTokenizer(documents(TEXT.repeat(20)), {
    vocabularySize: 280,
    sample: 1e6,
  });
  const bytes = countTokenBytes(tokenizer.json, tokenizer.vocabulary)!;
  assertEquals(bytes[tokenizer.eos], 0);
  for (const text of [TEXT, "other words: \u00df\u4e2d\ud83d\udc4d", ""]) {
    const [ids] = await tokenizer.encode([text]);
    const sum = ids.reduce((sum, id) => sum + bytes[id], 0);
    assertEquals(sum, new TextEncoder().encode(text).length, text);
  }
  assert(bytes.some((count) => count > 2), "merges stand for several bytes");
});

Deno.test("countTokenBytes() reads SentencePiece vocabularies, and gives up on others", () => {
  const vocab = { "<s>": 0, "\u2581the": 1, "<0x0A>": 2, "\u00e9": 3, constructor: 4 };
  const added = [{ id: 0, content: "<s>", special: true }];
  const json = (decoder: unknown) =>
    JSON.stringify({ decoder, model: { type: "BPE", vocab }, added_tokens: added });
  const replace = { type: "Replace", pattern: { String: "\u2581" }, content: " " };
  const decoder = { type: "Sequence", decoders: [replace, { type: "ByteFallback" }] };
  assertEquals([...countTokenBytes(json(decoder), 5)!], [0, 4, 1, 2, 11]);
  const unigram = JSON.stringify({
    decoder: { type: "Metaspace" },
    model: { type: "Unigram", vocab: [["<s>", 0], ["\u2581a", -1]] },
    added_tokens: added,
  });
  assertEquals([...countTokenBytes(unigram, 2)!], [0, 2]);
  assertEquals(countTokenBytes(json({ type: "WordPiece" }), 4), undefined);
  assertEquals(countTokenBytes(json(null), 4), undefined);
});
