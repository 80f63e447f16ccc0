import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { percentileInterval, resample } from "../../../pipeline/evaluation/bootstrap.ts";
import { assertClose, random } from "../../kernels/support.ts";
import { drawnDocuments } from "./support.ts";

/** Documents with random NLLs in `columns` columns, and 10 to 40 tokens. */
function anyDocuments(documents: number, columns: number) {
  const column = (name: string) =>
    Float64Array.from(random(documents, `NLLs ${name}`), (value) => 100 + 10 * value);
  const names = Array.from({ length: columns }, (_, i) => `way ${i}`);
  const tokens = Float64Array.from({ length: documents }, (_, i) => 10 + (7 * i) % 31);
  return { tokens, nll: Object.fromEntries(names.map((name) => [name, column(name)])) };
}

Deno.test("resample() gives the NLL per token of drawn documents, as adding them one by one does", async () => {
  for (const documents of [1, 2, 7, 50]) {
    const { nll, tokens } = anyDocuments(documents, 3);
    const means = await resample({ nll, tokens }, { resamples: 20, seed: 5 });
    assertEquals(Object.keys(means), Object.keys(nll));
    for (const [name, own] of Object.entries(nll)) {
      const expected = Array.from({ length: 20 }, (_, draw) => {
        const sum = (values: Float64Array) =>
          drawnDocuments(documents, draw, 5).reduce((sum, document) => sum + values[document], 0);
        return sum(own) / sum(tokens);
      });
      assertClose(means[name], expected, { atol: 0, rtol: 1e-13 }, name);
    }
  }
});

Deno.test("resample() of equally long documents spreads as the mean's standard error says", async () => {
  const documents = 300;
  const { "way 0": nll } = anyDocuments(documents, 1).nll;
  const tokens = new Float64Array(documents).fill(1);
  const { nll: means } = await resample({ nll: { nll }, tokens }, { resamples: 4000, seed: 1 });
  const mean = nll.reduce((a, b) => a + b) / documents;
  const deviation = Math.sqrt(nll.reduce((sum, value) => sum + (value - mean) ** 2, 0) / documents);
  const error = deviation / Math.sqrt(documents);
  const { low, high } = percentileInterval(means);
  const average = means.reduce((a, b) => a + b) / means.length;
  // Of 4000 draws the mean is off by 1.6% of the error, a 2.5% quantile by about 4%: bounds of four
  // deviations.
  assert(Math.abs(average - mean) < 0.065 * error, `${average} is off ${mean}`);
  assert(Math.abs((low - mean) / error + 1.96) < 0.17, `${(low - mean) / error}`);
  assert(Math.abs((high - mean) / error - 1.96) < 0.17, `${(high - mean) / error}`);
});

Deno.test("resample() ends when it is asked to, and refuses fewer draws than one", async () => {
  const many = {
    nll: { way: new Float64Array(2 ** 20) },
    tokens: new Float64Array(2 ** 20).fill(1),
  };
  const ending = new AbortController();
  const ended = resample(many, { resamples: 1000, seed: 0, signal: ending.signal });
  ending.abort(new Error("enough"));
  assertEquals((await assertRejects(() => ended, Error)).message, "enough");
  for (const resamples of [0, 1.5, NaN]) {
    const error = await assertRejects(
      () => resample(anyDocuments(2, 1), { resamples, seed: 0 }),
      InputError,
    );
    assertMatch(error.message, /resamples must be an integer >= 1: resamples is (0|1\.5|NaN)$/);
  }
});

Deno.test("percentileInterval() holds the middle 95%, between the nearest two values where none is there", () => {
  const values = Float64Array.from({ length: 1001 }, (_, i) => (i * 376) % 1001);
  assertClose(Object.values(percentileInterval(values)), [25, 975], { atol: 1e-9, rtol: 0 });
  assertEquals(values[1], 376); // as they were
  assertClose(Object.values(percentileInterval(Float64Array.of(10, 0))), [0.25, 9.75], {
    atol: 1e-12,
    rtol: 0,
  });
  assertEquals(percentileInterval(Float64Array.of(7)), { low: 7, high: 7 });
});
