import { assert, assertEquals, assertGreater } from "@std/assert";
import { figuresOn } from "../../../pipeline/evaluation/clean.ts";
import type { DocumentScores } from "../../../pipeline/evaluation/documents.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { uniform } from "../../../pipeline/random.ts";

/** Scores of 200 documents, of which the mixture knows every fourth by heart; the gain over the dense model is 10% on the others. */
const known = (i: number) => i % 4 === 0;
const ids = BigUint64Array.from({ length: 200 }, (_, i) => BigInt(i));
const tokens = Uint32Array.from(ids, (_, i) => 50 + i % 7);
const nll = (gain: number) =>
  Float64Array.from(tokens, (count, i) => count * (3 + uniform(1, "nll", i) - (known(i) ? 3 * gain : gain)));
const scores: DocumentScores = {
  ...{ document: ids, source: Array(200).fill(""), sequences: tokens, tokens },
  nll: { mixture: nll(-Math.log(0.9)), dense: nll(0) },
};
const evaluation = (percent: number, low: number, high: number) =>
  ({ resamples: 200, seed: 3, gains: [{ baseline: "dense", percent, low, high }] }) as Evaluation;

Deno.test("figuresOn() computes perplexities and gains on some documents, and tells a gain outside its interval on all", async () => {
  const leaks = new Set(ids.filter((_, i) => known(i)));
  const found = (await figuresOn(scores, leaks, evaluation(15, 13, 17)))!;
  assertEquals(found.documents, 150);
  assert(Math.abs(found.gains[0].percent - 10) < 1e-9);
  const sum = (values: ArrayLike<number>) =>
    Array.from(values).filter((_, i) => !known(i)).reduce((a, b) => a + b);
  assert(Math.abs(found.scores.dense!.nllPerToken - sum(scores.nll.dense!) / sum(tokens)) < 1e-12);
  assertGreater(found.scores.dense!.high, found.scores.dense!.perplexity);
  assertEquals(found.changed, found.gains);
  assertEquals((await figuresOn(scores, leaks, evaluation(11, 9, 13)))!.changed, []);
  assertEquals(await figuresOn(scores, new Set(ids), evaluation(11, 9, 13)), null);
});
