import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { addRow, nameSamples, newSample, telling } from "../../../pipeline/partition/names.ts";
import { normals } from "../../../pipeline/random.ts";
import type { Tokenizer } from "../../../pipeline/text/tokenizer.ts";

/** A tokenizer whose ids are words; id 0 closes a document. */
function wordTokenizer(words: string[]): Tokenizer {
  const decode = (ids: ArrayLike<number>) =>
    Promise.resolve(Array.from(ids, (id) => ["<eos>", ...words][id]).join(" "));
  const encode = () => Promise.reject(new Error("nothing is encoded here"));
  return { vocabulary: words.length + 1, eos: 0, sha256: "ab12", json: "", encode, decode };
}

const WORDS = ["the", "harbour", "sail", "const", "return", "<b>", "}", ");"];
const [THE, HARBOUR, SAIL, CONST, RETURN, MARKUP] = [1, 2, 3, 4, 5, 6];
const ROWS = Array.from({ length: 120 }, (_, i) => ({
  ids: i % 2 === 0
    ? [THE, HARBOUR, SAIL, 0]
    : i % 4 === 1
    ? [THE, CONST, RETURN, MARKUP]
    : [THE, RETURN],
  expert: i % 2,
  cost: 10 + (i * 7) % 120,
  source: i % 2 === 0 ? "sea" : "code",
}));

/** Names two experts by their rows, whose prefix is of three tokens. */
async function namesBy(words: string[], texts?: number) {
  const tokenizer = wordTokenizer(words);
  const samples = [newSample(), newSample()];
  for (const [i, { ids, expert, cost, source }] of ROWS.entries()) {
    const row = { sequence: BigInt(i), ids: Uint16Array.from(ids), cost, source };
    await addRow(samples[expert], row, { prefix: 3 }, tokenizer);
  }
  return await nameSamples(samples, tokenizer, 8, texts);
}

Deno.test("nameSamples() finds the words that set experts apart, and no word that all of them use", async () => {
  const names = await namesBy(WORDS);
  assertEquals(names.map(({ expert, sampled }) => [expert, sampled]), [[0, 60], [1, 60]]);
  assertEquals(names.map(({ terms }) => terms.map(({ text }) => text)), [
    ["harbour", "sail"],
    ["return", "const"],
  ]);
  const [{ logOdds, share, shareOfRest }] = names[1].terms;
  assertEquals([share, shareOfRest], [1, 0]);
  assertAlmostEquals(logOdds, 2 * Math.log((60 + 5) / 5), 1e-12);
});

Deno.test("nameSamples() gives the texts that cost their expert least and most, per predicted token", async () => {
  const names = await namesBy(WORDS, 2);
  for (const { expert, likeliest, leastLikely } of names) {
    // of the sequences that are as long as the prefix of 3 tokens, which predicts two
    const expected = ROWS.flatMap((row) =>
      row.expert === expert && row.ids.length >= 3
        ? [{ cost: row.cost / 2, source: row.source }]
        : []
    ).sort((a, b) => a.cost - b.cost);
    const costs = (texts: { cost: number; source: string }[]) =>
      texts.map((t) => [t.cost, t.source]);
    assertEquals(costs(likeliest), costs(expected.slice(0, 2)));
    assertEquals(costs(leastLikely), costs(expected.slice(-2).reverse()));
  }
  assertEquals(names[0].likeliest[0].text, "the harbour sail");
  // As it is: who shows it escapes it.
  assertEquals(names[1].likeliest[0].text, "the const return <b>");
});

Deno.test("nameSamples() takes pairs of tokens where there are no words", async () => {
  const symbols = ["(", ")", "{", "}", "+", "-", ";", "="];
  const names = await namesBy(symbols);
  assertEquals(names[0].terms.map(({ text }) => text).sort(), ['"( )"', '") {"']);
  assert(names[1].terms.some(({ text }) => text === '"} +"'));
});

Deno.test("nameSamples() quotes pairs, and escapes in them what no screen shows", async () => {
  const hostile = ["\x1b[2J", "\u202e", "\u2028", "\ud800", "\u0007", "\n", '"', "\\"];
  const names = await namesBy(hostile);
  const texts = names.flatMap(({ terms }) => terms.map(({ text }) => text));
  assert(texts.length > 3);
  for (const text of texts) assertMatch(text, /^"[^\p{C}\p{Zl}\p{Zp}]*"$/u);
  assertEquals(names[0].terms.map(({ text }) => text).sort()[0], String.raw`"\u001b[2J \u202e"`);
});

Deno.test("telling() lifts few words by chance, of thousands that are spread at random", () => {
  const [parts, sequences, words] = [4, 500, 3000];
  const drawn = normals(parts * words, 11, "words");
  const counts = Array.from({ length: parts }, (_, part) => ({
    sequences,
    holding: new Map(Array.from({ length: words }, (_, word) => {
      // As often in every part, but for what a binomial draw adds.
      const share = 0.3 / (1 + word / 20);
      const spread = Math.sqrt(sequences * share * (1 - share)) * drawn[part * words + word];
      return [`word${word}`, Math.max(0, Math.round(sequences * share + spread))] as const;
    })),
  }));
  assert(telling(counts, 8).flat().length <= 1);
});
