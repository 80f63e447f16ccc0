import { assert, assertEquals } from "@std/assert";
import { cutLongWords } from "../../../pipeline/text/long_words.ts";

/** Cuts by GPT-2's classes, character by character: slow and plain. */
function reference(text: string, longest: number): string {
  const runs = text.match(/\p{L}+|\p{N}+|\s+|[^\p{L}\p{N}\s]+/gu) ?? [];
  return runs.map((run) => run.slice(0, longest)).join("");
}

Deno.test("cutLongWords() cuts runs of one kind alone, wherever they lie, as a plain reference does", () => {
  let state = 7;
  const next = (n: number) => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8) % n;
  let cut = 0;
  for (let round = 0; round < 500; round++) {
    const longest = 3 + next(6);
    const runs = Array.from({ length: next(8) }, () => "aé7.\n"[next(5)].repeat(1 + next(3 * longest)));
    const text = runs.join("");
    assertEquals(cutLongWords(text, longest), reference(text, longest), JSON.stringify([text, longest]));
    if (cutLongWords(text, longest) !== text) cut++;
  }
  assert(cut > 200, `${cut} texts were cut`);
});

Deno.test("cutLongWords() keeps ordinary text as it is, and pairs whole", () => {
  const text = "An ordinary text, 12 words.\n".repeat(2000);
  assertEquals(cutLongWords(text), text);
  assertEquals(cutLongWords("𝒂".repeat(50), 9), "𝒂".repeat(4));
  assertEquals(cutLongWords("a".repeat(800_000)).length, 10_000);
});
