import { assert, assertEquals } from "@std/assert";
import { inverseFrequencies, TokenCounter, weigh } from "../../../../pipeline/partition/ctbm/tfidf.ts";

Deno.test("a TokenCounter counts each row's ids without the end of text, in a part of the tokens", () => {
  const counter = new TokenCounter(10, 9);
  const tokens = Uint32Array.of(7, 3, 3, 9, 3, 5, 9, 9);
  counter.add(tokens, 1, 5);
  counter.add(tokens, 6, 2);
  counter.add(tokens, 0, 1);
  const { rows, begin, column, value } = counter.counts;
  assertEquals([rows, [...begin], [...column], [...value]], [3, [0, 2, 2, 3], [3, 5, 7], [3, 1, 1]]);
});

Deno.test("a TokenCounter grows", () => {
  const counter = new TokenCounter(5000, 0);
  const row = Uint16Array.from({ length: 4999 }, (_, i) => i + 1);
  for (let i = 0; i < 1500; i++) counter.add(row, i, 3);
  counter.add(row, 0, 4999);
  const { rows, begin, column, value } = counter.counts;
  assertEquals([rows, begin.at(-1), column.length], [1501, 9499, 9499]);
  assertEquals([...column.subarray(3 * 700, 3 * 701)], [701, 702, 703]);
  assert(value.every((count) => count === 1));
});

Deno.test("weigh() multiplies by the inverse frequencies and scales rows to length 1", () => {
  const counter = new TokenCounter(4, 3);
  for (const row of [[0, 0, 1], [1, 2], []]) counter.add(Uint16Array.from(row), 0, row.length);
  const idf = inverseFrequencies(counter.counts, 4);
  assertEquals([...idf], [1, 2, 1, 0].map((df) => Math.log(4 / (1 + df)) + 1));
  const { value } = weigh(counter.counts, idf);
  const length = Math.hypot(2 * idf[0], idf[1]);
  const expected = [2 * idf[0] / length, idf[1] / length];
  expected.forEach((x, i) => assert(Math.abs(x - value[i]) < 1e-15));
  assert(Math.abs(value[2] ** 2 + value[3] ** 2 - 1) < 1e-15);
});
