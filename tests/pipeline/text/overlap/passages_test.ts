import { assertEquals } from "@std/assert";
import { coveredWords, Passages } from "../../../../pipeline/text/overlap/passages.ts";
import { hashWords } from "../../../../pipeline/text/overlap/word_hashes.ts";

Deno.test("Passages finds what stands in others, and counts the words that are covered", () => {
  const count = (length: number) => Array.from({ length }, (_, i) => `w${i}`).join(" ");
  const passages = new Passages([count(30), "a b c d e f g h", "too short", count(20).toUpperCase()], 8);
  assertEquals(passages.find(hashWords("nothing of all this stands in any of the others")), false);
  assertEquals(passages.find(hashWords(`x ${count(10)} y`)), true);
  assertEquals(passages.find(hashWords(`A, b; c. D - e f\ng H!`)), true);
  assertEquals(passages.counts(), { texts: 4, found: 3, words: 60, covered: 28 });
  assertEquals(coveredWords(Uint8Array.of(0, 1, 0, 0, 1, 0, 0, 0, 1), 0, 8, 3), 6);
});
