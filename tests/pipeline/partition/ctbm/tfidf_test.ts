import { assertAlmostEquals, assertEquals } from "@std/assert";
import { countTokens, inverseFrequencies, weigh } from "../../../../pipeline/partition/ctbm/tfidf.ts";

Deno.test("countTokens() counts ids in the order in which they first come, without the end of text", () => {
  const { column, value } = countTokens(Uint32Array.of(3, 7, 9, 3, 5, 9), 9);
  assertEquals([[...column], [...value]], [[3, 7, 5], [2, 1, 1]]);
});

Deno.test("weigh() multiplies by the inverse frequencies and scales rows to length 1", () => {
  const rows = [[0, 0, 1], [1, 2], []].map((row) => countTokens(Uint16Array.from(row), 3));
  const idf = inverseFrequencies(rows, 4);
  assertEquals([...idf], [1, 2, 1, 0].map((df) => Math.log(4 / (1 + df)) + 1));
  const [first, second, empty] = rows.map((row) => weigh(row, idf).value);
  const length = Math.hypot(2 * idf[0], idf[1]);
  [2 * idf[0] / length, idf[1] / length].forEach((x, i) => assertAlmostEquals(first[i], x, 1e-15));
  assertAlmostEquals(second[0] ** 2 + second[1] ** 2, 1, 1e-15);
  assertEquals([...empty], []);
});
