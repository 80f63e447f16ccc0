import { assertEquals } from "@std/assert";
import { SpecialTokens } from "../../../../pipeline/serving/server/special.ts";
import { byteTokenizer, LETTERS } from "../support.ts";

Deno.test("SpecialTokens knows what tokenizer.json marks as special, and EOS, in the order of the file", async () => {
  const added = [["<a>", true], ["<", true], ["<ab>", true], ["b", false]]
    .map(([content, special], i) => ({ id: 300 + i, content, special }));
  const special = new SpecialTokens({ ...LETTERS, json: JSON.stringify({ added_tokens: added }) }, "<end>");
  const texts = ["<a>", "<end>", "b", "<a><a>", ""];
  assertEquals(texts.map((text) => special.isOne(text)), [true, true, false, false, false]);
  const ids = [98, 300, 301, 97, 98, 62, 99]; // "<" comes before "<ab>"
  assertEquals([...await special.encode("b<a><ab>c", LETTERS.encode)], ids);
  const tokenizer = await byteTokenizer();
  const real = new SpecialTokens(tokenizer, "<|endoftext|>");
  assertEquals([...await real.encode("<|endoftext|>", tokenizer.encode)], [tokenizer.eos]);
});
