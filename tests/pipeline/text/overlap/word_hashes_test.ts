import { assertEquals } from "@std/assert";
import { hashRuns, hashWords } from "../../../../pipeline/text/overlap/word_hashes.ts";
import { corpusWithCopies, splitWords } from "./brute_force.ts";

const keys = (hashes: ReturnType<typeof hashWords>) =>
  Array.from({ length: hashes.length / 2 }, (_, i) => `${hashes[2 * i]} ${hashes[2 * i + 1]}`);

Deno.test("words are runs of letters, digits and marks in lower case; where a script does not part them, characters", () => {
  const same = (one: string, other: string) => assertEquals(keys(hashWords(one)), keys(hashWords(other)));
  same("It's 5 o'clock,\tÄRGER!", "it s 5 o clock ärger");
  same("snake_case(x+1)", "snake case x 1");
  same("日本語のabc", "日 本 語 の abc");
  same("𝔘𝔫𝔦 code", "𝔘𝔫𝔦  code");
  assertEquals(hashWords(" -- …").length, 0);
  assertEquals(hashWords("").length, 0);
});

Deno.test("no two words of the wide corpus, nor of a million numbers, have the same hash, and equal ones always have", async () => {
  const known = new Map<string, string>(), back = new Map<string, string>();
  const texts = [
    ...await corpusWithCopies(500, 1),
    Array.from({ length: 200_000 }, (_, i) => `id${i}`).join(" "),
  ];
  for (const text of texts) {
    const words = splitWords(text);
    keys(hashWords(text)).forEach((key, i) => {
      assertEquals(known.get(words[i]) ?? key, key, words[i]);
      assertEquals(back.get(key) ?? words[i], words[i]);
      known.set(words[i], key);
      back.set(key, words[i]);
    });
    assertEquals(hashWords(text).length, 2 * words.length);
  }
});

Deno.test("the halves of the hashes of runs spread evenly, and the order of words counts", () => {
  const runs = hashRuns(
    hashWords(Array.from({ length: 65_536 + 12 }, (_, i) => `${i}`).join(" ")),
    13,
  );
  for (const half of [0, 1].map((half) => runs.filter((_, i) => i % 2 === half))) {
    for (const shift of [0, 8, 16, 24]) {
      const bins = new Uint32Array(256);
      for (let i = 0; i < half.length; i++) bins[(half[i] >>> shift) & 255]++;
      const chi = bins.reduce((sum, own) => sum + (own - 256) ** 2 / 256, 0);
      assertEquals(chi > 170 && chi < 350, true, `chi-squared of 255 degrees of freedom: ${chi}`);
    }
  }
  assertEquals(keys(hashRuns(hashWords("a b c"), 3)) === keys(hashRuns(hashWords("a c b"), 3)), false);
});
