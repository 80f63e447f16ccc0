import { assert, assertEquals } from "@std/assert";
import { type Answers, summarizeAnswers } from "../../../../pipeline/evaluation/choices/summary.ts";
import { TASKS } from "../../../../pipeline/evaluation/choices/tasks.ts";
import { percentileInterval } from "../../../../pipeline/evaluation/bootstrap.ts";
import { uniform } from "../../../../pipeline/random.ts";
import { drawnDocuments } from "../support.ts";

const DRAWING = { resamples: 60, seed: 3 };

function answers(count: number, name: string, share: number): Answers {
  const each = (value: (i: number) => number) =>
    Float64Array.from({ length: count }, (_, i) => value(i));
  return {
    acc: each((i) => Number(uniform(1, name, i) < share)),
    acc_norm: each((i) => Number(uniform(1, `${name} per character`, i) < share)),
    perplexity: each((i) => -5 * uniform(1, `${name} likelihood`, i)),
  };
}

/** Questions that have nothing in common. */
const alone = (count: number) => Array.from({ length: count }, () => ({ set: "" }));

const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
const close = (actual: number, expected: number, what = "") =>
  assert(Math.abs(actual - expected) < 1e-12, `${what}: ${actual}, expected ${expected}`);

Deno.test("summarizeAnswers() gives means, standard errors and intervals over questions, all ways on the same draws", async () => {
  const count = 37;
  const all = { mixture: answers(count, "mixture", 0.7), dense: answers(count, "dense", 0.5) };
  const { ways, differences, sets: parts } = await summarizeAnswers(
    TASKS.get("piqa")!,
    alone(count),
    all,
    DRAWING,
  );
  assertEquals(parts, []);
  const draws = Array.from(
    { length: DRAWING.resamples },
    (_, r) => drawnDocuments(count, r, DRAWING.seed),
  );
  for (const metric of ["acc"] as const) {
    const drawn = (way: "mixture" | "dense") =>
      draws.map((rows) => mean(rows.map((row) => all[way][metric][row])));
    for (const way of ["mixture", "dense"] as const) {
      const { value, low, high, standardError } = ways[way]![metric]!;
      const expected = [...all[way][metric]];
      close(value, mean(expected));
      const variance = expected.reduce((sum, one) => sum + (one - value) ** 2, 0) / (count - 1);
      close(standardError, Math.sqrt(variance / count));
      const interval = percentileInterval(Float64Array.from(drawn(way)));
      close(low, interval.low);
      close(high, interval.high);
    }
    const difference = differences.find((one) => one.metric === metric)!;
    const [own, other] = [drawn("mixture"), drawn("dense")];
    const interval = percentileInterval(Float64Array.from(own, (one, i) => one - other[i]));
    assertEquals(difference.baseline, "dense");
    close(difference.value, ways.mixture![metric]!.value - ways.dense![metric]!.value);
    close(difference.low, interval.low);
    close(difference.high, interval.high);
  }
});

Deno.test("summarizeAnswers() counts sets alike where the task does, questions alike elsewhere, and tells of each set", async () => {
  const sets = ["b", "a", "a", "a", "b", "b", "b", "b", "b"].map((set) => ({ set }));
  const right = [1, 1, 1, 0, 0, 0, 0, 0, 1];
  const [own, none] = [right, right.map(() => 0)].map((values) => Float64Array.from(values));
  const all = {
    mixture: { acc: own, acc_norm: own, perplexity: none },
    dense: { acc: none, acc_norm: none, perplexity: none },
  };
  const blimp = await summarizeAnswers(TASKS.get("blimp")!, sets, all, DRAWING);
  close(blimp.ways.mixture!.acc!.value, (2 / 3 + 2 / 6) / 2);
  const mmlu = await summarizeAnswers(TASKS.get("mmlu")!, sets, all, DRAWING);
  close(mmlu.ways.mixture!.acc!.value, 4 / 9);
  for (const { sets } of [blimp, mmlu]) {
    assertEquals(sets.map(({ set, questions }) => [set, questions]), [["a", 3], ["b", 6]]);
    close(sets[0].ways.mixture!.acc!.value, 2 / 3);
    close(sets[1].differences[0].value, 1 / 3);
  }
});

Deno.test("summarizeAnswers() draws questions of one document together, as they resemble each other", async () => {
  const documents = [0, 1, 1, 1, 2, 0, 3, 3, 1];
  const questions = documents.map((document) => ({ set: "", document }));
  const all = { mixture: answers(9, "mixture", 0.6), dense: answers(9, "dense", 0.4) };
  const { ways, differences } = await summarizeAnswers(TASKS.get("piqa")!, questions, all, DRAWING);
  const own = [...all.mixture.acc];
  const drawn = (values: readonly number[]) =>
    Array.from({ length: DRAWING.resamples }, (_, r) => {
      const rows = drawnDocuments(4, r, DRAWING.seed).flatMap((document) =>
        documents.flatMap((one, i) => one === document ? [i] : [])
      );
      return mean(rows.map((row) => values[row]));
    });
  const { value, low, high, standardError } = ways.mixture!.acc!;
  close(value, mean(own));
  const interval = percentileInterval(Float64Array.from(drawn(own)));
  close(low, interval.low);
  close(high, interval.high);
  const sums = [0, 1, 2, 3].map((document) =>
    own.reduce((sum, one, i) => documents[i] === document ? sum + (one - value) / 9 : sum, 0)
  );
  close(standardError, Math.sqrt(sums.reduce((sum, one) => sum + one ** 2, 0) * 4 / 3));
  const apart = drawn(own.map((one, i) => one - all.dense.acc[i]));
  const difference = differences.find(({ metric }) => metric === "acc")!;
  close(difference.low, percentileInterval(Float64Array.from(apart)).low);
  // As many documents as questions are as if there were none, and so is a single one.
  const none = await summarizeAnswers(TASKS.get("piqa")!, alone(9), all, DRAWING);
  for (const documentOf of [(i: number) => i, () => 5]) {
    const each = alone(9).map((question, i) => ({ ...question, document: documentOf(i) }));
    assertEquals(await summarizeAnswers(TASKS.get("piqa")!, each, all, DRAWING), none);
  }
});
