import { assert, assertEquals } from "@std/assert";
import { scoreToken, TokenTexts } from "../../../../pipeline/serving/server/log_probabilities.ts";
import { byteTokenizer } from "../support.ts";

Deno.test("scoreToken() gives the log-softmax, and the likeliest tokens with the same bits, the lower id on ties", () => {
  const logits = Float32Array.of(1, 3, 2, 3, -5);
  const total = [1, 3, 2, 3, -5].reduce((sum, logit) => sum + Math.exp(logit), 0);
  const { logProbability, top } = scoreToken(3, logits, 3);
  assert(Math.abs(logProbability! - Math.log(Math.exp(3) / total)) < 1e-6);
  assertEquals(top.map(({ id }) => id), [1, 3, 2]);
  assertEquals([top[0].logProbability, top[1].logProbability], [logProbability, logProbability]);
  assertEquals(scoreToken(4, logits, 9).top.map(({ id }) => id), [1, 3, 2, 0, 4]);
  assertEquals(scoreToken(4, logits, 0).top, []);
  const large = scoreToken(0, Float32Array.of(500, 499), 1); // no overflow
  assert(Math.abs(large.logProbability! + Math.log(1 + Math.exp(-1))) < 1e-6);
});

Deno.test("new TokenTexts() places every token where its text stands; parts of a character share its place", async () => {
  const tokenizer = await byteTokenizer();
  const texts = new TokenTexts(tokenizer);
  const text = "the sea, naïve 日本 and";
  const [ids] = await tokenizer.encode([text]);
  const offsets = await texts.offsets([...ids], 100);
  assertEquals([offsets.length, offsets.at(-1)], [ids.length + 1, 100 + text.length]);
  assert(
    offsets.every((offset, i) => i === 0 || offset >= offsets[i - 1]) &&
      new Set(offsets).size > text.length / 3,
  );
  for (const [i, id] of ids.entries()) {
    const own = await texts.text(id);
    const at = offsets[i] - 100;
    const whole = own.split("\uFFFD")[0]; // before a part of a character
    assertEquals(text.slice(at, at + whole.length), whole);
  }
});
